import { REFUSALS, type RefusalCode } from '../proxy/contract';
import { stripe } from '../proxy/vendors/stripe';
import { createVendors } from '../proxy/vendors';
import type { PricingTerms, Valuation } from '../proxy/vendors/vendor';

const TERMS: PricingTerms = { fx: { eur: 1.2 } };

function valueOf(route: string, status: number, answer: unknown, terms = TERMS): Valuation | undefined {
  const row = stripe.routes.find(({ name }) => name === route);
  if (row === undefined) throw new Error(`no route ${route}`);
  const request = { method: 'POST', path: row.path, query: [], body: [], headers: {} };
  return row.value(status, answer, terms, { request, quoteMicros: 0 });
}

const CREATE = 'POST /v1/payment_intents';
const PI = {
  id: 'pi_1',
  object: 'payment_intent',
  amount: 500,
  amount_capturable: 0,
  amount_received: 0,
  currency: 'usd',
  status: 'requires_confirmation',
};
const CHARGE = {
  id: 'ch_1',
  object: 'charge',
  amount: 500,
  amount_captured: 500,
  amount_refunded: 0,
  captured: true,
  currency: 'usd',
  payment_intent: null,
  status: 'succeeded',
};
const REFUND = { id: 're_1', object: 'refund', amount: 300, currency: 'usd', status: 'succeeded' };
const declined = (error: object) => ({ error: { type: 'card_error', code: 'card_declined', ...error } });

describe('a PaymentIntent is worth what it holds or took', () => {
  test.each<[string, object, number]>([
    ['requires_payment_method', {}, 500],
    ['requires_confirmation', {}, 500],
    ['requires_action', {}, 500],
    ['processing', {}, 500],
    ['requires_capture', { amount_capturable: 500 }, 500],
    ['requires_capture', { amount_capturable: 200, amount_received: 300 }, 500],
    ['requires_capture', { amount_capturable: 450 }, 450],
    ['succeeded', { amount_received: 300 }, 300],
    ['succeeded', { amount_received: 570 }, 570],
    ['canceled', {}, 0],
    ['canceled', { amount_received: 100 }, 100],
    ['requires_payment_method', { last_payment_error: { code: 'card_declined' } }, 0],
    ['requires_confirmation', { last_payment_error: { code: 'card_declined' } }, 500],
    ['requires_payment_method', { last_payment_error: null }, 500],
  ])('%s %j is %d cents', (status, fields, cents) => {
    expect(valueOf(CREATE, 200, { ...PI, status, ...fields })).toEqual({
      objectId: 'pi_1',
      vendorId: 'pi_1',
      valueMicros: cents * 10_000,
      amountMicros: 5_000_000,
      currency: 'usd',
      out: false,
      ...(['succeeded', 'canceled'].includes(status) && { final: true }),
    });
  });

  test('in another currency it is converted by the rate of the key', () => {
    const value = valueOf(CREATE, 200, { ...PI, currency: 'EUR', status: 'succeeded', amount_received: 250 });
    expect(value).toMatchObject({ currency: 'eur', amountMicros: 6_000_000, valueMicros: 3_000_000 });
  });

  test('a decline moves nothing, and what was asked for is remembered for a later confirm', () => {
    const answer = declined({ payment_intent: { ...PI, status: 'requires_payment_method' } });
    expect(valueOf(CREATE, 402, answer)).toMatchObject({ objectId: 'pi_1', valueMicros: 0, amountMicros: 5_000_000 });
  });

  test('a 402 on a capture leaves what is still authorised', () => {
    const answer = declined({ payment_intent: { ...PI, status: 'requires_capture', amount_capturable: 500 } });
    expect(valueOf(CREATE, 402, answer)).toMatchObject({ valueMicros: 5_000_000 });
  });

  test('a 402 that made no PaymentIntent moved nothing', () => {
    expect(valueOf(CREATE, 402, declined({}))).toMatchObject({ objectId: null, valueMicros: 0, vendorId: null });
  });

  test.each<[string, number, unknown]>([
    ['no JSON', 200, undefined],
    ['null', 200, null],
    ['a list', 200, [PI]],
    ['another object', 200, { ...PI, object: 'charge' }],
    ['no id', 200, { ...PI, id: undefined }],
    ['an odd id', 200, { ...PI, id: 'pi_1/../x' }],
    ['an id of another kind', 200, { ...PI, id: 'cus_1' }],
    ['an unknown status', 200, { ...PI, status: 'requires_source' }],
    ['no status', 200, { ...PI, status: undefined }],
    ['no amount', 200, { ...PI, amount: undefined }],
    ['an amount as text', 200, { ...PI, amount: '500' }],
    ['a fraction', 200, { ...PI, amount: 5.5 }],
    ['a negative amount', 200, { ...PI, amount: -500 }],
    ['an unsafe amount', 200, { ...PI, amount: 2 ** 60 }],
    ['succeeded without amount_received', 200, { ...PI, status: 'succeeded', amount_received: undefined }],
    ['requires_capture without amount_capturable', 200, { ...PI, status: 'requires_capture', amount_capturable: null }],
    ['no currency', 200, { ...PI, currency: null }],
    ['a currency without a rate', 200, { ...PI, currency: 'gbp' }],
    ['a 402 without an error', 402, PI],
    ['a 402 with an odd PaymentIntent', 402, declined({ payment_intent: { id: 'pi_1' } })],
    ['a 402 with only an id', 402, declined({ payment_intent: 'pi_1' })],
  ])('an answer with %s is not understood, so the outcome stays unknown', (_what, status, answer) => {
    expect(valueOf(CREATE, status, answer)).toBeUndefined();
  });
});

describe('charges and refunds', () => {
  test.each<[string, object, string | null, number]>([
    ['captured', {}, 'ch_1', 500],
    ['captured in part', { amount_captured: 300 }, 'ch_1', 300],
    ['captured, of an old API version', { amount_captured: undefined }, 'ch_1', 500],
    ['only authorised', { captured: false, amount_captured: 0 }, 'ch_1', 500],
    ['pending', { status: 'pending' }, 'ch_1', 500],
    ['failed', { status: 'failed', captured: false }, 'ch_1', 0],
    ['refunded: a refund gives nothing back', { refunded: true, amount_refunded: 500 }, 'ch_1', 500],
    ['of a PaymentIntent', { payment_intent: 'pi_1' }, 'pi_1', 500],
    ['of an expanded PaymentIntent', { payment_intent: { id: 'pi_1', object: 'payment_intent' } }, 'pi_1', 500],
  ])('a charge that is %s', (_what, fields, objectId, cents) => {
    const answer = { ...CHARGE, ...fields };
    const expected = { objectId, vendorId: 'ch_1', valueMicros: cents * 10_000, amountMicros: 5_000_000, out: false };
    expect(valueOf('POST /v1/charges', 200, answer)).toMatchObject(expected);
    expect(stripe.lookupValue(answer, TERMS)).toMatchObject(expected);
  });

  test.each([
    { status: 'odd' },
    { captured: undefined },
    { payment_intent: 5 },
    { payment_intent: { object: 'payment_intent' } },
    { amount: 0.1 },
  ])('a charge with %j is not understood', (fields) => {
    expect(valueOf('POST /v1/charges', 200, { ...CHARGE, ...fields })).toBeUndefined();
  });

  test('a declined charge is worth nothing and is named', () => {
    const value = valueOf('POST /v1/charges', 402, declined({ charge: 'ch_9' }));
    expect(value).toMatchObject({ objectId: null, vendorId: 'ch_9', valueMicros: 0 });
  });

  test.each([
    ['succeeded', 3_000_000],
    ['pending', 3_000_000],
    ['requires_action', 3_000_000],
    [null, 3_000_000],
    ['failed', 0],
    ['canceled', 0],
  ])('a refund that is %s is %d micro-dollars out', (status, valueMicros) => {
    for (const route of ['POST /v1/refunds', 'POST /v1/charges/:id/refunds']) {
      const value = valueOf(route, 200, { ...REFUND, status, payment_intent: 'pi_1', charge: 'ch_1' });
      expect(value).toMatchObject({ objectId: 're_1', vendorId: 're_1', valueMicros, out: true });
    }
  });

  test.each([{ status: 'odd' }, { status: undefined }, { amount: '5' }, { object: 'charge' }])(
    'a refund with %j is not understood',
    (fields) => expect(valueOf('POST /v1/refunds', 200, { ...REFUND, ...fields })).toBeUndefined(),
  );

  test('reads and free routes say nothing about money, whatever the answer', () => {
    const free = stripe.routes.filter(({ method, path }) => method === 'GET' || path === '/v1/charges/:id');
    const failed = { ...CHARGE, status: 'failed', payment_intent: 'pi_1' };
    for (const { name } of free) {
      for (const answer of [PI, failed, undefined, [], 'text']) {
        expect(valueOf(name, 200, answer)).toMatchObject({ objectId: null, valueMicros: 0, out: false });
      }
    }
  });
});

describe('look-ups', () => {
  test.each([
    ['pi_1', '/v1/payment_intents/pi_1'],
    ['ch_1', '/v1/charges/ch_1'],
    ['py_1', '/v1/charges/py_1'],
  ])('%s is read at %s', (id, path) => {
    expect(stripe.lookupPath(id)).toBe(path);
  });

  test('a payment without a rate is not valued, but its currency can be named', () => {
    const answer = { ...PI, currency: 'gbp' };
    expect(stripe.lookupValue(answer, TERMS)).toBeUndefined();
    expect(stripe.currencyOf(answer)).toBe('gbp');
    expect(stripe.currencyOf(null)).toBeUndefined();
    expect(stripe.lookupValue(REFUND, TERMS)).toBeUndefined();
  });
});

describe("errors in Stripe's shape", () => {
  test.each<[unknown, boolean, string | null]>([
    [{ error: { type: 'card_error', code: 'card_declined', decline_code: 'generic_decline' } }, true, 'card_declined'],
    [{ error: { type: 'invalid_request_error' } }, true, 'invalid_request_error'],
    [{ error: { type: 'idempotency_error', message: 'x' } }, true, 'idempotency_error'],
    [{ error: { type: 'nginx' } }, false, null],
    [{ error: { message: 'no type' } }, false, null],
    [{ error: 'invalid_grant', error_description: 'x' }, false, null],
    [{ error: null }, false, null],
    [{ message: 'no' }, false, null],
    [null, false, null],
    ['<html>', false, null],
    [undefined, false, null],
  ])('%j', (answer, is, code) => {
    expect(stripe.isVendorError(answer)).toBe(is);
    expect(stripe.errorCode(answer)).toBe(code);
  });

  const codes = Object.keys(REFUSALS) as RefusalCode[];

  test.each(codes)('%s: the body has an error object, and its message begins with the code', (code) => {
    const body = stripe.refusalBody(code, 'What would have allowed it.', { needed_usd: 5, field: 'amount' });
    const status = REFUSALS[code].status;
    const type =
      code === 'idempotency_mismatch' ? 'idempotency_error' : status >= 500 ? 'api_error' : 'invalid_request_error';
    const message = `${code}: What would have allowed it.`;
    const keybrake = { needed_usd: 5, field: 'amount' };
    expect(body).toEqual({ error: { type, code, message, param: 'amount', keybrake } });
    expect(stripe.refusalStatus(code)).toBe(status);
    expect(stripe.isVendorError(body)).toBe(true);
  });

  test('a message that already begins with its code is kept', () => {
    expect(stripe.refusalBody('key_revoked', 'key_revoked: gone.', {})).toEqual({
      error: { type: 'invalid_request_error', code: 'key_revoked', message: 'key_revoked: gone.', keybrake: {} },
    });
  });
});

function forbidden(method: string, path: string): boolean {
  return stripe.forbidden.some((row) => (row.method === '*' || row.method === method) && row.pattern.test(path));
}

describe('routes that hand out secrets or rule the account', () => {
  test.each([
    ['POST', '/v1/ephemeral_keys'],
    ['POST', '/v1/webhook_endpoints'],
    ['POST', '/v1/webhook_endpoints/we_1'],
    ['POST', '/v1/terminal/connection_tokens'],
    ['POST', '/v1/account_sessions'],
    ['POST', '/v1/customer_sessions'],
    ['POST', '/v1/issuing/cards'],
    ['GET', '/v1/issuing/cards/ic_1'],
    ['POST', '/oauth/token'],
    ['GET', '/v1/accounts'],
    ['DELETE', '/v1/accounts/acct_1'],
    ['POST', '/v1/accounts/acct_1/external_accounts'],
    ['POST', '/v2/core/accounts'],
    ['POST', '/v2/core/event_destinations'],
    ['GET', '/v1/apps/secrets/find'],
    ['POST', '/V1/Ephemeral_Keys'],
  ])('%s %s is forbidden whatever the allowlist says', (method, path) => {
    expect(forbidden(method, path)).toBe(true);
  });

  test('no route of the table is forbidden, and a name that only begins alike is not', () => {
    for (const { method, path } of stripe.routes) expect(forbidden(method, path)).toBe(false);
    expect(forbidden('GET', '/v1/accountsx')).toBe(false);
  });

  test('the table of vendors has Stripe, by its id', () => {
    expect(createVendors().get('stripe')).toBe(stripe);
  });
});
