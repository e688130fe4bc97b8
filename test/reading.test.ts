import { createHash } from 'node:crypto';
import * as fc from 'fast-check';
import { Refusal } from '../proxy/contract';
import { type RequestHeaders, fingerprint, readPath, readRequest } from '../proxy/reading';
import type { VendorRequest } from '../proxy/vendors/vendor';
import { refusedField } from './support/refused';

const FORM: RequestHeaders = { 'content-type': 'application/x-www-form-urlencoded' };

function post(bodyText: string, headers: RequestHeaders = FORM, url = '/v1/payment_intents'): VendorRequest {
  return readRequest({ method: 'POST', target: readPath(url), headers, bodyText });
}

describe('readPath', () => {
  test.each([
    ['/v1/payment_intents', '/v1/payment_intents', ''],
    ['/v1/payment_intents/pi_1/confirm', '/v1/payment_intents/pi_1/confirm', ''],
    ['/v1/charges?limit=3&created[gte]=1', '/v1/charges', 'limit=3&created[gte]=1'],
    ['/v1/charges?', '/v1/charges', ''],
    ['/v1/%63harges', '/v1/charges', ''],
    ['/2010-04-01/Accounts/AC1/Messages.json', '/2010-04-01/Accounts/AC1/Messages.json', ''],
  ])('%s is read as one plain path', (url, path, query) => {
    expect(readPath(url)).toEqual({ path, query });
  });

  test.each([
    '',
    '/',
    '*',
    'v1/charges',
    'http://api.stripe.com/v1/charges',
    '//api.stripe.com/v1/charges',
    '/v1//charges',
    '/v1/charges/',
    '/v1/./charges',
    '/v1/../charges',
    '/v1/charges/..',
    '/v1/.../charges',
    '/v1/%2e%2e/charges',
    '/v1/%2E/charges',
    '/v1/charges%2fch_1',
    '/v1/charges%2Fch_1',
    '/v1/charges%5cch_1',
    '/v1\\charges',
    '/v1/charges;a=1',
    '/v1/charges%3Ba',
    '/v1/charges%00',
    '/v1/charges%0a',
    '/v1/char\tges',
    '/v1/charges%',
    '/v1/charges%zz',
    '/v1/charges%c0%af',
    '/v1/%252e%252e/charges',
    '/v1/charges%252fch_1',
    '/v1/charges#x',
    '/v1/chargés',
    '/v1/charges%3Famount=1',
    '/v1/charges%20',
    '/v1/charges+1',
  ])('%j is refused: it can be read as another path', (url) => {
    expect(refusedField(() => readPath(url))).toBe('path');
  });

  test.each(['/v1/charges?a=1#b', '/v1/charges?a= 1', '/v1/charges?a=é', '/v1/charges?a=\r\n'])(
    '%j is refused for its query',
    (url) => expect(refusedField(() => readPath(url))).toBe('query'),
  );

  test('whatever is read is already what a URL parser would make of it', () => {
    const piece = fc.constantFrom('a', 'Z', '9', '.', '..', '/', '//', '%2e', '%2f', '%41', '%', ';', '\\', '~', '-');
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 12 }), (pieces) => {
        const url = `/${pieces.join('')}`;
        let path;
        try {
          ({ path } = readPath(url));
        } catch (error) {
          if (!(error instanceof Refusal)) throw error;
          return;
        }
        expect(new URL(path, 'http://vendor.test').pathname).toBe(path);
        expect(path).toBe(decodeURIComponent(url));
      }),
      { numRuns: 5_000 },
    );
  });
});

describe('readRequest', () => {
  test('an ordinary call is read, and only the headers that the vendor acts on are kept', () => {
    const headers = { ...FORM, 'idempotency-key': 'k', 'stripe-version': 'v', authorization: 'Bearer vk_1', host: 'h' };
    expect(post('amount=5&currency=usd', headers)).toEqual({
      method: 'POST',
      path: '/v1/payment_intents',
      query: [],
      // prettier-ignore
      body: [['amount', '5'], ['currency', 'usd']],
      headers: { 'idempotency-key': 'k', 'stripe-version': 'v' },
    });
  });

  test('a GET may have a query, and any content type without a body', () => {
    const target = readPath('/v1/charges?limit=1');
    const headers = { 'content-type': 'application/json' };
    expect(readRequest({ method: 'GET', target, headers, bodyText: '' }).query).toEqual([['limit', '1']]);
  });

  test.each([
    ['application/x-www-form-urlencoded; charset=utf-8'],
    ['application/x-www-form-urlencoded;charset=UTF-8'],
    ['Application/X-WWW-Form-Urlencoded'],
  ])('content type %s is a form', (type) => {
    expect(post('a=1', { 'content-type': type }).body).toHaveLength(1);
  });

  test('a POST without a body needs no content type', () => {
    expect(post('', {}).body).toEqual([]);
  });

  test.each<[string, string, RequestHeaders, string, string]>([
    ['JSON on v1', '{"amount":1}', { 'content-type': 'application/json' }, '', 'content-type'],
    ['multipart on v1', 'x', { 'content-type': 'multipart/form-data; boundary=x' }, '', 'content-type'],
    ['no content type', 'amount=1', {}, '', 'content-type'],
    [
      'another charset',
      'a=1',
      { 'content-type': `${FORM['content-type'] as string}; charset=utf-16` },
      '',
      'content-type',
    ],
    ['two content types', 'a=1', { 'content-type': [FORM['content-type'] as string] }, '', 'content-type'],
    ['JSON type on an empty body', '', { 'content-type': 'application/json' }, '', 'content-type'],
    ['an encoded body', 'a=1', { ...FORM, 'content-encoding': 'gzip' }, '', 'content-encoding'],
    ['X-HTTP-Method-Override', 'a=1', { ...FORM, 'x-http-method-override': 'DELETE' }, '', 'x-http-method-override'],
    ['X-HTTP-Method', 'a=1', { ...FORM, 'x-http-method': 'PUT' }, '', 'x-http-method'],
    ['X-Method-Override', 'a=1', { ...FORM, 'x-method-override': 'PUT' }, '', 'x-method-override'],
    ['X-Original-URL', 'a=1', { ...FORM, 'x-original-url': '/v1/payouts' }, '', 'x-original-url'],
    ['_method in the body', 'a=1&_method=delete', FORM, '', '_method'],
    ['nested _method', '_method[a]=delete', FORM, '', '_method'],
    ['cost fields in the query of a POST', 'currency=usd', FORM, '?amount=5', 'query'],
    ['any query on a POST', '', {}, '?expand[]=a', 'query'],
  ])('%s is refused, and the field is named', (_what, body, headers, query, field) => {
    expect(refusedField(() => post(body, headers, `/v1/payment_intents${query}`))).toBe(field);
  });

  test.each(['GET', 'DELETE'])('%s: a body on a GET, or a query on a DELETE, is refused', (method) => {
    const target = readPath(method === 'GET' ? '/v1/charges' : '/v1/charges?a=1');
    const bodyText = method === 'GET' ? 'a=1' : '';
    expect(refusedField(() => readRequest({ method, target, headers: FORM, bodyText }))).toBeDefined();
  });

  test('_method in the query of a GET is refused', () => {
    const target = readPath('/v1/charges?_method=POST');
    expect(refusedField(() => readRequest({ method: 'GET', target, headers: {}, bodyText: '' }))).toBe('_method');
  });
});

describe('fingerprint', () => {
  const request: VendorRequest = {
    method: 'POST',
    path: '/v1/payment_intents',
    query: [],
    // prettier-ignore
    body: [['amount', '5'], ['currency', 'usd'], ['expand[]', 'a'], ['expand[]', 'b']],
    headers: {},
  };

  test('is SHA-256 in hex over a canonical text', () => {
    const text = JSON.stringify(['POST', request.path, [], request.body, [null, null]]);
    expect(fingerprint(request)).toBe(createHash('sha256').update(text).digest('hex'));
  });

  test('the order of fields does not count', () => {
    const unique = fc.uniqueArray(fc.tuple(fc.string(), fc.string()), { selector: ([name]) => name });
    const shuffled = unique.chain((body) =>
      fc.tuple(fc.constant(body), fc.shuffledSubarray(body, { minLength: body.length })),
    );
    fc.assert(
      fc.property(shuffled, ([body, other]) => {
        expect(fingerprint({ ...request, body: other })).toBe(fingerprint({ ...request, body }));
      }),
    );
  });

  test('an SDK upgrade or another key in the header is still the same request', () => {
    const headers = { 'stripe-version': '2026-10-28.endive', 'idempotency-key': 'k' };
    expect(fingerprint({ ...request, headers })).toBe(fingerprint(request));
  });

  test.each<[string, Partial<VendorRequest>]>([
    ['method', { method: 'DELETE' }],
    ['path', { path: '/v1/payment_intents/pi_1' }],
    ['value', { body: [['amount', '6'], ...request.body.slice(1)] }],
    ['field moved to the query', { body: request.body.slice(1), query: [['amount', '5']] }],
    // prettier-ignore
    ['order inside a list', { body: [...request.body.slice(0, 2), ['expand[]', 'b'], ['expand[]', 'a']] }],
    // prettier-ignore
    ['value that looks like two fields', { body: [['amount', '5","currency","usd'], ...request.body.slice(2)] }],
    ['Stripe-Account', { headers: { 'stripe-account': 'acct_1' } }],
    ['Stripe-Context', { headers: { 'stripe-context': 'acct_1' } }],
  ])('another %s is another request', (_what, change) => {
    expect(fingerprint({ ...request, ...change })).not.toBe(fingerprint(request));
  });
});
