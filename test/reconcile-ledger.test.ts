/** The ledger's side of unknown calls, on every store: what may be sent again, found, or left to an operator. */
import { finish } from '../proxy/ledger/finish';
import type { KeyFacts } from '../proxy/ledger/facts';
import { deadAt, leaveToOperator, type Live, RESUME_MS_MAX, resume, settleFound } from '../proxy/ledger/resume';
import type { Outcome } from '../proxy/ledger/finish';
import { noMoney } from '../proxy/vendors/vendor';
import { addKey, claimOf, endedAs, fixed, settledAt, STORES, type TestLedger, testLedger } from './support/ledger';

const NEXT: Live = { epoch: 'epoch-2', upstreamTimeoutMs: 25_000, marginMs: 5_000, exclusive: true };
const SHARED: Live = { ...NEXT, exclusive: false };

function foundAs(id: string, micros: number): Extract<Outcome, { state: 'settled' }> {
  const object = { ...noMoney(id), objectId: id, valueMicros: micros, amountMicros: micros };
  const spend = { object, mode: 'pays_rise' } as const;
  return { state: 'settled', httpStatus: 201, code: null, spend, answer: Buffer.from('found') };
}

describe.each(STORES)('$name', ({ open }) => {
  let at: TestLedger;
  beforeAll(() => {
    at = testLedger(open);
  });
  afterAll(() => at.close());

  async function unknown(facts: KeyFacts, given: Parameters<TestLedger['ask']>[1] = {}): Promise<string> {
    const { callId } = await at.ask(facts, { price: fixed(4), ...given });
    await at.end(callId, endedAs('unknown'));
    return callId;
  }
  const rowOf = (callId: string) => at.ledger.submit((rows) => rows.get('calls', callId)!);
  const resumed = (callId: string, live: Live, afterMs = 0) =>
    at.ledger.submit((rows, now) => resume(rows, now + afterMs, callId, live));
  const found = (callId: string, id: string, unclaimed = true) =>
    at.ledger.submit((rows, now) => settleFound(rows, now, callId, foundAs(id, 4), unclaimed));

  test('a call is sent again only after its process is dead: at once by the next one on a ledger of its own', async () => {
    const callId = await unknown(await addKey(at.ledger, { cap: 10 }));
    const { send_by: sendBy } = await rowOf(callId);
    expect(deadAt({ epoch: 'epoch-1', send_by: sendBy }, NEXT)).toBe(0);
    expect(deadAt({ epoch: 'epoch-1', send_by: sendBy }, SHARED)).toBe(sendBy + 30_000);
    expect(await resumed(callId, SHARED)).toBeUndefined();
    expect(await resumed(callId, { ...NEXT, epoch: 'epoch-1' })).toBeUndefined();
    expect(await resumed(callId, NEXT)).toMatchObject({ call: { call_id: callId } });
    expect(await rowOf(callId)).toMatchObject({ state: 'unknown', sends: 2, epoch: 'epoch-2' });
    // And it is not sent a third time while that one may be under way.
    expect(await resumed(callId, NEXT)).toBeUndefined();
    expect(await resumed(callId, NEXT, 36_000)).toBeDefined();
  });

  test.each([
    ['its key is revoked', async (facts: KeyFacts) => facts.keyId],
    ['a key above it is revoked', async (facts: KeyFacts) => facts.ancestors[0]!],
  ])('nothing is sent again once %s', async (_what, which) => {
    const above = await addKey(at.ledger, { cap: 10 });
    const facts = await addKey(at.ledger, { cap: 10, parent: above });
    const callId = await unknown(facts);
    const dead = await which(facts);
    await at.ledger.submit((rows, now) => rows.put('keys', { ...rows.get('keys', dead)!, revoked_at: now }));
    expect(await resumed(callId, NEXT)).toBeUndefined();
    expect(await rowOf(callId)).toMatchObject({ sends: 1 });
  });

  test('nothing is sent again more than ten minutes after the call, nor once it has ended', async () => {
    const facts = await addKey(at.ledger, { cap: 10 });
    const old = await unknown(facts);
    expect(await resumed(old, NEXT, RESUME_MS_MAX + 1_000)).toBeUndefined();
    await at.end(old, settledAt(4));
    expect(await resumed(old, NEXT)).toBeUndefined();
  });

  test('what is found settles one call: another that it is found for stays unknown', async () => {
    const facts = await addKey(at.ledger, { cap: 100 });
    const [first, second] = [await unknown(facts), await unknown(facts)];
    const id = `SM${facts.keyId}`;
    const both = await Promise.all([found(first, id), found(second, id)]);
    expect(both.map((settled) => settled?.call.state)).toEqual(['settled', undefined]);
    expect(await rowOf(second)).toMatchObject({ state: 'unknown' });
    expect(await at.budget(`key:${facts.keyId}`)).toMatchObject({ settled_micros: 4, unknown_micros: 4 });
  });

  test('found after an operator has released the call, it is settled all the same, and takes its key again', async () => {
    const facts = await addKey(at.ledger, { cap: 100 });
    const claim = claimOf(`${facts.keyId}/late`);
    const callId = await unknown(facts, { claim });
    await at.ledger.submit((rows, now) => finish(rows, now, callId, endedAs('released'), 'admin'));
    expect((await found(callId, `SM${facts.keyId}`))?.call.state).toBe('settled');
    expect(await at.budget(`key:${facts.keyId}`)).toMatchObject({
      settled_micros: 4,
      unknown_micros: 0,
      held_micros: 0,
    });
    expect((await at.ask(facts, { price: fixed(4), claim })).kind).toBe('replay');
  });

  test('an answer that comes after the call was found changes nothing', async () => {
    const facts = await addKey(at.ledger, { cap: 100 });
    const callId = await unknown(facts);
    await found(callId, `SM${facts.keyId}`);
    expect((await at.end(callId, settledAt(9))).changed).toBe(false);
    expect(await at.budget(`key:${facts.keyId}`)).toMatchObject({ settled_micros: 4 });
  });

  test('what the ledger counts for a payment since is newer than what was read of it', async () => {
    const facts = await addKey(at.ledger, { cap: 100 });
    const create = await unknown(facts);
    const id = `pi_${facts.keyId}`;
    const capture = await at.ask(facts, { price: fixed(2) });
    await at.end(capture.callId, foundAs(id, 2));
    await found(create, id, false);
    expect(await at.budget(`key:${facts.keyId}`)).toMatchObject({ settled_micros: 2, unknown_micros: 0 });
  });

  test('a call is left to an operator once, its money stays held, and the flag goes with its end', async () => {
    const facts = await addKey(at.ledger, { cap: 100 });
    const callId = await unknown(facts);
    const leave = () => at.ledger.submit((rows, now) => leaveToOperator(rows, now, callId, 'not shown'));
    expect([await leave(), await leave()]).toEqual([true, false]);
    expect((await rowOf(callId)).stuck_at).toEqual(expect.any(Number));
    expect(await at.budget(`key:${facts.keyId}`)).toMatchObject({ unknown_micros: 4, settled_micros: 0 });
    await at.end(callId, endedAs('released'));
    expect((await rowOf(callId)).stuck_at).toBeNull();
    expect(await leave()).toBe(false);
  });

  test('of calls with one likeness one is open at a time, held or unknown; in doubt none follows', async () => {
    const facts = await addKey(at.ledger, { cap: 100 });
    const twin = `likeness of ${facts.keyId}`;
    const ask = () => at.ask(facts, { price: fixed(4), twin });
    const first = await ask();
    expect(first.kind).toBe('held');
    expect(await ask()).toMatchObject({ kind: 'in_progress', call: { call_id: first.callId } });
    expect((await at.ask(facts, { price: fixed(4), twin: `${twin} other` })).kind).toBe('held');
    await at.end(first.callId, endedAs('unknown'));
    expect((await ask()).kind).toBe('in_progress');
    await at.ledger.submit((rows, now) => leaveToOperator(rows, now, first.callId, 'not shown'));
    expect(await ask()).toMatchObject({
      kind: 'refused',
      refusal: { code: 'outcome_unknown', details: { prior_call: { call_id: first.callId } } },
    });
    await at.end(first.callId, endedAs('released'));
    const second = await ask();
    expect(second.kind).toBe('held');
    await at.end(second.callId, settledAt(4));
    expect((await ask()).kind).toBe('held');
  });

  test('a retry of an unknown call that must not be sent twice is looked up first, and then refused', async () => {
    const facts = await addKey(at.ledger, { cap: 100 });
    const claim = claimOf(`${facts.keyId}/text`);
    const callId = await unknown(facts, { claim });
    const retry = { price: fixed(4), claim, vendorIdempotent: false };
    expect(await at.ask(facts, { ...retry, findable: true })).toMatchObject({
      kind: 'unresolved',
      call: { call_id: callId },
    });
    expect(await at.ask(facts, { ...retry, findable: false })).toMatchObject({ refusal: { code: 'outcome_unknown' } });
  });

  test('what was sent is kept until the call has ended, and no longer', async () => {
    const facts = await addKey(at.ledger, { cap: 100 });
    const early = await at.ask(facts, { price: fixed(4), request: Buffer.from('early') });
    expect((await rowOf(early.callId)).request?.toString()).toBe('early');
    await at.end(early.callId, endedAs('unknown'));
    expect((await rowOf(early.callId)).request?.toString()).toBe('early');
    await at.end(early.callId, settledAt(4));
    expect((await rowOf(early.callId)).request).toBeNull();

    const late = await at.ask(facts, { price: fixed(4) });
    await at.end(late.callId, endedAs('unknown'));
    expect((await rowOf(late.callId)).request).toBeNull();
    await at.end(late.callId, { state: 'unknown', httpStatus: null, code: null, request: Buffer.from('late') });
    expect(await rowOf(late.callId)).toMatchObject({ state: 'unknown', request: Buffer.from('late') });
    await at.end(late.callId, endedAs('released'));
    expect((await rowOf(late.callId)).request).toBeNull();
  });
});
