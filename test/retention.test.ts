/** Old rows of the audit log go; what prevents a second charge, and what somebody alive may ask for, stays. */
import type { KeyFacts } from '../proxy/ledger/facts';
import { awaitPrice, settlePrice } from '../proxy/ledger/late';
import { newCall } from '../proxy/ledger/refusals';
import { forget } from '../proxy/ledger/retention';
import { newId } from '../proxy/ids';
import { prune } from '../proxy/control/retention';
import { nothingPruned, PRUNED_KINDS, type PrunedKind } from '../proxy/retention';
import type { KeyRow } from '../proxy/stores/tables';
import {
  addKey,
  claimOf,
  endedAs,
  fixed,
  type KeySpec,
  reserveInput,
  settledAt,
  STORES,
  type TestLedger,
  testLedger,
} from './support/ledger';

const DAY_MS = 86_400_000;
/** A second from now: whatever has ended by then is old enough. */
const ALL = { role: 'admin', olderThanMs: -1_000, dryRun: false, cursor: undefined } as const;

describe.each(STORES)('retention on $name', ({ open }) => {
  let t: TestLedger;
  beforeEach(() => void (t = testLedger(open)));
  afterEach(() => t.close());

  const changeKey = ({ keyId }: KeyFacts, change: Partial<KeyRow>) =>
    t.ledger.submit((rows) => rows.put('keys', { ...rows.get('keys', keyId)!, ...change }));
  const revoke = (facts: KeyFacts) => changeKey(facts, { revoked_at: Date.now() });
  const states = async () =>
    (await t.ledger.store.listCalls({ order: 'oldest', limit: 5_000 })).map(({ call_id, state }) => [call_id, state]);
  const events = () => t.ledger.store.listOld({ kind: 'events', now: 0, limit: 1_000 });
  const total = (counts: object) => Object.values(counts).reduce((sum: number, count: number) => sum + count, 0);

  /** One call of each way to end. Answers their ids. */
  async function oneOfEach(facts: KeyFacts, prefix = '') {
    const call = async (scope: string | null, outcome?: Parameters<TestLedger['end']>[1]) => {
      const asked = await t.ask(facts, { price: fixed(3), claim: scope === null ? null : claimOf(prefix + scope) });
      if (outcome !== undefined) await t.end(asked.callId, outcome);
      return asked;
    };
    const nothing = { micros: 0, out: false, vendorId: null };
    const executed = await call('executed', settledAt(2));
    const replayed = await call('executed');
    const unknown = await call('unknown', endedAs('unknown'));
    const released = await call('released', endedAs('released'));
    const free = await call(null, { state: 'settled', httpStatus: 200, code: null, spend: nothing, answer: null });
    const named = await call(null, settledAt(1));
    const object = { ...worth(5), objectId: `${prefix}obj` };
    const valued = await call(null, {
      state: 'settled',
      httpStatus: 200,
      code: null,
      spend: { object, mode: 'takes_over' },
      answer: null,
    });
    const refused = await t.ask(facts, { price: fixed(9_000), claim: claimOf(`${prefix}refused`) });
    expect([replayed.kind, refused.kind]).toEqual(['replay', 'refused']);
    const held = await call('held');
    return { executed, replayed, unknown, released, free, named, valued, refused, held };
  }
  const worth = (micros: number) => {
    return { objectId: 'obj', valueMicros: micros, amountMicros: micros, currency: 'usd', out: false, vendorId: 'obj' };
  };

  test('refused, replayed, released and free calls of a dead key go; what was or may have been executed stays', async () => {
    const key = await addKey(t.ledger, { cap: 100, onCap: 'refuse', job: { id: 'job', cap: 100 } });
    const calls = await oneOfEach(key);
    await revoke(key);
    const budgets = () => Promise.all([t.budget(`key:${key.keyId}`), t.budget('job:job')]);
    const [before, listed] = [await budgets(), await states()];
    const expected = { ...nothingPruned(), refused: 1, replayed: 1, released: 1, claims: 1, settled: 1 };

    const dry = await prune(t.ledger, { ...ALL, dryRun: true });
    expect(dry.removed).toMatchObject({ ...expected, refusal_counters: 1, events: expect.any(Number) });
    expect(await states()).toEqual(listed);

    const { removed, next_cursor: next } = await prune(t.ledger, ALL);
    expect([next, removed]).toEqual([null, { ...expected, refusal_counters: 1, events: expect.any(Number) }]);
    expect(await states()).toEqual([
      [calls.executed.callId, 'settled'],
      [calls.unknown.callId, 'unknown'],
      [calls.named.callId, 'settled'],
      [calls.valued.callId, 'settled'],
      [calls.held.callId, 'held'],
    ]);
    expect(await budgets()).toEqual(before);
    expect(before[1]).toMatchObject({ n_refused: 1, n_replayed: 1, n_released: 1, n_settled: 4, settled_micros: 8 });
  });

  test('nothing is executed a second time afterwards, with the old key or with the next one of its job', async () => {
    const job = { id: 'job', cap: 100 };
    const old = await addKey(t.ledger, { job, onCap: 'refuse' });
    const { executed, unknown } = await oneOfEach(old);
    await revoke(old);
    await prune(t.ledger, ALL);
    const dead = await t.ask(old, { claim: claimOf('executed') });
    const prior_call = { call_id: executed.callId, state: 'settled', vendor_id: 'pi_1' };
    expect(dead).toMatchObject({ kind: 'refused', refusal: { code: 'key_revoked', details: { prior_call } } });

    const next = await addKey(t.ledger, { job, onCap: 'refuse' });
    expect(await t.ask(next, { claim: claimOf('executed') })).toMatchObject({ kind: 'replay' });
    await t.ledger.submit((rows) => rows.put('calls', { ...rows.get('calls', executed.callId)!, answer: null }));
    const gone = await t.ask(next, { claim: claimOf('executed') });
    expect(gone).toMatchObject({ kind: 'refused', refusal: { code: 'already_executed' } });
    expect(await t.ask(next, { claim: claimOf('unknown') })).toMatchObject({
      kind: 'resend',
      call: { call_id: unknown.callId },
    });
    expect(await t.ask(next, { claim: claimOf('held') })).toMatchObject({ kind: 'in_progress' });
    // It had given its idempotency key back, and has no row any more.
    const again = await t.ask(next, { claim: claimOf('released') });
    expect(again).toMatchObject({ kind: 'held' });
    await t.end(again.callId, settledAt(3));
    expect(await t.ask(next, { claim: claimOf('released') })).toMatchObject({ kind: 'replay' });
  });

  test('an idempotency key that a later call has taken stays with that call', async () => {
    const key = await addKey(t.ledger, {});
    const first = await t.ask(key, { claim: claimOf('s') });
    await t.end(first.callId, endedAs('released'));
    const second = await t.ask(key, { claim: claimOf('s') });
    await t.end(second.callId, settledAt(1));
    await revoke(key);
    expect((await prune(t.ledger, ALL)).removed).toMatchObject({ released: 1, claims: 0 });
    const next = await addKey(t.ledger, {});
    expect(await t.ask(next, { claim: claimOf('s') })).toMatchObject({
      kind: 'replay',
      call: { call_id: second.callId },
    });
  });

  const job = { id: 'running', cap: 1_000 };
  const living: readonly [string, KeySpec, Partial<KeyRow>][] = [
    ['an active key', {}, {}],
    ['a key whose lease has lapsed, which can be renewed', {}, { lease_until: 1 }],
    ['a dead key of a job that has a live one', { job }, { revoked_at: 1 }],
  ];
  test.each(living)('every row of %s stays', async (_, spec, change) => {
    const key = await addKey(t.ledger, { cap: 100, onCap: 'refuse', ...spec });
    await oneOfEach(key);
    if (spec.job !== undefined) await addKey(t.ledger, spec);
    await changeKey(key, change);
    const [before, eventsBefore] = [await states(), await events()];
    const { removed, kept_for_live_keys: kept } = await prune(t.ledger, ALL);
    expect(removed).toEqual(nothingPruned());
    // Of each listed kind one, the counter, and the events of what has ended.
    expect(kept).toBeGreaterThan(5);
    expect([await states(), await events()]).toEqual([before, eventsBefore]);
  });

  test('an expired key is dead, and another job with a live key does not keep its rows', async () => {
    const key = await addKey(t.ledger, { cap: 100, onCap: 'refuse', job: { id: 'over', cap: 100 } });
    await oneOfEach(key);
    await addKey(t.ledger, { job: { id: 'other', cap: 1 } });
    await changeKey(key, { expires_at: Date.now() - 1 });
    expect((await prune(t.ledger, ALL)).removed).toMatchObject({ refused: 1, replayed: 1, released: 1, settled: 1 });
  });

  test('what ended within the age stays, however long ago it began', async () => {
    const key = await addKey(t.ledger, { cap: 100, onCap: 'refuse' });
    await oneOfEach(key);
    await revoke(key);
    const facts = reserveInput(key, {}).call;
    const old = (ended: number) => ({
      ...newCall({ ...facts, callId: newId('call') }, Date.now() - 9 * DAY_MS, '2026-11-15'),
      state: 'released' as const,
      ended_at: ended,
    });
    const [late, early] = [old(Date.now() - DAY_MS / 2), old(Date.now() - 2 * DAY_MS)];
    await t.ledger.submit((rows) => [late, early].forEach((row) => rows.add('calls', row)));
    const { removed } = await prune(t.ledger, { ...ALL, olderThanMs: DAY_MS });
    expect(removed).toEqual({ ...nothingPruned(), released: 1 });
    const left = (await states()).map(([id]) => id);
    expect([left.includes(late.call_id), left.includes(early.call_id)]).toEqual([true, false]);
  });

  test('stopped between two pages it has done no harm: another one does the rest, and one more does nothing', async () => {
    const key = await addKey(t.ledger, { cap: 100, onCap: 'refuse' });
    const { call } = reserveInput(key, {});
    await oneOfEach(key);
    await t.ledger.submit((rows, now) => {
      for (let i = 0; i < 1_100; i += 1) {
        const row = newCall({ ...call, callId: newId('call') }, now, '2026-11-24');
        rows.add('calls', { ...row, state: i % 2 === 0 ? 'refused' : 'released', ended_at: now });
      }
    });
    await revoke(key);
    const before = await t.budget(`key:${key.keyId}`);
    const first = await prune(t.ledger, ALL, 0);
    expect([first.removed.refused, total(first.removed)]).toEqual([500, 500]);
    expect(first.next_cursor).toMatch(/^refused:call_/);

    // The one that stopped there is forgotten; two others begin anew at once, one in the smallest steps.
    const [second, rest] = await Promise.all([prune(t.ledger, ALL, 0), prune(t.ledger, ALL)]);
    let removed = [second, rest].reduce((sum, { removed: r }) => sum + r.refused + r.released, 500);
    for (let cursor = second.next_cursor; cursor !== null;) {
      const step = await prune(t.ledger, { ...ALL, cursor }, 0);
      removed += step.removed.refused + step.removed.released;
      cursor = step.next_cursor;
    }
    expect(removed).toBe(1_102);
    expect((await states()).map(([, state]) => state)).toEqual(['settled', 'unknown', 'settled', 'settled', 'held']);
    expect(await t.budget(`key:${key.keyId}`)).toEqual(before);
    // Only what the pages themselves have told of is left to go.
    const { removed: nothing } = await prune(t.ledger, ALL);
    expect({ ...nothing, events: 0 }).toEqual(nothingPruned());
  });

  test('a call that has changed since it was listed stays: late news say that it was executed', async () => {
    const key = await addKey(t.ledger, {});
    const { callId } = await t.ask(key, { claim: claimOf('s'), price: fixed(4) });
    await t.end(callId, endedAs('released'));
    await revoke(key);
    const endedBefore = Date.now() + 1_000;
    const now = Date.now();
    const ids = (await t.ledger.store.listOld({ kind: 'released', now, limit: 9 })).map(({ id }) => id);
    expect(ids).toEqual([callId]);
    await t.end(callId, settledAt(4));
    const work = { kind: 'released', ids, endedBefore, dryRun: false, actor: 'admin' } as const;
    expect(await t.ledger.submit((rows) => forget(rows, work))).toEqual(nothingPruned());
    expect(await states()).toEqual([[callId, 'settled']]);
    const next = await addKey(t.ledger, {});
    expect(await t.ask(next, { claim: claimOf('s') })).toMatchObject({ kind: 'replay' });
  });

  test('an executed call stays also when it is asked for by its id, with a claim, an object or a vendor id', async () => {
    const key = await addKey(t.ledger, { cap: 100, onCap: 'refuse' });
    const { executed, valued, free, named, unknown } = await oneOfEach(key);
    await revoke(key);
    const ids = [executed, valued, free, named, unknown].map(({ callId }) => callId);
    const work = { kind: 'settled', ids, endedBefore: Date.now() + 1_000, dryRun: false, actor: 'admin' } as const;
    expect(await t.ledger.submit((rows) => forget(rows, work))).toEqual({ ...nothingPruned(), settled: 1 });
    const left = (await states()).map(([id]) => id);
    expect(ids.map((id) => left.includes(id))).toEqual([true, true, false, true, true]);
  });

  test('in one commit with the next call of its idempotency key, a released call takes nothing from it', async () => {
    const key = await addKey(t.ledger, {});
    const { callId } = await t.ask(key, { claim: claimOf('s') });
    await t.end(callId, endedAs('released'));
    await revoke(key);
    const work = { kind: 'released', ids: [callId], endedBefore: Date.now() + 1_000, dryRun: false, actor: 'admin' };
    const next = await addKey(t.ledger, {});
    const [counts, held] = await Promise.all([
      t.ledger.submit((rows) => forget(rows, work as Parameters<typeof forget>[1])),
      t.ask(next, { claim: claimOf('s') }),
    ]);
    expect([counts.released, counts.claims, held.kind]).toEqual([1, 1, 'held']);
    await t.end(held.callId, settledAt(1));
    expect(await t.ask(next, { claim: claimOf('s') })).toMatchObject({ kind: 'replay' });
  });

  test('a settled late price goes with its age, one that is waited for stays', async () => {
    const key = await addKey(t.ledger, {});
    const waited: string[] = [];
    for (const name of ['known', 'waiting']) {
      const { callId } = await t.ask(key, { claim: claimOf(name), price: fixed(5) });
      const spend = { object: { ...worth(5), objectId: name }, mode: 'takes_over' } as const;
      await t.end(callId, { state: 'settled', httpStatus: 201, code: null, spend, answer: null });
      await t.ledger.submit((rows, now) =>
        awaitPrice(rows, now, { call_id: callId, object_id: `stripe/${name}` }, now),
      );
      waited.push(`stripe/${name}`);
    }
    await t.ledger.submit((rows) => settlePrice(rows, 'stripe/known', 4));
    await revoke(key);
    expect((await prune(t.ledger, ALL)).removed).toMatchObject({ late_prices: 1, settled: 0 });
    const left = await t.ledger.submit((rows) => waited.map((id) => rows.get('late', id)?.state));
    expect(left).toEqual([undefined, 'waiting']);
    expect(await t.budget(`key:${key.keyId}`)).toMatchObject({ settled_micros: 9 });
  });

  test('events of a call whose outcome is open stay, the others of a dead key go, and the removal is one itself', async () => {
    const key = await addKey(t.ledger, { cap: 100, onCap: 'refuse' });
    await oneOfEach(key);
    await revoke(key);
    const before = await events();
    const unended = before.filter(({ ended_at: ended }) => ended === null);
    // Held; held and unknown.
    expect([before.length, unended.length]).toEqual([13, 3]);
    await prune(t.ledger, ALL);
    const after = await events();
    expect(after.slice(0, 3)).toEqual(unended);
    expect(after.length).toBe(4);
  });

  test('a refusal counter of a dead key goes when the key has been dead for the age', async () => {
    const key = await addKey(t.ledger, { cap: 1 });
    await t.ask(key, { price: fixed(9) });
    const counter = () => t.ledger.submit((rows) => rows.get('refusals', `${key.keyId}/cap_exhausted`));
    await changeKey(key, { revoked_at: Date.now() - DAY_MS / 2 });
    await prune(t.ledger, { ...ALL, olderThanMs: DAY_MS });
    expect(await counter()).toMatchObject({ count: 1 });
    await changeKey(key, { revoked_at: Date.now() - 2 * DAY_MS });
    expect((await prune(t.ledger, { ...ALL, olderThanMs: DAY_MS })).removed.refusal_counters).toBe(1);
    expect(await counter()).toBeUndefined();
  });

  test.each(PRUNED_KINDS)('%s are listed from a cursor on', async (kind: PrunedKind) => {
    const key = await addKey(t.ledger, { cap: 100, onCap: 'refuse' });
    await oneOfEach(key, 'a');
    await oneOfEach(key, 'b');
    const all = await t.ledger.store.listOld({ kind, now: Date.now(), limit: 100 });
    const [first] = all;
    if (first === undefined) return expect(kind).toBe('late_prices');
    const after = String(first.cursor);
    expect(await t.ledger.store.listOld({ kind, now: Date.now(), after, limit: 100 })).toEqual(all.slice(1));
  });
});
