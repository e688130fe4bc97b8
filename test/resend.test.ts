import { REFUSALS, type RefusalCode } from '../proxy/contract';
import { matchRoute, readPath, readRequest } from '../proxy/reading';
import { resendWith } from '../proxy/vendors/resend';

const resend = resendWith();
const ID = '49a3999c-0ce1-4ea6-ab68-afcd6dc2e794';
const MAIL = { from: 'a@b.test', to: 'c@d.test', subject: 'hi', html: '<p>x</p>' };

function read(path: string, body: unknown, headers: Record<string, string> = {}) {
  const match = matchRoute(resend, 'POST', path);
  if (match === undefined) throw new Error(`no route for ${path}`);
  const bodyText = body === undefined ? '' : JSON.stringify(body);
  const given = { 'content-type': 'application/json', ...headers };
  const request = readRequest({ method: 'POST', target: readPath(path), headers: given, bodyText, kind: 'json' });
  return { match, request };
}

function priceOf(path: string, body: unknown, vendor = resend) {
  const { match, request } = read(path, body);
  const route = vendor.routes.find(({ name }) => name === match.route.name) ?? match.route;
  return route.price(request, match.ids, { fx: {} });
}

function valueOf(path: string, body: unknown, answer: unknown, headers?: Record<string, string>) {
  const { match, request } = read(path, body, headers);
  const pricing = match.route.price(request, match.ids, { fx: {} });
  const quoteMicros = pricing.ok && pricing.price.kind === 'fixed' ? pricing.price.micros : 0;
  return match.route.value(200, answer, { fx: {} }, { request, quoteMicros });
}

describe('an e-mail costs its recipients', () => {
  test.each<[string, string, unknown, number]>([
    ['one', '/emails', MAIL, 900],
    ['with a name', '/emails', { ...MAIL, to: 'Doe, Jane <c@d.test>' }, 900],
    ['to, cc and bcc', '/emails', { ...MAIL, to: ['a@b.c', 'd@e.f'], cc: 'g@h.i', bcc: ['j@k.l'] }, 3_600],
    ['cc of nobody', '/emails', { ...MAIL, cc: [], bcc: null }, 900],
    ['scheduled', '/emails', { ...MAIL, scheduled_at: 'in 1 min', headers: { 'X-Tag': '1' }, tags: [] }, 900],
    [
      'two of three recipients',
      '/emails/batch',
      [1, 2].map(() => ({ ...MAIL, to: ['a@b.c', 'd@e.f', 'g@h.i'] })),
      5_400,
    ],
  ])('%s', (_what, path, body, micros) => {
    expect(priceOf(path, body)).toEqual({ ok: true, price: { kind: 'fixed', micros, out: false } });
  });

  test("the unit is the operator's", () => {
    expect(priceOf('/emails', MAIL, resendWith({ email: 400 }))).toMatchObject({ price: { micros: 400 } });
  });

  test.each<[string, string, unknown, string, string]>([
    ['no recipient', '/emails', { ...MAIL, to: [] }, 'request_unpriceable', 'to'],
    ['none given', '/emails', { from: 'a@b.test' }, 'request_unpriceable', 'to'],
    ['two in one text', '/emails', { ...MAIL, to: 'a@b.c, d@e.f' }, 'request_unpriceable', 'to'],
    [
      'two, of which one has a wide at sign',
      '/emails',
      { ...MAIL, to: 'a\uff20b.c, d@e.f' },
      'request_unpriceable',
      'to',
    ],
    ['two in one cc', '/emails', { ...MAIL, cc: ['a@b.c,d@e.f'] }, 'request_unpriceable', 'cc'],
    ['a list in a list', '/emails', { ...MAIL, to: [['a@b.c', 'd@e.f']] }, 'request_unpriceable', 'to'],
    ['an object', '/emails', { ...MAIL, bcc: { 0: 'a@b.c' } }, 'request_unpriceable', 'bcc'],
    ['another case', '/emails', { ...MAIL, Bcc: 'x@y.z' }, 'request_unpriceable', 'Bcc'],
    ['an audience', '/emails', { ...MAIL, audience_id: 'x' }, 'request_unpriceable', 'audience_id'],
    ['a line break in a subject', '/emails', { ...MAIL, subject: 'x\r\nBcc: e@f.g' }, 'request_unpriceable', 'subject'],
    [
      'a line break in a header',
      '/emails',
      { ...MAIL, headers: { 'X-A': 'x\nBcc: e@f.g' } },
      'request_unpriceable',
      'headers',
    ],
    ['a line break in a sender', '/emails', { ...MAIL, from: 'a@b.c\nBcc: e@f.g' }, 'request_unpriceable', 'from'],
    ['a line break in a recipient', '/emails', { ...MAIL, to: 'a\r\n <a@b.c>' }, 'request_unpriceable', 'to'],
    [
      'a line break in an answer address',
      '/emails',
      { ...MAIL, reply_to: ['a@b.c\rx'] },
      'request_unpriceable',
      'reply_to',
    ],
    ['a header with a colon', '/emails', { ...MAIL, headers: { 'Bcc:': 'x@y.z' } }, 'request_unpriceable', 'headers'],
    ['a header with a space', '/emails', { ...MAIL, headers: { 'X Bcc': 'x@y.z' } }, 'request_unpriceable', 'headers'],
    ['a Bcc header', '/emails', { ...MAIL, headers: { bCC: 'x@y.z' } }, 'parameter_not_allowed', 'headers'],
    [
      'a Resent-To header',
      '/emails',
      { ...MAIL, headers: { 'Resent-To ': 'x@y.z' } },
      'parameter_not_allowed',
      'headers',
    ],
    ['a list to /emails', '/emails', [MAIL], 'request_unpriceable', 'body'],
    ['nothing', '/emails', undefined, 'request_unpriceable', 'body'],
    ['an e-mail to the batch', '/emails/batch', MAIL, 'request_unpriceable', 'body'],
    ['an empty batch', '/emails/batch', [], 'request_unpriceable', 'body'],
    ['a bad item', '/emails/batch', [MAIL, { ...MAIL, to: 5 }], 'request_unpriceable', 'to'],
  ])('%s is refused', (_what, path, body, code, field) => {
    expect(priceOf(path, body)).toMatchObject({ ok: false, code, details: { field } });
  });
});

describe('what an answer says of the cost', () => {
  const worth = (micros: number) => ({ objectId: ID, vendorId: ID, valueMicros: micros, out: false });

  test('sent: the quote, on the id of the e-mail', () => {
    expect(valueOf('/emails', MAIL, { id: ID })).toMatchObject(worth(900));
  });

  test('canceled: nothing', () => {
    expect(priceOf(`/emails/${ID}/cancel`, undefined)).toEqual({ ok: true, price: { kind: 'free', objectId: ID } });
    expect(valueOf(`/emails/${ID}/cancel`, undefined, { object: 'email', id: ID })).toMatchObject(worth(0));
    expect(resend.lookupValue({ id: ID, last_event: 'canceled' }, { fx: {} })).toMatchObject(worth(0));
    expect(resend.lookupValue({ id: ID, last_event: 'delivered' }, { fx: {} })).toBeUndefined();
  });

  const batch = [MAIL, { ...MAIL, to: ['a@b.c', 'd@e.f'] }, MAIL];
  const permissive = { 'x-batch-validation': 'permissive' };
  const failed = { data: [{ id: ID }, { id: 'x' }], errors: [{ index: 1, message: 'bad' }] };

  test.each<[string, unknown, Record<string, string>, number | undefined]>([
    ['all sent', { data: [{ id: ID }, { id: 'x' }, { id: 'y' }] }, {}, 3_600],
    ['one not sent', failed, permissive, 1_800],
    ['one not sent, in strict mode', failed, {}, 3_600],
    ['named twice', { ...failed, errors: [...failed.errors, ...failed.errors] }, permissive, 1_800],
    ['an item in neither list', { ...failed, data: [{ id: ID }] }, permissive, 3_600],
    ['an index of none', { ...failed, errors: [{ index: 7 }] }, permissive, 3_600],
    ['not understood', { id: ID }, {}, undefined],
  ])('a batch: %s', (_what, answer, headers, micros) => {
    expect(valueOf('/emails/batch', batch, answer, headers)?.valueMicros).toBe(micros);
  });

  test.each([{}, null, { id: '../x' }, { id: 5 }])('%j is not understood', (answer) => {
    expect(valueOf('/emails', MAIL, answer)).toBeUndefined();
  });
});

test.each([
  [{ statusCode: 422, name: 'missing_required_field', message: 'x' }, true, 'missing_required_field'],
  [{ statusCode: 409, name: 'invalid_idempotent_request', message: 'x' }, true, 'invalid_idempotent_request'],
  [{ statusCode: 409, name: 'concurrent_idempotent_requests', message: 'x' }, false, 'concurrent_idempotent_requests'],
  [{ message: 'x' }, false, null],
  ['<html>', false, null],
])('%j', (answer, is, code) => {
  expect(resend.isVendorError(answer)).toBe(is);
  expect(resend.errorCode(answer)).toBe(code);
});

test.each(Object.keys(REFUSALS) as RefusalCode[])('%s is refused in the shape of Resend', (code) => {
  const statusCode = code === 'idempotency_mismatch' ? 409 : REFUSALS[code].status;
  expect(resend.refusalStatus(code)).toBe(statusCode);
  expect(resend.refusalBody(code, 'Why.', { call_id: 'c' })).toEqual({
    statusCode,
    name: code,
    message: `${code}: Why.`,
    keybrake: { call_id: 'c' },
  });
});

test('only the time of a scheduled e-mail may be changed', () => {
  const row = resend.routes.find(({ name }) => name === 'PATCH /emails/:id');
  const request = { method: 'PATCH', path: `/emails/${ID}`, query: [], body: [], headers: {} };
  const priceWith = (json: Record<string, string>) => row?.price({ ...request, json }, { id: ID }, { fx: {} });
  expect(priceWith({ scheduled_at: 'in 1 h' })).toEqual({ ok: true, price: { kind: 'free' } });
  expect(priceWith({ scheduled_at: 'in 1 h', to: 'x@y.z' })).toMatchObject({ ok: false, details: { field: 'to' } });
});

test('keys, webhooks and domains are forbidden, and broadcasts have no price', () => {
  const forbidden = (path: string) => resend.forbidden.some(({ pattern }) => pattern.test(path));
  for (const path of ['/api-keys', '/API-Keys/x', '/webhooks', '/domains/1', '/oauth-grants']) {
    expect(forbidden(path)).toBe(true);
  }
  for (const { path } of resend.routes) expect(forbidden(path)).toBe(false);
  expect(matchRoute(resend, 'POST', '/broadcasts/b1/send')).toBeUndefined();
});
