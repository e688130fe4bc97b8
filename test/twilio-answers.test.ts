import { REFUSALS, type RefusalCode } from '../proxy/contract';
import { twilioWith } from '../proxy/vendors/twilio';
import { valueOfCall, valueOfMessage } from '../proxy/vendors/twilio-value';

const twilio = twilioWith();
const AC = `AC${'0'.repeat(32)}`;
const SM = `SM${'1'.repeat(32)}`;
const TERMS = { fx: { eur: 1.2 } };
const request = { method: 'POST', path: '/', query: [], body: [], headers: {} };
/** As created: VENDORS 3. */
const MESSAGE = { sid: SM, status: 'queued', num_segments: '0', price: null, price_unit: 'USD' };

function valueOf(route: string, answer: unknown, status = 201) {
  const row = twilio.routes.find(({ name }) => name === route);
  if (row === undefined) throw new Error(`no route ${route}`);
  return row.value(status, answer, TERMS, { request, quoteMicros: 40_000 });
}

const SEND = 'POST /2010-04-01/Accounts/:AccountSid/Messages.json';
const UPDATE = 'POST /2010-04-01/Accounts/:AccountSid/Messages/:Sid.json';
const CALL = 'POST /2010-04-01/Accounts/:AccountSid/Calls.json';

describe('a message is worth its quote until Twilio says better', () => {
  test('num_segments "0" of a Messaging Service never makes it free', () => {
    expect(valueOf(SEND, MESSAGE)).toEqual({
      objectId: SM,
      vendorId: SM,
      valueMicros: 40_000,
      late: { from: null },
      amountMicros: 40_000,
      currency: 'usd',
      out: false,
    });
  });

  test.each([
    [{ status: 'delivered', price: '-0.00750' }, 7_500],
    [{ status: 'delivered', price: '-0.0000001' }, 1],
    [{ status: 'undelivered', price: '-0.05' }, 50_000],
    [{ status: 'failed' }, 1_000],
    [{ status: 'failed', price: '0' }, 0],
    [{ status: 'canceled' }, 0],
    [{ status: 'delivered', price: '-0.01', price_unit: 'EUR' }, 12_000],
    [{ status: 'sent' }, undefined],
    [{ status: 'delivered' }, undefined],
    [{ status: 'delivered', price: '-0.01', price_unit: 'GBP' }, undefined],
    [{ status: 'delivered', price: 'free' }, undefined],
    [{ status: 'delivered', sid: 'PN1' }, undefined],
    [{ status: undefined }, undefined],
  ])('%j', (change, micros) => {
    expect(valueOfMessage({ ...MESSAGE, ...change }, TERMS)?.valueMicros).toBe(micros);
    const told = { ...MESSAGE, ...change };
    expect(valueOf(UPDATE, told, 200)?.valueMicros).toBe(told.price_unit === 'USD' ? micros : undefined);
  });

  test('a status callback says the same', () => {
    expect(valueOfMessage({ MessageSid: SM, MessageStatus: 'failed' }, TERMS)).toMatchObject({ valueMicros: 1_000 });
    expect(valueOfMessage({ SmsSid: SM, SmsStatus: 'sent' }, TERMS)).toBeUndefined();
    expect(valueOfMessage({ MessageSid: SM, MessageStatus: 'sent' }, TERMS, { micros: 7, from: null })).toMatchObject({
      valueMicros: 7,
      late: { from: null },
    });
  });

  test.each([null, 'OK', [], {}, { sid: SM }, { status: 'queued' }])('%j is not understood', (answer) => {
    expect(valueOf(SEND, answer)).toBeUndefined();
  });
});

test.each([
  ['queued', null, 40_000],
  ['completed', null, 40_000],
  ['completed', '-0.013', 13_000],
  ['busy', null, 0],
  ['no-answer', null, 0],
  ['failed', null, 0],
  ['canceled', null, 0],
])('a call that is %s at %s is worth %d micro-dollars', (status, price, micros) => {
  const answer = { sid: 'CA11', status, price, price_unit: 'USD' };
  expect(valueOf(CALL, answer)).toMatchObject({ objectId: 'CA11', valueMicros: micros });
  if (status === 'queued') expect(valueOfCall(answer, TERMS)).toBeUndefined();
});

test('a look-up finds messages and calls under the account of the credential', () => {
  expect(twilio.lookupPath(SM, AC)).toBe(`/2010-04-01/Accounts/${AC}/Messages/${SM}.json`);
  expect(twilio.lookupPath('CA1', AC)).toBe(`/2010-04-01/Accounts/${AC}/Calls/CA1.json`);
  expect(twilio.lookupValue({ ...MESSAGE, status: 'canceled' }, TERMS)).toMatchObject({ valueMicros: 0 });
});

describe('the credential', () => {
  test.each([
    [{ secret: 's', accountId: AC }, `${AC}:s`],
    [{ secret: 's', accountId: AC, user: 'SK1' }, 'SK1:s'],
  ])('%j is Basic', (credential, pair) => {
    expect(twilio.authorization(credential)).toEqual({ authorization: `Basic ${btoa(pair)}` });
  });

  test('is for its own account only: a token of the parent would open subaccounts too', () => {
    const at = (path: string, accountId?: string) => twilio.redirection({ ...request, path }, undefined, accountId);
    const path = `/2010-04-01/Accounts/${AC}/Messages.json`;
    expect(at(path, AC)).toBeUndefined();
    expect(at(path, `${AC.slice(0, -1)}1`)).toMatchObject({ code: 'account_not_allowed', field: 'AccountSid' });
    expect(at(path)).toMatchObject({ code: 'account_not_allowed' });
    expect(at('/verify/v2/Services/VA1/Verifications', AC)).toBeUndefined();
  });
});

describe('refusals', () => {
  test.each(Object.keys(REFUSALS) as RefusalCode[])('%s has the shape of a RestException', (code) => {
    const status = code === 'idempotency_mismatch' ? 409 : REFUSALS[code].status;
    expect(twilio.refusalStatus(code)).toBe(status);
    const body = twilio.refusalBody(code, 'What would have allowed it.', { needed_usd: 5 });
    expect(body).toEqual({
      code: 99_000 + status,
      message: `${code}: What would have allowed it.`,
      more_info: expect.any(String) as string,
      status,
      details: { keybrake_code: code, needed_usd: 5 },
    });
    expect(twilio.isVendorError(body)).toBe(true);
  });

  test.each([
    [{ code: 21211, message: 'Invalid To', more_info: 'https://…', status: 400 }, true, '21211'],
    [{ code: '21211', message: 'x' }, false, null],
    [{ message: 'x', status: 400 }, false, null],
    ['<xml/>', false, null],
    [null, false, null],
  ])('%j', (answer, is, code) => {
    expect(twilio.isVendorError(answer)).toBe(is);
    expect(twilio.errorCode(answer)).toBe(code);
  });
});

describe('routes that hand out secrets', () => {
  const forbidden = (path: string) => twilio.forbidden.some(({ pattern }) => pattern.test(path));

  test.each([
    '/2010-04-01/Accounts.json',
    '/2010-04-01/Accounts',
    `/2010-04-01/Accounts/${AC}.json`,
    `/2010-04-01/Accounts/${AC}`,
    `/2010-04-01/accounts/${AC}.xml`,
    `/2010-04-01/Accounts/${AC}/Keys.json`,
    `/2010-04-01/Accounts/${AC}/Keys/SK1.json`,
    `/2010-04-01/Accounts/${AC}/SigningKeys.json`,
    `/2010-04-01/Accounts/${AC}/Tokens.json`,
    '/accounts/v1/AuthTokens/Promote',
    '/iam/v1/Keys',
    '/oauth/v2/token',
  ])('%s is forbidden whatever the allowlist says', (path) => {
    expect(forbidden(path)).toBe(true);
  });

  test('no route of the table is', () => {
    for (const { path } of twilio.routes) expect(forbidden(path.replace(':AccountSid', AC))).toBe(false);
  });
});

test('nothing of Twilio is ever sent twice', () => {
  expect(twilio.idempotencyHeader).toBeNull();
  expect(twilio.routes.filter(({ idempotent }) => idempotent)).toEqual([]);
});
