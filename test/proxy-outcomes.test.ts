/** Promise 3, never lost: what the proxy makes of every kind of answer, and of none. In doubt the money stays held. */
import { brotliCompressSync, deflateSync, gzipSync } from 'node:zlib';
import type { IssuedKey } from '../proxy/contract';
import { type Rig, startRig, tally } from './support/rig';
import { intent, type Scripted, startVendorStub, stripeError, type VendorStub } from './support/vendorStub';

const TIMEOUT_MS = 400;

let stub: VendorStub;
let rig: Rig;
let key: IssuedKey;
beforeAll(async () => {
  stub = await startVendorStub();
  rig = await startRig({ proxy: { upstream: stub.url, upstreamTimeoutMs: TIMEOUT_MS } });
});
afterAll(async () => {
  await rig.close();
  await stub.stop();
});
beforeEach(async () => {
  key = await rig.issue({ usd_cap: 9 });
});

async function spend() {
  const { settled_usd: settled, held_usd: held, unknown_usd: unknown } = (await rig.client.getKey(key.key_id)).spend;
  return { settled, held, unknown };
}

const HTML = '<html>Bad gateway</html>';
const html = { 'content-type': 'text/html' };

const packed = (name: string): Buffer => gzipSync(JSON.stringify(intent(500, name)));

/** 32 MB of nothing, which is 32 KB on the wire. */
function bomb(): Buffer {
  return gzipSync(Buffer.alloc(32 * 1024 * 1024, ' '));
}

describe('an answer that is compressed although it was not to be is read, and passed on plain', () => {
  test.each<[string, (text: string) => Buffer]>([
    ['gzip', gzipSync],
    ['deflate', deflateSync],
    ['br', brotliCompressSync],
    ['br, GZIP', (text) => gzipSync(brotliCompressSync(text))],
    ['identity', (text) => Buffer.from(text)],
  ])('%s', async (coding, compress) => {
    const body = JSON.stringify(intent(500, coding.replace(/\W+/, '')));
    stub.script({ status: 200, headers: { 'content-encoding': coding }, body: compress(body) });
    const answer = await rig.call(key.vault_key);
    expect([answer.status, answer.text]).toEqual([200, body]);
    expect(answer.headers).not.toHaveProperty('content-encoding');
    expect(await spend()).toEqual({ settled: 5, held: 0, unknown: 0 });
  });
});

describe('an answer that proves nothing leaves the call unknown and its money held, until its own retry learns the outcome', () => {
  test.each<[string, Scripted]>([
    ['no answer in time', 'no answer'],
    ['a cut connection', 'cut'],
    ['a connection cut in the answer', 'cut in the answer'],
    ['500', stripeError(500, 'api_error')],
    ['503 in HTML', { status: 503, headers: html, body: HTML }],
    ['a redirect', { status: 301, headers: { location: 'http://127.0.0.1:9/' }, body: '' }],
    ['307', { status: 307, headers: { location: '/v1/payment_intents' }, body: '' }],
    ['304', { status: 304, body: '' }],
    ['409: the idempotency key is in use', stripeError(409, 'idempotency_error', { code: 'idempotency_key_in_use' })],
    ['a 2xx that is no JSON', { status: 200, headers: html, body: HTML }],
    ['a 2xx without a body', { status: 200, body: '' }],
    ['204', { status: 204, body: '' }],
    ['a 2xx that is something else', { status: 200, body: { object: 'balance' } }],
    ['a 2xx without an amount', { status: 200, body: { id: 'pi_1', object: 'payment_intent', status: 'succeeded' } }],
    ['a 2xx of a status that nobody knows', { status: 200, body: intent(500, 'x', { status: 'teleported' }) }],
    ['a 2xx with a fraction of a cent', { status: 200, body: intent(500.5, 'x') }],
    ['a 400 that is not in the vendor’s own words', { status: 400, headers: html, body: HTML }],
    ['a 404 of somebody in between', { status: 404, body: { message: 'no route' } }],
    ['a 429 in HTML', { status: 429, headers: html, body: HTML }],
    ['a 402 in HTML', { status: 402, headers: html, body: HTML }],
    ['418', stripeError(418, 'invalid_request_error')],
    ['a coding that nobody knows', { status: 200, headers: { 'content-encoding': 'pack200' }, body: packed('z1') }],
    ['what is not of its coding', { status: 200, headers: { 'content-encoding': 'br' }, body: packed('z2') }],
    ['more than may be read', { status: 200, headers: { 'content-encoding': 'gzip' }, body: bomb() }],
  ])('%s', async (name, scripted) => {
    stub.script(scripted);
    const first = await rig.call(key.vault_key, { key: `unknown ${name.slice(0, 20)}`.replace('’', '') });
    expect([first.status, first.code]).toEqual([504, 'outcome_unknown']);
    expect(first.headers).toMatchObject({ 'stripe-should-retry': 'true', 'keybrake-remaining-usd': '4' });
    expect(stub.seen).toHaveLength(1);
    expect(await spend()).toEqual({ settled: 0, held: 0, unknown: 5 });
    // The held money is not free for another call.
    expect(tally([await rig.call(key.vault_key)])).toEqual({ '429 cap_exhausted': 1 });

    const retried = await rig.call(key.vault_key, { key: String(stub.seen[0]?.headers['idempotency-key']) });
    expect(retried.status).toBe(200);
    expect(stub.seen).toHaveLength(2);
    expect(stub.seen[1]).toEqual(stub.seen[0]);
    expect(await spend()).toEqual({ settled: 5, held: 0, unknown: 0 });
    const callId = first.headers['keybrake-call-id'];
    expect(retried.headers['keybrake-call-id']).toBe(callId);
    const settled = await rig.client.listCalls({ key_id: key.key_id, state: 'settled' });
    expect(settled.items).toMatchObject([{ call_id: callId, sends: 2, cost_usd: 5 }]);
  });
});

describe('a clear refusal in the vendor’s own words releases the money and the idempotency key', () => {
  test.each<[number, string]>([
    [400, 'invalid_request_error'],
    [401, 'authentication_error'],
    [403, 'permission_error'],
    [404, 'invalid_request_error'],
    // `because` is no rate limit: those are sent again, see proxy-pace.test.ts.
    [429, 'invalid_request_error'],
  ])('%i %s', async (status, type) => {
    stub.script(stripeError(status, type, { code: 'because' }));
    const first = await rig.call(key.vault_key, { key: `clear:${status}` });
    expect([first.status, first.code]).toEqual([status, 'because']);
    expect(await spend()).toEqual({ settled: 0, held: 0, unknown: 0 });
    // Another request may use the key, as with the vendor itself.
    const other = await rig.call(key.vault_key, { key: `clear:${status}`, body: 'amount=600&currency=usd' });
    expect(other.status).toBe(200);
    const calls = await rig.client.listCalls({ key_id: key.key_id });
    expect(calls.items.map(({ state }) => state)).toEqual(['settled', 'released']);
  });
});

test('the answer to a second send is no evidence: after a cut connection a 429 or 400 leaves the call unknown', async () => {
  const locked = stripeError(429, 'invalid_request_error', { code: 'lock_timeout' });
  stub.script('cut', locked, stripeError(400, 'invalid_request_error'));
  for (let send = 1; send <= 3; send += 1) {
    expect((await rig.call(key.vault_key, { key: 'second' })).code).toBe('outcome_unknown');
    expect(await spend()).toEqual({ settled: 0, held: 0, unknown: 5 });
  }
  expect((await rig.call(key.vault_key, { key: 'second' })).status).toBe(200);
  expect(await spend()).toEqual({ settled: 5, held: 0, unknown: 0 });
});

test('an unknown call without an idempotency key is not worth a retry: a repeat would be executed as another call', async () => {
  const calls = [{}, { headers: { 'keybrake-record-id': 'r-1' } }, { key: 'keyed' }];
  const answers = [];
  for (const call of calls) {
    stub.script(stripeError(500, 'api_error'));
    const { code, json, headers } = await rig.call(key.vault_key, { body: 'amount=100&currency=usd', ...call });
    answers.push([code, json.error.keybrake.may_retry, headers['stripe-should-retry']]);
    expect(json.error.message).toMatch(
      answers.length === 1 ? /no idempotency key, so a repeat would be another call/ : /Repeat it with the same/,
    );
  }
  const worth = ['outcome_unknown', undefined, 'true'];
  expect(answers).toEqual([['outcome_unknown', false, 'false'], worth, worth]);
});

test('a decline on the second send settles at nothing, and is replayed', async () => {
  const declined = intent(500, 'd', { status: 'requires_payment_method', amount_received: 0 });
  stub.script('cut', stripeError(402, 'card_error', { code: 'card_declined', payment_intent: declined }));
  await rig.call(key.vault_key, { key: 'declined' });
  for (const replayed of [undefined, 'true']) {
    const answer = await rig.call(key.vault_key, { key: 'declined' });
    expect([answer.status, answer.code]).toEqual([402, 'card_declined']);
    expect(answer.headers['idempotent-replayed']).toBe(replayed);
  }
  expect(stub.seen).toHaveLength(2);
  expect(await spend()).toEqual({ settled: 0, held: 0, unknown: 0 });
});

test('a vendor that cannot be reached: 503, nothing held, and the same call succeeds once it is up', async () => {
  await stub.stop();
  const calls = await Promise.all([1, 2, 3].map((n) => rig.call(key.vault_key, { key: `down:${n % 2}` })));
  expect(tally(calls)).toEqual({ '503 upstream_unreachable': 3 });
  for (const { headers } of calls) {
    expect(headers).toMatchObject({ 'stripe-should-retry': 'true', 'keybrake-remaining-usd': expect.any(String) });
  }
  expect(await spend()).toEqual({ settled: 0, held: 0, unknown: 0 });
  const released = await rig.client.listCalls({ key_id: key.key_id, state: 'released' });
  expect(released.items.map(({ code }) => code)).toEqual(calls.map(() => 'upstream_unreachable'));

  const { port } = stub;
  stub = await startVendorStub(port);
  expect((await rig.call(key.vault_key, { key: 'down:1' })).status).toBe(200);
  expect(await spend()).toEqual({ settled: 5, held: 0, unknown: 0 });
});

test('the proxy decides before any SDK gives up: no answer is 504 after its own time-out', async () => {
  stub.script('no answer');
  const started = Date.now();
  expect((await rig.call(key.vault_key)).status).toBe(504);
  expect(Date.now() - started).toBeGreaterThanOrEqual(TIMEOUT_MS - 10);
  expect(Date.now() - started).toBeLessThan(TIMEOUT_MS + 3_000);
});

test('an answer that costs more than was held is recorded as it is, above the cap, and stops the key', async () => {
  stub.script({ status: 200, body: intent(50_000, 'dear') });
  expect((await rig.call(key.vault_key)).status).toBe(200);
  expect(await spend()).toEqual({ settled: 500, held: 0, unknown: 0 });
  expect(tally([await rig.call(key.vault_key, { body: 'amount=1&currency=usd' })])).toEqual({ '429 cap_exhausted': 1 });
});

test('an operator cannot resolve a call that may still be under way', async () => {
  stub.script('cut');
  const lost = await rig.call(key.vault_key, { key: 'op' });
  const resolved = rig.client.resolveCall(String(lost.headers['keybrake-call-id']), { outcome: 'released' });
  await expect(resolved).rejects.toMatchObject({ status: 409 });
  expect(await spend()).toEqual({ settled: 0, held: 0, unknown: 5 });
});
