/** The raw input against the vendors that the proxy lists: what it may name, and how its parameters are written. */
import type { ApplicationFailure } from '@temporalio/common';
import * as fc from 'fast-check';
import { encodeParams } from '../activities/bodies';
import { parseInput } from '../activities/input';
import { renderCall, withAccountIn, type EndpointCall } from '../activities/template';
import { vendorCodeOf, plainResult } from '../activities/vendorAnswers';
import type { VendorView } from '../proxy/endpoints';
import { createVendors } from '../proxy/vendors';

const FACTS = { workflowId: 'texts', firstExecutionRunId: 'run-1' };
const AC = `AC${'7'.repeat(32)}`;
const TEXTS = 'POST /2010-04-01/Accounts/{AccountSid}/Messages.json';

/** The real tables, and a vendor of the operator's own. */
const VENDORS: readonly VendorView[] = [
  ...[...createVendors().values()].map(({ id, routes }) => ({
    vendor: id,
    accounts: [id, `${id}-eu`],
    routes: routes.map(({ name, body }) => ({ endpoint: name, body })),
  })),
  { vendor: 'fax', accounts: ['fax'], routes: [{ endpoint: 'PUT /v1/faxes/:id', body: 'json' }] },
  { vendor: 'idle', accounts: [], routes: [{ endpoint: 'GET /v1/idle', body: 'form' }] },
];

function input(vendor: string, endpoint: string, change: { params?: unknown; key?: object } = {}) {
  return {
    label: 'x',
    source: { kind: 'inline', records: [] },
    recordId: 'id',
    call: { endpoint, params: change.params ?? {} },
    key: { vendor, usdCap: 1, allowedEndpoints: [endpoint], ttl: '1h', ...change.key },
  };
}

function callOf(raw: unknown): EndpointCall {
  return parseInput(raw, FACTS, VENDORS).call as EndpointCall;
}

function issuesOf(raw: unknown): unknown {
  try {
    parseInput(raw, FACTS, VENDORS);
  } catch (error) {
    const { type, details } = error as ApplicationFailure;
    expect(type).toBe('keybrake.invalid_input');
    return (details?.[0] as { issues: unknown } | undefined)?.issues;
  }
  return [];
}

describe('an endpoint', () => {
  // prettier-ignore
  test.each([
    ['stripe', 'POST /v1/payment_intents', 'form'],
    ['stripe', 'POST /v1/payment_intents/{{pi}}/capture', 'form'],
    ['stripe', 'POST /v2/money_management/payout_intents', 'json'],
    ['twilio', TEXTS, 'flat'],
    ['twilio', `POST /2010-04-01/Accounts/${AC}/Messages.json`, 'flat'],
    ['twilio', 'POST /2010-04-01/Accounts/{AccountSid}/Messages/{{sid}}.json', 'flat'],
    ['twilio', 'GET /lookups/v2/PhoneNumbers/{{phone}}', 'flat'],
    ['resend', 'POST /emails', 'json'],
    ['resend', 'PATCH /emails/{{id}}', 'json'],
    ['fax', 'PUT /v1/faxes/{{id}}', 'json'],
  ])('of %s, %s, is planned with its vendor and the way it takes parameters', (vendor, endpoint, body) => {
    const allowed = endpoint.replaceAll(/\{\{\w+\}\}|AC7+/g, ':id');
    expect(callOf(input(vendor, endpoint, { key: { allowedEndpoints: [allowed] } }))).toMatchObject({ vendor, body });
  });

  // prettier-ignore
  test.each([
    ['an unknown vendor', input('paypal', 'POST /v1/x'), 'key.vendor', /must be one of: stripe, twilio, resend, fax, idle/],
    ['a vendor without an account', input('idle', 'GET /v1/idle'), 'key.vendor', /no account of idle/],
    ['an account of another', input('twilio', TEXTS, { key: { account: 'resend' } }), 'key.account', /twilio, twilio-eu/],
    ['an id to fill in', input('resend', 'POST /emails/{id}/cancel'), 'call.endpoint', /fills \{id\}/],
    ['the account as an id', input('twilio', TEXTS.replace('{AccountSid}', ':AccountSid')), 'call.endpoint', /\{AccountSid\} is the account/],
    ['a list for a form', input('twilio', TEXTS, { params: [{ To: '1' }] }), 'call.params', /an object/],
  ])('%s is told', (_name, raw, path, words) => {
    expect(issuesOf(raw)).toEqual([{ path, message: expect.stringMatching(words) }]);
  });

  test('that is no route is told with the nearest, as is an entry of the allowlist', () => {
    const message = 'is no route of resend; the nearest is "POST /emails"';
    expect(issuesOf(input('resend', 'POST /email'))).toEqual([
      { path: 'call.endpoint', message },
      { path: 'key.allowedEndpoints[0]', message },
    ]);
    const sms = { path: 'call.endpoint', message: expect.stringContaining('Accounts/:AccountSid/Messages.json') };
    expect(issuesOf(input('twilio', '/x'.replace('/x', 'POST /2010-04-01/Messages.json')))).toContainEqual(sms);
  });

  test('that the allowlist lacks is told with the entry that would allow it', () => {
    const key = { allowedEndpoints: ['GET /emails'] };
    expect(issuesOf(input('resend', 'POST /emails', { key }))).toEqual([
      { path: 'call.endpoint', message: 'would be refused: add "POST /emails" to key.allowedEndpoints' },
    ]);
  });

  test('is covered by an entry with ids in any way of writing', () => {
    for (const entry of [':AccountSid', '{AccountSid}', '*', ':anything']) {
      const key = { allowedEndpoints: [TEXTS.replace('{AccountSid}', entry)] };
      expect(issuesOf(input('twilio', TEXTS, { key }))).toEqual([]);
    }
  });

  test('the account of a Twilio key stands where the call says so, and never where a record does', () => {
    const params = { To: '{{to}}', StatusCallback: 'https://x.test/{AccountSid}', Body: '{{AccountSid}} {{note}}' };
    const call = withAccountIn(callOf(input('twilio', TEXTS, { params })), AC);
    const record = { to: '+1', AccountSid: 'theirs', note: '{AccountSid}' };
    expect(renderCall(call, record)).toMatchObject({
      path: `/2010-04-01/Accounts/${AC}/Messages.json`,
      params: { To: '+1', StatusCallback: `https://x.test/${AC}`, Body: 'theirs {AccountSid}' },
    });
  });
});

describe('parameters', () => {
  const form = 'application/x-www-form-urlencoded';

  // prettier-ignore
  test.each([
    ['flat', 'POST', { To: '+1', Body: 'a b&c', N: 2, On: true, Off: null }, { body: { text: 'To=%2B1&Body=a%20b%26c&N=2&On=true&Off=', contentType: form } }],
    ['flat', 'POST', { MediaUrl: ['a', 'b'] }, { body: { text: 'MediaUrl=a&MediaUrl=b', contentType: form } }],
    ['flat', 'POST', { ContentVariables: { 1: 'say "hi"' } }, { body: { text: `ContentVariables=${encodeURIComponent('{"1":"say \\"hi\\""}')}`, contentType: form } }],
    ['flat', 'GET', { Fields: 'caller_name' }, { query: 'Fields=caller_name' }],
    ['json', 'POST', { to: ['a'], tags: [{ name: 'n', value: 1 }], off: null }, { body: { text: '{"to":["a"],"tags":[{"name":"n","value":1}],"off":null}', contentType: 'application/json' } }],
    ['json', 'POST', [{ to: 'a' }], { body: { text: '[{"to":"a"}]', contentType: 'application/json' } }],
    ['json', 'POST', {}, {}],
    ['json', 'GET', { limit: 2 }, { query: 'limit=2' }],
    ['form', 'GET', {}, {}],
    ['form', 'POST', {}, { body: { text: '', contentType: form } }],
    ['form', 'DELETE', {}, {}],
    ['form', 'DELETE', { a: { b: 1 } }, { body: { text: 'a[b]=1', contentType: form } }],
  ] as const)('as %s with %s: %j', (kind, method, params, encoded) => {
    expect(encodeParams(kind, method, params)).toEqual(encoded);
  });

  test('the form is what twilio-node writes', () => {
    // eslint-disable-next-line typescript/no-require-imports -- not exported by the package
    const { object, map } = require('../node_modules/twilio/lib/base/serialize.js');
    const scalar = fc.oneof(fc.string({ unit: 'grapheme' }), fc.integer(), fc.boolean());
    const value = fc.oneof(scalar, fc.array(scalar), fc.dictionary(fc.string(), scalar));
    fc.assert(
      fc.property(fc.dictionary(fc.string({ minLength: 1 }), value), (params) => {
        const theirs = Object.entries(params).flatMap(([name, item]) =>
          (Array.isArray(item) ? map(item, (one: unknown) => one) : [object(item)]).map((one: unknown) => [
            name,
            String(one),
          ]),
        );
        const { body } = encodeParams('flat', 'POST', params);
        expect([...new URLSearchParams(body?.text)]).toEqual(theirs);
      }),
    );
  });
});

describe('an answer', () => {
  test.each([
    [{ error: { decline_code: 'lost_card', code: 'card_declined', type: 'card_error' } }, 'lost_card'],
    [{ error: { type: 'api_error' } }, 'api_error'],
    [{ code: 21211, message: 'invalid To', status: 400 }, '21211'],
    [{ statusCode: 422, name: 'missing_required_field', message: 'x' }, 'missing_required_field'],
    [{ error: 'bad_fax' }, 'bad_fax'],
    [undefined, undefined],
    [{ id: '1' }, undefined],
  ])('%j has the code %s', (body, code) => expect(vendorCodeOf(body)).toBe(code));

  // prettier-ignore
  test.each([
    ['twilio', 201, undefined, { outcome: 'succeeded' }],
    ['twilio', 400, '21211', { outcome: 'failed', code: '21211' }],
    ['twilio', 429, '20429', undefined],
    ['resend', 422, 'missing_required_field', { outcome: 'failed', code: 'missing_required_field' }],
    ['resend', 429, 'rate_limit_exceeded', undefined],
    ['resend', 429, 'monthly_quota_exceeded', { outcome: 'failed', code: 'monthly_quota_exceeded' }],
    ['resend', 409, 'invalid_idempotent_request', { outcome: 'failed', code: 'invalid_idempotent_request' }],
    ['stripe', 402, 'card_declined', { outcome: 'declined', code: 'card_declined' }],
    ['stripe', 409, 'lock_timeout', undefined],
  ])('of %s with %i %s comes to %j', (vendor, status, code, result) => {
    expect(plainResult(vendor, status, code)).toEqual(result);
  });
});
