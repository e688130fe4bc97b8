import { Resend } from 'resend';
import { request } from 'undici';
import { type Faults, type Sandbox, startSandbox } from '../src/sandbox';
import { type Raw, START_MS } from './sandbox-fixture';

const KEY = 're_sandbox_0123456789';
const HELLO = { from: 'Acme <a@example.com>', to: 'b@example.com', subject: 'Hello', text: 'Hi' };
const KEYED = { idempotencyKey: 'job:record-1' };
const clock = { nowMs: START_MS };

let sandbox: Sandbox;
let resend: Resend;

beforeAll(async () => {
  sandbox = await startSandbox({ resend: { apiKey: KEY }, now: () => clock.nowMs });
  resend = new Resend(KEY, { baseUrl: sandbox.url });
});
beforeEach(() => {
  sandbox.reset();
  clock.nowMs = START_MS;
});
afterAll(() => sandbox.stop());

async function call(
  method: 'GET' | 'POST' | 'PATCH',
  path: string,
  json?: unknown,
  headers: Record<string, string> = {},
): Promise<Raw> {
  const answer = await request(`${sandbox.url}${path}`, {
    method,
    headers: { authorization: `Bearer ${KEY}`, 'content-type': 'application/json', ...headers },
    ...(json !== undefined && { body: typeof json === 'string' ? json : JSON.stringify(json) }),
  });
  return { status: answer.statusCode, headers: answer.headers, json: await answer.body.json() };
}

function addresses(count: number): string[] {
  return Array.from({ length: count }, (_, at) => `r${at}@example.com`);
}

describe('an email', () => {
  test('costs by its recipients: To, Cc and Bcc each', async () => {
    const sent = await resend.emails.send({ ...HELLO, to: addresses(2), cc: 'c@example.com', bcc: addresses(3) });
    expect(sent).toMatchObject({ error: null, data: { id: expect.stringMatching(/^[0-9a-f-]{36}$/) } });
    expect(sandbox.stats().resend).toMatchObject({ executedEmails: 1, recipients: 6, chargedMicros: 5_400 });
    const { data } = await resend.emails.get(sent.data?.id ?? '');
    expect(data).toMatchObject({ object: 'email', subject: 'Hello', to: addresses(2), last_event: 'delivered' });
    expect(data).toMatchObject({ cc: ['c@example.com'], reply_to: null, scheduled_at: null, html: null, text: 'Hi' });
  });

  test('scheduled costs nothing before its time, can be moved and canceled, and not after it', async () => {
    const scheduledAt = new Date(START_MS + 3_600_000).toISOString();
    const [kept, dropped] = [
      await resend.emails.send({ ...HELLO, scheduledAt }),
      await resend.emails.send({ ...HELLO, scheduledAt: 'in 2 hours' }),
    ];
    const [id = '', other = ''] = [kept.data?.id, dropped.data?.id];
    expect(sandbox.stats().resend).toMatchObject({ emails: 2, executedEmails: 0, chargedMicros: 0, openMicros: 1_800 });
    expect((await resend.emails.cancel(other)).data).toMatchObject({ object: 'email', id: other });
    expect((await resend.emails.update({ id, scheduledAt: 'in 3 hours' })).data).toMatchObject({ id });
    clock.nowMs += 3 * 3_600_000 - 1;
    expect((await resend.emails.get(id)).data?.last_event).toBe('scheduled');
    clock.nowMs += 1;
    expect((await resend.emails.cancel(id)).error).toMatchObject({ statusCode: 422 });
    expect((await resend.emails.get(other)).data?.last_event).toBe('canceled');
    expect(sandbox.stats().resend).toMatchObject({ executedEmails: 1, canceled: 1, chargedMicros: 900, openMicros: 0 });
  });

  test('is listed with others from new to old, page by page', async () => {
    const ids: string[] = [];
    for (let sent = 0; sent < 5; sent += 1) {
      // oxlint-disable-next-line no-await-in-loop
      ids.push((await resend.emails.send(HELLO)).data?.id ?? '');
    }
    ids.reverse();
    const first = await resend.emails.list({ limit: 2 });
    expect(first.data).toMatchObject({ object: 'list', has_more: true, data: [{ id: ids[0] }, { id: ids[1] }] });
    const rest = await resend.emails.list({ after: ids[1] ?? '' });
    expect(rest.data).toMatchObject({ has_more: false });
    expect(rest.data?.data.map(({ id }) => id)).toEqual(ids.slice(2));
    const back = await resend.emails.list({ before: ids[3] ?? '', limit: 2 });
    expect(back.data?.data.map(({ id }) => id)).toEqual(ids.slice(1, 3));
  });
});

describe('a batch', () => {
  const BAD = { ...HELLO, to: 'nobody' };

  test('strict: all are sent, or none', async () => {
    const refused = await resend.batch.send([HELLO, BAD]);
    expect(refused.error).toMatchObject({ statusCode: 422, name: 'validation_error' });
    expect(sandbox.stats().resend.emails).toBe(0);
    const sent = await resend.batch.send([HELLO, { ...HELLO, to: addresses(3) }]);
    expect(sent.data).toEqual({ data: [{ id: expect.any(String) }, { id: expect.any(String) }] });
    expect(sandbox.stats().resend).toMatchObject({ executedEmails: 2, recipients: 4, chargedMicros: 3_600 });
  });

  test('permissive: the valid ones are sent, the others named', async () => {
    const sent = await resend.batch.send([HELLO, BAD, HELLO], { batchValidation: 'permissive' });
    expect(sent.data?.data).toHaveLength(2);
    expect(sent.data?.errors).toEqual([{ index: 1, message: expect.stringContaining('`to`') }]);
    expect(sandbox.stats().resend).toMatchObject({ executedEmails: 2, chargedMicros: 1_800 });
  });

  test.each([
    ['no email', []],
    ['101 emails', Array.from({ length: 101 }, () => HELLO)],
    ['an attachment', [{ ...HELLO, attachments: [{ content: 'x' }] }]],
    ['a time', [{ ...HELLO, scheduled_at: 'in 1 hour' }]],
    ['no array', HELLO],
  ])('of %s is refused', async (_name, emails) => {
    expect(await call('POST', '/emails/batch', emails)).toMatchObject({ status: 422, json: { statusCode: 422 } });
    expect(sandbox.stats().resend.emails).toBe(0);
  });
});

describe('idempotency keys', () => {
  test('the same payload is sent once, whatever the order of its fields, for a day', async () => {
    const first = await resend.emails.send(HELLO, KEYED);
    const { text, ...rest } = HELLO;
    const again = await call('POST', '/emails', { text, ...rest }, { 'idempotency-key': KEYED.idempotencyKey });
    expect([again.status, again.json]).toEqual([200, { id: first.data?.id }]);
    expect(sandbox.stats().resend).toMatchObject({ executedEmails: 1, replayed: 1 });
    clock.nowMs += 24 * 3_600_000;
    await resend.emails.send(HELLO, KEYED);
    const { duplicates, executedEmails } = sandbox.stats().resend;
    expect(executedEmails).toBe(2);
    expect(duplicates.keys).toMatchObject([{ of: KEYED.idempotencyKey, ids: { length: 2 } }]);
    expect(duplicates.contents).toMatchObject([{ ids: { length: 2 } }]);
  });

  test('another payload is refused, and a batch is one use of its key', async () => {
    await resend.emails.send(HELLO, KEYED);
    const other = await resend.emails.send({ ...HELLO, subject: 'Other' }, KEYED);
    expect(other.error).toMatchObject({ statusCode: 409, name: 'invalid_idempotent_request' });
    const batch = await resend.batch.send([HELLO, HELLO], { idempotencyKey: 'batch' });
    expect((await resend.batch.send([HELLO, HELLO], { idempotencyKey: 'batch' })).data).toEqual(batch.data);
    expect(sandbox.stats().resend).toMatchObject({ executedEmails: 3, inUse: 0, duplicates: { keys: [] } });
  });

  test('concurrent use: one is sent, the others get 409', async () => {
    sandbox.setFaults({ delayMs: 50 }, 'resend');
    const ends = await Promise.all([1, 2, 3].map(() => resend.emails.send(HELLO, KEYED)));
    const refusals = ends.filter(({ error }) => error !== null).map(({ error }) => error);
    expect(refusals).toHaveLength(2);
    for (const refusal of refusals) expect(refusal?.name).toBe('concurrent_idempotent_requests');
    expect(sandbox.stats().resend).toMatchObject({ executedEmails: 1, inUse: 2 });
  });

  test('a payload nested without end is refused', async () => {
    const deep = `${'['.repeat(200_000)}${']'.repeat(200_000)}`;
    expect((await call('POST', '/emails', deep, { 'idempotency-key': 'deep' })).status).toBe(422);
  });

  test('a refused payload leaves its key free; a key is 1 to 256 characters', async () => {
    expect((await resend.emails.send({ ...HELLO, to: 'x' }, KEYED)).error?.statusCode).toBe(422);
    expect((await resend.emails.send(HELLO, KEYED)).error).toBeNull();
    const long = await resend.emails.send(HELLO, { idempotencyKey: 'k'.repeat(257) });
    expect(long.error).toMatchObject({ statusCode: 400, name: 'invalid_idempotency_key' });
  });
});

describe('refusals in the shape of Resend', () => {
  test.each([
    [{ ...HELLO, from: undefined }, 'missing_required_field'],
    [{ ...HELLO, to: undefined }, 'missing_required_field'],
    [{ ...HELLO, to: [] }, 'missing_required_field'],
    [{ ...HELLO, subject: undefined }, 'missing_required_field'],
    [{ ...HELLO, text: undefined }, 'missing_required_field'],
    [{ ...HELLO, from: 'Acme' }, 'invalid_from_address'],
    [{ ...HELLO, to: addresses(51) }, 'validation_error'],
    [{ ...HELLO, to: 'b@example.com, c@example.com' }, 'validation_error'],
    [{ ...HELLO, bcc: [{ email: 'b@example.com' }] }, 'validation_error'],
    [{ ...HELLO, subject: 5 }, 'validation_error'],
    [{ ...HELLO, scheduled_at: 'in 31 days' }, 'validation_error'],
    ['{"from":', 'validation_error'],
  ])('%j is a 422 %s, and nothing is sent', async (payload, name) => {
    const { status, json } = await call('POST', '/emails', payload);
    expect([status, json]).toEqual([422, { statusCode: 422, name, message: expect.any(String) }]);
    expect(sandbox.stats().resend).toMatchObject({ emails: 0, chargedMicros: 0 });
  });

  test('no key is 401, a wrong one 403, an unknown id or path 404', async () => {
    const missing = await call('POST', '/emails', HELLO, { authorization: '' });
    expect(missing).toMatchObject({ status: 401, json: { name: 'missing_api_key' } });
    const wrong = await new Resend('re_wrong', { baseUrl: sandbox.url }).emails.send(HELLO);
    expect(wrong.error).toMatchObject({ statusCode: 403, name: 'invalid_api_key' });
    expect((await resend.emails.get('none')).error).toMatchObject({ statusCode: 404, name: 'not_found' });
    expect((await call('POST', '/api-keys', {})).json).toMatchObject({ statusCode: 404, name: 'not_found' });
    expect(sandbox.stats().resend.emails).toBe(0);
  });

  test('a key that may only send cannot read', async () => {
    const other = await startSandbox({ resend: { apiKey: KEY, sendingOnly: true, unitMicros: 400 } });
    const sender = new Resend(KEY, { baseUrl: other.url });
    const { data } = await sender.emails.send(HELLO);
    expect((await sender.emails.get(data?.id ?? '')).error).toMatchObject({ name: 'restricted_api_key' });
    expect(other.stats().resend.chargedMicros).toBe(400);
    await other.stop();
  });
});

describe('faults', () => {
  /** What a first request and its retry with the same key come to, and how many emails were sent after each. */
  test.each<[string, Faults, number | 'cut', number, number]>([
    ['dropBefore', { dropBefore: { first: 1 } }, 'cut', 0, 200],
    ['dropAfter', { dropAfter: { first: 1 } }, 'cut', 1, 200],
    ['error500Before', { error500Before: { first: 1 } }, 500, 0, 200],
    ['error500After', { error500After: { first: 1 } }, 500, 1, 200],
    ['error500After, stored', { error500After: { first: 1 }, error500Stored: true }, 500, 1, 500],
    ['rate429', { rate429: { first: 1 } }, 429, 0, 200],
  ])('%s: executed or not, and the retry sends at most once', async (name, faults, firstStatus, executed, retried) => {
    sandbox.setFaults(faults);
    const headers = { 'idempotency-key': 'once' };
    const first = await call('POST', '/emails', HELLO, headers).catch(() => ({ status: 'cut' }));
    expect(first.status).toBe(firstStatus);
    expect(sandbox.stats().resend).toMatchObject({
      executedEmails: executed,
      injected: { [name.split(',')[0] ?? '']: 1 },
    });
    expect((await call('POST', '/emails', HELLO, headers)).status).toBe(retried);
    expect(sandbox.stats().resend.executedEmails).toBe(1);
  });

  test('the log and the admin endpoints tell it all over HTTP', async () => {
    sandbox.setFaults({ decline: 1 });
    await resend.emails.send(HELLO);
    expect(sandbox.requests()).toMatchObject([{ vendor: 'resend', method: 'POST', path: '/emails', status: 200 }]);
    expect(sandbox.emails()).toMatchObject([{ status: 'bounced', recipients: 1, chargedMicros: 900 }]);
    expect((await call('GET', '/_sandbox/emails')).json).toEqual(sandbox.emails());
    expect((await call('GET', '/_sandbox/stats')).json.resend).toEqual(sandbox.stats().resend);
    expect((await call('GET', '/emails')).status).toBe(200);
    expect(sandbox.stats().resend).toMatchObject({ requests: 2, priced: 1 });
    expect(sandbox.stats().twilio.requests).toBe(0);
  });
});
