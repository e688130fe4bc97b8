import { Refusal } from '../proxy/contract';
import { judge } from '../proxy/judge';
import { finish, type Outcome } from '../proxy/ledger/finish';
import { Ledger } from '../proxy/ledger/ledger';
import { REFUSED_RECORDS_MAX } from '../proxy/ledger/refusals';
import { reserve } from '../proxy/ledger/reserve';
import { forgetAnswers } from '../proxy/prune';
import { type Rows, type Store, StoreError } from '../proxy/stores/store';
import { stripe } from '../proxy/vendors/stripe';
import {
  addKey,
  claimOf,
  endedAs,
  fixed,
  reserveInput,
  settledAt,
  STORES,
  type TestLedger,
  testLedger,
} from './support/ledger';

describe.each(STORES)('the ledger on $name', ({ open }) => {
  let at: TestLedger;
  beforeEach(() => {
    at = testLedger(open);
  });
  afterEach(() => at.close());

  test('what has happened is recorded also where all of it is too much for one commit', async () => {
    const { store } = at.ledger;
    const atOnce = 3;
    const commit: Store['commit'] = (work) =>
      store.commit((rows, now) => {
        let count = 0;
        const attempt: Rows['attempt'] = (operation, time) => {
          count += 1;
          return rows.attempt(operation, time);
        };
        work(new Proxy(rows, { get: (_, name) => (name === 'attempt' ? attempt : Reflect.get(rows, name)) }), now);
        if (count > atOnce) throw new StoreError('It is too much.');
      });
    let failures = 0;
    const narrow = new Ledger(
      Object.assign(Object.create(store) as Store, { commit }),
      undefined,
      () => (failures += 1),
    );
    const asked = narrow.submit(() => 'asked').catch((error: unknown) => error);
    const happened = Array.from({ length: 20 }, (_, index) => narrow.record(() => index));
    // What has not happened is not tried again.
    expect(await asked).toBeInstanceOf(StoreError);
    expect(await Promise.all(happened)).toEqual(happened.map((_, index) => index));
    expect(failures).toBeLessThan(20);
  });

  test('late news after a release takes the idempotency key again: the next retry is a replay, not a second charge', async () => {
    const facts = await addKey(at.ledger, { cap: 100 });
    const claim = claimOf(`${facts.keyId}/late`);
    const first = await at.ask(facts, { price: fixed(1), claim });
    await at.end(first.callId, endedAs('released'));
    const second = await at.ask(facts, { price: fixed(1), claim });
    await at.end(second.callId, endedAs('released'));
    await at.end(first.callId, settledAt(1));
    expect((await at.ask(facts, { price: fixed(1), claim })).kind).toBe('replay');
  });

  test('late news while the next attempt is open: that attempt ends without an effect, and the retry is a replay', async () => {
    const facts = await addKey(at.ledger, { cap: 100 });
    const claim = claimOf(`${facts.keyId}/overtaken`);
    const first = await at.ask(facts, { price: fixed(1), claim });
    await at.end(first.callId, endedAs('released'));
    const second = await at.ask(facts, { price: fixed(1), claim });
    await at.end(first.callId, settledAt(1));
    await at.end(second.callId, endedAs('released'));
    expect((await at.ask(facts, { price: fixed(1), claim })).kind).toBe('replay');
  });

  test('a refusal of the first send that is recorded after the call was sent again gives nothing back: that one may have been executed', async () => {
    const facts = await addKey(at.ledger, { cap: 5 });
    const attempt = { price: fixed(5), claim: claimOf(`overtaken-${facts.keyId}`) };
    const first = await at.ask(facts, attempt);
    // Its process stood still, was taken for dead, and another one sent the call again, which got no answer.
    await at.end(first.callId, endedAs('unknown'));
    expect((await at.ask(facts, attempt)).kind).toBe('resend');
    await at.end(first.callId, endedAs('unknown'));
    const [route] = stripe.routes;
    const request = { method: 'POST', path: '/v1/payment_intents', query: [], body: [], headers: {} };
    const sent = { kind: 'unsent', reason: 'ECONNREFUSED' } as const;
    const about = { sent, vendor: stripe, route: route!, request, price: fixed(5), terms: { fx: {} }, first: true };
    const { changed, call } = await at.end(first.callId, judge(about) as Outcome);
    expect([changed, call.state]).toEqual([false, 'unknown']);
    expect(await at.budget(`key:${facts.keyId}`)).toMatchObject({ unknown_micros: 5, held_micros: 0 });
    // An operator's word counts all the same.
    expect((await at.end(first.callId, endedAs('released'))).call.state).toBe('released');
  });

  test('one operation that throws in a batch changes nothing and fails alone', async () => {
    const facts = await addKey(at.ledger, { cap: 10 });
    const before = at.ask(facts, { price: fixed(3) });
    const broken = at.ledger.submit((rows) => {
      rows.put('budgets', { ...rows.get('budgets', `key:${facts.keyId}`)!, held_micros: 999 });
      throw new Error('broken');
    });
    const after = at.ask(facts, { price: fixed(4) });
    await expect(broken).rejects.toThrow('broken');
    expect((await before).kind).toBe('held');
    expect((await after).kind).toBe('held');
    expect((await at.budget(`key:${facts.keyId}`))!.held_micros).toBe(7);
  });

  test('unknown money refuses a call but does not latch the budget', async () => {
    const facts = await addKey(at.ledger, { cap: 10 });
    const { callId } = await at.ask(facts, { price: fixed(8) });
    await at.end(callId, endedAs('unknown'));
    expect(await at.ask(facts, { price: fixed(3) })).toMatchObject({
      kind: 'refused',
      refusal: { code: 'cap_exhausted' },
    });
    await at.end(callId, endedAs('released'));
    expect((await at.ask(facts, { price: fixed(3) })).kind).toBe('held');
  });

  test('a latch stops new paid calls, and neither replays, nor repeats of unknown calls, nor free calls', async () => {
    const facts = await addKey(at.ledger, { cap: 10 });
    const done = await at.ask(facts, { price: fixed(4), claim: claimOf(`${facts.keyId}/done`) });
    const lost = await at.ask(facts, { price: fixed(4), claim: claimOf(`${facts.keyId}/lost`) });
    await at.end(done.callId, settledAt(4));
    await at.end(lost.callId, endedAs('unknown'));
    expect((await at.ask(facts, { price: fixed(7) })).kind).toBe('refused');
    expect(await at.ask(facts, { price: fixed(1) })).toMatchObject({
      kind: 'refused',
      refusal: { code: 'cap_exhausted' },
    });
    expect((await at.ask(facts, { price: fixed(4), claim: claimOf(`${facts.keyId}/done`) })).kind).toBe('replay');
    expect((await at.ask(facts, { price: fixed(4), claim: claimOf(`${facts.keyId}/lost`) })).kind).toBe('resend');
    expect((await at.ask(facts, { price: { kind: 'free' } })).kind).toBe('held');
  });

  test('a daily budget holds on the UTC day of the reserve and leaves other days alone', async () => {
    const facts = await addKey(at.ledger, { cap: null, daily: 5 });
    const first = await at.ask(facts, { price: fixed(5) });
    await at.end(first.callId, settledAt(5));
    expect((await at.ask(facts, { price: fixed(1) })).kind).toBe('refused');
    const tomorrow = reserveInput(facts, { price: fixed(5) });
    const answer = await at.ledger.submit((rows, now) => {
      // The key must still be alive tomorrow.
      rows.put('keys', { ...rows.get('keys', facts.keyId)!, expires_at: now + 9e7 * 2 });
      return reserve(rows, now + 86_400_000, tomorrow);
    });
    expect(answer.kind).toBe('held');
  });

  test('refusals of one key and code are rows up to a thousand, then a counter', async () => {
    const facts = await addKey(at.ledger, { cap: 0 });
    await Promise.all(Array.from({ length: 1_050 }, () => at.ask(facts, { price: fixed(1) })));
    const rows = await at.ledger.store.listCalls({
      key_id: facts.keyId,
      state: 'refused',
      order: 'oldest',
      limit: 5_000,
    });
    expect(rows).toHaveLength(1_000);
    expect((await at.budget(`key:${facts.keyId}`))!.n_refused).toBe(1_050);
  });

  test('beyond a thousand refusals of one code the first one of each record is a row still, repeats and looping clients are not', async () => {
    const facts = await addKey(at.ledger, { cap: 100, maxCall: 1 });
    const ask = (recordId: string | null) => at.ask(facts, { price: fixed(2), recordId });
    const written = async () => {
      const query = { key_id: facts.keyId, state: 'refused', order: 'oldest', limit: 5_000 } as const;
      return (await at.ledger.store.listCalls(query)).map(({ record_id: id }) => id);
    };
    await Promise.all(Array.from({ length: 1_000 }, () => ask(null)));
    await Promise.all(['a', 'b', 'a', null, 'c'].map(ask));
    for (const again of ['a', 'b', null]) await ask(again);
    expect((await written()).slice(1_000)).toEqual(['a', 'b', 'c']);
    // A client can invent as many ids as it likes.
    const refusalId = `${facts.keyId}/per_call_cap_exceeded/records`;
    await at.ledger.submit((rows) => rows.put('refusals', { refusal_id: refusalId, count: REFUSED_RECORDS_MAX - 1 }));
    for (const id of ['d', 'e', 'f']) await ask(id);
    expect((await written()).slice(1_000)).toEqual(['a', 'b', 'c', 'd']);
    expect((await at.budget(`key:${facts.keyId}`))!.n_refused).toBe(1_011);
  });

  test('a refusal names what was needed, what is left, and which budget', async () => {
    const facts = await addKey(at.ledger, { job: { id: `named-${Date.now()}`, cap: 4_200_000 } });
    const answer = await at.ask(facts, { price: fixed(5_000_000) });
    const refusal = answer.kind === 'refused' ? answer.refusal : undefined;
    expect(refusal).toBeInstanceOf(Refusal);
    expect(refusal!.message).toMatch(/^cap_exhausted: needs \$5\.00, \$4\.20 left of \$4\.20 in job named-/);
    expect(refusal!.details).toMatchObject({
      needed_usd: 5,
      cap_usd: 4.2,
      settled_usd: 0,
      held_usd: 0,
      unknown_usd: 0,
    });
  });

  test('a cost above the hold, and late news after a release, are recorded even above the cap', async () => {
    const facts = await addKey(at.ledger, { cap: 10 });
    const over = await at.ask(facts, { price: fixed(10) });
    await at.end(over.callId, settledAt(12));
    const late = await addKey(at.ledger, { cap: 10 });
    const released = await at.ask(late, { price: fixed(10) });
    await at.end(released.callId, endedAs('released'));
    await at.end(released.callId, settledAt(10));
    expect((await at.budget(`key:${facts.keyId}`))!.settled_micros).toBe(12);
    expect((await at.budget(`key:${late.keyId}`))!.settled_micros).toBe(10);
  });

  test('old answers are forgotten, and their replays refused, while the claim stays taken', async () => {
    const facts = await addKey(at.ledger, { cap: 10 });
    const claim = claimOf(`${facts.keyId}/old`);
    const { callId } = await at.ask(facts, { price: fixed(4), claim });
    await at.end(callId, settledAt(4));
    await forgetAnswers(at.ledger, Date.now() - 60_000);
    expect((await at.ask(facts, { price: fixed(4), claim })).kind).toBe('replay');
    await forgetAnswers(at.ledger, Date.now() + 1);
    expect(await at.ask(facts, { price: fixed(4), claim })).toMatchObject({ refusal: { code: 'already_executed' } });
  });

  test('forgetting old answers ends at once when the proxy does, and goes on from there the next time', async () => {
    const facts = await addKey(at.ledger, { cap: 10_000 });
    const asked = await Promise.all(Array.from({ length: 500 }, () => at.ask(facts, { price: fixed(1) })));
    await Promise.all(asked.map(({ callId }) => at.end(callId, settledAt(1))));
    const ids = asked.map(({ callId }) => callId).toSorted();
    const kept = () => at.ledger.submit((rows) => ids.filter((id) => rows.get('calls', id)?.answer !== null).length);
    const read: (string | undefined)[] = [];
    const listCalls = at.ledger.store.listCalls.bind(at.ledger.store);
    jest.spyOn(at.ledger.store, 'listCalls').mockImplementation(async (query) => {
      read.push(query.after);
      return listCalls(query);
    });

    const stopping = new AbortController();
    const forgotten = forgetAnswers(at.ledger, Date.now() + 1, stopping.signal);
    while (read.length === 0) await new Promise(setImmediate);
    stopping.abort();
    await forgotten;
    const left = await kept();
    expect([read.length, left > 0 && left < 500]).toEqual([1, true]);

    await forgetAnswers(at.ledger, Date.now() + 1);
    expect(await kept()).toBe(0);
    expect(read.filter((after) => after === undefined)).toHaveLength(1);
  });

  test('a waiting call is woken when money comes back, and when none ever will', async () => {
    const facts = await addKey(at.ledger, { cap: 10 });
    const first = await at.ask(facts, { price: fixed(6) });
    const busy = await at.ask(facts, { price: fixed(6) });
    if (busy.kind !== 'busy') throw new Error('expected busy');
    const woken = at.ledger.waitFor(busy.budgetId, busy.quoteMicros, 30_000);
    at.ledger.changed((await at.end(first.callId, endedAs('released'))).budgets);
    expect(await woken).toBe(true);
    expect((await at.ask(facts, { price: fixed(6) })).kind).toBe('held');
  });

  test('what was executed is recorded once the store can be written again; new holds fail meanwhile', async () => {
    const facts = await addKey(at.ledger, { cap: 10 });
    const { callId } = await at.ask(facts, { price: fixed(6) });
    let down = true;
    const flaky = new Ledger({
      ...at.ledger.store,
      commit: (work) => (down ? Promise.reject(new StoreError('down')) : at.ledger.store.commit(work)),
    });
    const recorded = flaky.record((rows, now) => finish(rows, now, callId, settledAt(6)));
    await expect(flaky.hold(() => 1)).rejects.toThrow(StoreError);
    down = false;
    expect((await recorded).call.state).toBe('settled');
  });

  test('at the end nothing is tried for ever: what the store has not taken fails, and so does what comes later', async () => {
    const flaky = new Ledger({ ...at.ledger.store, commit: () => Promise.reject(new StoreError('down')) });
    const [tried, waits] = [flaky.record(() => 1), flaky.record(() => 2)];
    await expect(flaky.submit(() => 3)).rejects.toThrow('down');
    flaky.end();
    await expect(tried).rejects.toThrow(StoreError);
    await expect(waits).rejects.toThrow(StoreError);
    await expect(flaky.record(() => 4)).rejects.toThrow('The ledger is closed.');
    await flaky.idle();
  });
});
