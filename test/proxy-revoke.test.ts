/** Promise 4, never left open: when a DELETE has answered, nothing leaves with that key any more. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { IssuedKey } from '../proxy/contract';
import { type Answer, balanced, books, FIVE_DOLLARS, type Rig, startRig, tally, until } from './support/rig';

const CONNECTIONS = 50;
/** One clock for the callers and the vendor, finer than a millisecond. */
const clock = (): number => performance.timeOrigin + performance.now();

let rig: Rig;
beforeAll(async () => {
  rig = await startRig({ sandbox: { delayMs: 25, now: clock }, connections: CONNECTIONS });
});
beforeEach(() => rig.sandbox.reset());
afterAll(() => rig.close());

interface Made {
  readonly key: string;
  readonly startedAt: number;
  readonly answer: Answer;
}

/** Fifty callers, one connection each, that call again and again until `stopped`; `onAnswer` hears of every answer. */
async function load(keys: readonly IssuedKey[], name: string, stopped: () => boolean, onAnswer: () => void) {
  const made: Made[] = [];
  const caller = async (lane: number): Promise<void> => {
    for (let turn = 0; !stopped(); turn += 1) {
      const key = `${name}:${lane}:${turn}`;
      const startedAt = clock();
      const { vault_key: vaultKey } = keys[lane % keys.length]!;
      const answer = await rig.call(vaultKey, { key, body: `${FIVE_DOLLARS}&customer=${key.replaceAll(':', '_')}` });
      made.push({ key, startedAt, answer });
      onAnswer();
      // Callers that think for different times are found at different steps of their way, not in one batch.
      await sleep(lane % 9);
    }
  };
  await Promise.all(Array.from({ length: CONNECTIONS }, (_, lane) => caller(lane)));
  return made;
}

async function family(): Promise<readonly IssuedKey[]> {
  const parent = await rig.issue({ usd_cap: 100_000 });
  const child = await rig.issue({ parent_key_id: parent.key_id });
  return [parent, child, await rig.issue({ parent_key_id: child.key_id })];
}

/** Revokes after `afterAnswers` answers, and lets every caller try three more times. */
async function revokeUnderLoad(keys: readonly IssuedKey[], name: string, afterAnswers: number) {
  let answers = 0;
  let after = 0;
  let deletedAt: number | undefined;
  let seenAtDelete: ReadonlySet<string> = new Set();
  let revoking: Promise<number> | undefined;
  const revoke = async (): Promise<number> => {
    const { in_flight: inFlight, state } = await rig.client.revokeKey(keys[0]!.key_id, 'stop');
    deletedAt = clock();
    seenAtDelete = new Set(rig.sandbox.requests().map(({ id }) => id));
    expect(state).toBe('revoked');
    return inFlight;
  };
  const made = await load(
    keys,
    name,
    () => after >= 3 * CONNECTIONS,
    () => {
      answers += 1;
      if (deletedAt !== undefined) after += 1;
      if (answers >= afterAnswers) revoking ??= revoke();
    },
  );
  const inFlight = (await revoking) ?? 0;
  const late = rig.sandbox.requests().filter(({ id }) => !seenAtDelete.has(id));
  return { made, inFlight, late, deletedAt: deletedAt ?? 0 };
}

/** One DELETE under load. Answers how many calls it found in flight. */
async function round(afterAnswers: number): Promise<number> {
  rig.sandbox.reset();
  const keys = await family();
  const { made, inFlight, late, deletedAt } = await revokeUnderLoad(keys, `load-${afterAnswers}`, afterAnswers);

  const begunAfter = made.filter(({ startedAt }) => startedAt > deletedAt);
  expect(begunAfter.length).toBeGreaterThan(CONNECTIONS);
  expect(tally(begunAfter.map(({ answer }) => answer))).toEqual({ '401 key_revoked': begunAfter.length });
  const names = new Set(begunAfter.map(({ key }) => key));
  const reached = rig.sandbox.requests().filter(({ headers }) => names.has(String(headers['idempotency-key'])));
  expect(reached).toEqual([]);

  // Of those that began before, the vendor may still hear the ones that the answer counted as in flight; no others.
  expect(inFlight).toBeLessThanOrEqual(CONNECTIONS);
  expect(late.length).toBeLessThanOrEqual(inFlight);

  // What was in flight has finished, was answered to its caller, and is settled.
  const paid = made.filter(({ answer }) => answer.status === 200).length;
  expect(tally(made.map(({ answer }) => answer))).toEqual({ '200': paid, '401 key_revoked': made.length - paid });
  expect(await books(rig, keys[0]!.key_id)).toEqual(balanced(paid, paid * 5));
  for (const { key_id: id } of keys) {
    expect((await rig.client.getKey(id)).state).toBe('revoked');
    expect((await rig.client.getKey(id)).spend.calls).toMatchObject({ held: 0, unknown: 0 });
  }
  return inFlight;
}

test('a key, its child and grandchild on 50 busy connections: no call that began after the DELETE answered is accepted or leaves', async () => {
  let inFlight = 0;
  // Each round meets the calls at other steps of their way: reading, reserving, connecting, sending, settling.
  for (const afterAnswers of [60, 77, 104, 118, 131, 170]) inFlight += await round(afterAnswers);
  expect(inFlight).toBeGreaterThan(0);
});

test('a child that is revoked leaves its parent and siblings alive', async () => {
  const [parent, child, grandchild] = (await family()) as [IssuedKey, IssuedKey, IssuedKey];
  const sibling = await rig.issue({ parent_key_id: parent.key_id });
  await rig.client.revokeKey(child.key_id, 'one window');
  const answers = [];
  for (const { vault_key: key } of [parent, sibling, child, grandchild]) answers.push(await rig.call(key));
  expect(answers.map(({ status }) => status)).toEqual([200, 200, 401, 401]);
});

test('a call that waits for budget does not leave after the DELETE, though the money comes back', async () => {
  rig.sandbox.setFaults({ delayMs: 300 });
  const key = await rig.issue({ usd_cap: 5 });
  const holder = rig.call(key.vault_key, { body: `${FIVE_DOLLARS}&customer=cus_decline`, key: 'holder' });
  await until('the holder is at the vendor', () => rig.sandbox.requests().length === 1 || undefined);
  const waiting = Array.from({ length: 20 }, (_, index) => rig.call(key.vault_key, { key: `waits:${index}` }));
  // A call between these two and the DELETE has come in and been answered, so those sent before it wait by now.
  await rig.call((await rig.issue({ usd_cap: 1 })).vault_key, { method: 'GET' });
  const { in_flight: inFlight } = await rig.client.revokeKey(key.key_id, 'stop');
  const answered = await Promise.all(waiting);
  expect(inFlight).toBe(1);
  expect(tally(answered)).toEqual({ '401 key_revoked': 20 });
  expect((await holder).status).toBe(402);
  expect(rig.sandbox.requests()).toHaveLength(1);
  expect((await rig.client.getKey(key.key_id)).spend).toMatchObject({ settled_usd: 0, held_usd: 0, unknown_usd: 0 });
});

test('calls that wait for the first one with their idempotency key, or for their PaymentIntent, do not leave after the DELETE', async () => {
  const allowed_endpoints = ['POST /v1/payment_intents', 'POST /v1/payment_intents/:id/confirm'];
  const key = await rig.issue({ usd_cap: 500, allowed_endpoints });
  const created = await rig.call(key.vault_key, { body: 'amount=500&currency=usd' });
  const confirm = `/stripe/v1/payment_intents/${created.json.id}/confirm`;
  rig.sandbox.setFaults({ delayMs: 300 });
  const first = rig.call(key.vault_key, { key: 'same' });
  const confirmed = rig.call(key.vault_key, { path: confirm, body: '', key: 'c1' });
  await until('both are at the vendor', () => rig.sandbox.requests().length === 3 || undefined);
  const same = Array.from({ length: 5 }, () => rig.call(key.vault_key, { key: 'same' }));
  const again = rig.call(key.vault_key, { path: confirm, body: '', key: 'c2' });
  await rig.client.getKey(key.key_id);
  expect((await rig.client.revokeKey(key.key_id, 'stop')).in_flight).toBe(2);

  const done = await first;
  expect([done.status, (await confirmed).status]).toEqual([200, 200]);
  const refused = await Promise.all(same);
  expect(tally(refused)).toEqual({ '401 key_revoked': 5 });
  expect(refused.map(({ json }) => json.error.keybrake.prior_call.vendor_id)).toEqual(refused.map(() => done.json.id));
  expect((await again).code).toBe('key_revoked');
  expect(rig.sandbox.requests()).toHaveLength(3);
});

test('a retry after the revoke is told what became of its record: settled, unknown, or nothing', async () => {
  const key = await rig.issue({ usd_cap: 500 });
  const settled = await rig.call(key.vault_key, { key: 'settled' });
  rig.sandbox.setFaults({ dropAfter: { first: 1 } });
  const unknown = await rig.call(key.vault_key, { key: 'unknown' });
  expect(unknown.code).toBe('outcome_unknown');
  await rig.client.revokeKey(key.key_id, 'stop');
  const seen = rig.sandbox.requests().length;

  const retried = [];
  for (const name of ['settled', 'unknown', 'new']) retried.push(await rig.call(key.vault_key, { key: name }));
  expect(retried.map(({ status, code }) => [status, code])).toEqual(retried.map(() => [401, 'key_revoked']));
  const priors = retried.map(({ json }) => json.error.keybrake.prior_call);
  expect(priors).toEqual([
    { call_id: settled.headers['keybrake-call-id'], state: 'settled', vendor_id: settled.json.id },
    { call_id: unknown.headers['keybrake-call-id'], state: 'unknown', vendor_id: null },
    undefined,
  ]);
  expect(rig.sandbox.requests()).toHaveLength(seen);
  expect((await rig.client.getKey(key.key_id)).spend).toMatchObject({ settled_usd: 5, unknown_usd: 5 });
});

test('revoking twice answers the same, and counts nothing in flight once all have ended', async () => {
  const key = await rig.issue({ usd_cap: 5 });
  await rig.call(key.vault_key);
  const first = await rig.client.revokeKey(key.key_id, 'stop');
  expect(first).toMatchObject({ state: 'revoked', in_flight: 0 });
  expect(await rig.client.revokeKey(key.key_id, 'again')).toEqual(first);
});
