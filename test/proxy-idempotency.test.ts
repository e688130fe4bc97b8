/** Promise 2, never twice: one idempotency key of one account is one execution, whoever repeats it. */
import { connect, type Socket } from 'node:net';
import type { IssuedKey } from '../proxy/contract';
import { balanced, books, FIVE_DOLLARS, type Rig, startRig, tally, until } from './support/rig';

let rig: Rig;
let key: IssuedKey;
beforeAll(async () => {
  rig = await startRig({ sandbox: {} });
});
afterAll(() => rig.close());
beforeEach(async () => {
  rig.sandbox.reset();
  key = await rig.issue({ usd_cap: 1_000 });
});

test('40 callers at once with one key: one execution; 17 get its answer, the rest are told to come back', async () => {
  rig.sandbox.setFaults({ delayMs: 400 });
  const answers = await Promise.all(Array.from({ length: 40 }, () => rig.call(key.vault_key, { key: 'flight' })));
  const counts = tally(answers);
  expect(Object.keys(counts).toSorted()).toEqual(['200', '409 idempotency_in_progress']);
  // One is sent and 16 wait for it; who came a little late may still be served.
  expect(counts['200']).toBeGreaterThanOrEqual(17);
  expect(counts['409 idempotency_in_progress']).toBeGreaterThanOrEqual(1);
  const good = answers.filter(({ status }) => status === 200);
  expect(new Set(good.map(({ text }) => text)).size).toBe(1);
  expect(good.filter(({ headers }) => headers['idempotent-replayed'] === undefined)).toHaveLength(1);
  for (const { status, headers } of answers) if (status === 409) expect(headers['stripe-should-retry']).toBe('true');
  expect(rig.sandbox.requests()).toHaveLength(1);
  expect(await books(rig, key.key_id)).toEqual(balanced(1, 5));
});

test('callers that wait for a call whose connection is cut resolve it: one execution, one answer', async () => {
  rig.sandbox.setFaults({ delayMs: 100, dropAfter: { first: 1 } });
  const answers = await Promise.all(Array.from({ length: 10 }, () => rig.call(key.vault_key, { key: 'cut' })));
  expect(tally(answers)).toEqual({ '200': 9, '504 outcome_unknown': 1 });
  expect(await books(rig, key.key_id)).toEqual(balanced(1, 5));
});

test('a replay has the same status, body and vendor headers, says that it is one, and costs nothing', async () => {
  const first = await rig.call(key.vault_key, { key: 'again', headers: { 'stripe-version': '2026-10-28.endive' } });
  const replay = await rig.call(key.vault_key, { key: 'again', headers: { 'stripe-version': '2026-10-28.endive' } });
  expect([replay.status, replay.text]).toEqual([200, first.text]);
  expect([first.headers['idempotent-replayed'], replay.headers['idempotent-replayed']]).toEqual([undefined, 'true']);
  expect(replay.headers['stripe-version']).toBe(first.headers['stripe-version']);
  expect(replay.headers['keybrake-call-id']).not.toBe(first.headers['keybrake-call-id']);
  const rows = (await rig.client.listCalls({ key_id: key.key_id })).items;
  const firstId = first.headers['keybrake-call-id'];
  expect(rows).toMatchObject([
    { state: 'replayed', replay_of: firstId },
    { state: 'settled', call_id: firstId },
  ]);
  expect(rig.sandbox.requests()).toHaveLength(1);
  expect(await books(rig, key.key_id)).toEqual(balanced(1, 5));
});

test('the order and the writing of the fields do not make another request; another amount, path or field does', async () => {
  await rig.call(key.vault_key, { key: 'same', body: `${FIVE_DOLLARS}&metadata[a]=1&metadata[b]=2` });
  const same = await rig.call(key.vault_key, {
    key: 'same',
    body: `metadata%5Bb%5D=2&metadata[a]=%31&${FIVE_DOLLARS}`,
  });
  expect([same.status, same.headers['idempotent-replayed']]).toEqual([200, 'true']);
  for (const body of [`${FIVE_DOLLARS}&metadata[a]=1`, FIVE_DOLLARS.replace('500', '501'), `${FIVE_DOLLARS}&x=`]) {
    const other = await rig.call(key.vault_key, { key: 'same', body });
    expect([other.status, other.code, other.json.error.type]).toEqual([
      400,
      'idempotency_mismatch',
      'idempotency_error',
    ]);
  }
  expect(await books(rig, key.key_id)).toEqual(balanced(1, 5));
});

test('another vault key of the same account repeats a call: no second charge, no second count', async () => {
  const first = await rig.call(key.vault_key, { key: 'shared' });
  const poor = await rig.issue({ usd_cap: 0 });
  const second = await rig.call(poor.vault_key, { key: 'shared' });
  expect([second.status, second.json.id]).toEqual([200, first.json.id]);
  expect((await rig.client.getKey(poor.key_id)).spend).toMatchObject({
    settled_usd: 0,
    calls: { replayed: 1, settled: 0 },
  });
  expect(await books(rig, key.key_id)).toEqual(balanced(1, 5));
});

test('another vault key resolves an unknown call; the money is counted where it was held', async () => {
  rig.sandbox.setFaults({ dropAfter: { first: 1 } });
  await rig.call(key.vault_key, { key: 'crashed' });
  await rig.client.revokeKey(key.key_id, 'the run crashed');
  const next = await rig.issue({ usd_cap: 70 });
  const { status, headers } = await rig.call(next.vault_key, { key: 'crashed' });
  expect([status, headers['keybrake-remaining-usd']]).toEqual([200, '70']);
  expect(await books(rig, key.key_id)).toEqual(balanced(1, 5));
  expect((await rig.client.getKey(next.key_id)).spend.settled_usd).toBe(0);
});

test('a latched key still replays what it did and resolves what is unknown', async () => {
  const small = await rig.issue({ usd_cap: 14 });
  await rig.call(small.vault_key, { key: 'done' });
  rig.sandbox.setFaults({ dropAfter: { first: 1 } });
  await rig.call(small.vault_key, { key: 'lost' });
  const tooMuch = await rig.call(small.vault_key, { body: FIVE_DOLLARS.replace('500', '1000') });
  expect([tooMuch.code, (await rig.client.getKey(small.key_id)).state]).toEqual(['cap_exhausted', 'exhausted']);
  expect((await rig.call(small.vault_key, { key: 'new', body: FIVE_DOLLARS.replace('500', '100') })).code).toBe(
    'cap_exhausted',
  );
  expect((await rig.call(small.vault_key, { key: 'done' })).headers['idempotent-replayed']).toBe('true');
  expect((await rig.call(small.vault_key, { key: 'lost' })).status).toBe(200);
  expect(await books(rig, small.key_id)).toEqual(balanced(2, 10));
});

test('a refusal by the proxy takes no claim: the same key may ask for something else, or for the same under a raised cap', async () => {
  const small = await rig.issue({ usd_cap: 4 });
  expect((await rig.call(small.vault_key, { key: 'k' })).code).toBe('cap_exhausted');
  expect((await rig.call(small.vault_key, { key: 'k', body: 'amount=x' })).code).toBe('request_unpriceable');
  await rig.client.patchKey(small.key_id, { usd_cap: 10 });
  expect((await rig.call(small.vault_key, { key: 'k' })).status).toBe(200);
});

test('calls without a key are each their own, but one record of one job is one call', async () => {
  const job = await rig.issue({ usd_cap: 100, job_id: 'records' });
  const later = await rig.issue({ usd_cap: 100, job_id: 'records' });
  const one = { headers: { 'keybrake-record-id': 'r1' } };
  const ids = [];
  for (const { vault_key: vaultKey } of [job, job, later]) ids.push((await rig.call(vaultKey, one)).json.id);
  expect(new Set(ids).size).toBe(1);
  await rig.call(key.vault_key);
  await rig.call(key.vault_key);
  expect(rig.sandbox.stats().stripe.executedCharges).toBe(3);
});

/** A request as bytes on a socket that the test can cut. */
function open(idempotencyKey: string, sentBytes?: number): Socket {
  const head = [
    'POST /v1/payment_intents HTTP/1.1',
    'host: localhost',
    `authorization: Bearer ${key.vault_key}`,
    'content-type: application/x-www-form-urlencoded',
    `content-length: ${FIVE_DOLLARS.length}`,
    `idempotency-key: ${idempotencyKey}`,
  ];
  const socket = connect(rig.proxy.port, '127.0.0.1');
  socket.on('error', () => {});
  socket.write(`${head.join('\r\n')}\r\n\r\n${FIVE_DOLLARS.slice(0, sentBytes)}`);
  return socket;
}

test('a client that leaves after the call was sent: the call still settles, and its retry is a replay', async () => {
  rig.sandbox.setFaults({ delayMs: 150 });
  const socket = open('left');
  await until('the call is at the vendor', () => rig.sandbox.requests().length === 1 || undefined);
  socket.destroy();
  await until('the call has settled', async () => {
    const { items } = await rig.client.listCalls({ key_id: key.key_id, state: 'settled' });
    return items.length === 1 || undefined;
  });
  expect((await rig.call(key.vault_key, { key: 'left' })).headers['idempotent-replayed']).toBe('true');
  expect(await books(rig, key.key_id)).toEqual(balanced(1, 5));
});

test('a client that leaves in the middle of its request: nothing is held or sent', async () => {
  const socket = open('half', 10);
  // The proxy has the first half when it has answered a later request.
  await rig.call(key.vault_key, { key: 'other' });
  socket.destroy();
  await rig.call(key.vault_key, { key: 'half', body: FIVE_DOLLARS.replace('500', '600') });
  const rows = (await rig.client.listCalls({ key_id: key.key_id })).items;
  expect(rows.map(({ state, quote_usd: usd }) => [state, usd])).toEqual([
    ['settled', 6],
    ['settled', 5],
  ]);
  expect(rig.sandbox.requests()).toHaveLength(2);
});

test('record ids are what they are: one that looks like another, encoded, is another record', async () => {
  const ids = ['x%41', 'xA', '50%25off', '50%off'];
  for (const id of ids) {
    const answer = await rig.call(key.vault_key, { headers: { 'keybrake-record-id': id } });
    expect([answer.status, answer.headers['idempotent-replayed']]).toEqual([200, undefined]);
  }
  const { items } = await rig.client.listCalls({ key_id: key.key_id });
  expect(new Set(items.map(({ record_id: id }) => id))).toEqual(new Set(ids));
});

test('a record id that is too long to be kept whole is refused, not cut: it could be another’s', async () => {
  const id = 'R'.repeat(500);
  const kept = await rig.call(key.vault_key, { headers: { 'keybrake-record-id': id } });
  const longer = await rig.call(key.vault_key, { headers: { 'keybrake-record-id': `${id}2` } });
  expect(kept.status).toBe(200);
  expect(longer.status).toBe(400);
  expect(longer.text).toContain('Keybrake-Record-Id');
  expect((await rig.client.listCalls({ record_id: id })).items).toHaveLength(1);
});
