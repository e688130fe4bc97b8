import fc from 'fast-check';
import { type CallState, Refusal } from '../proxy/contract';
import type { KeyFacts } from '../proxy/ledger/facts';
import { finish, type Outcome } from '../proxy/ledger/finish';
import { Ledger } from '../proxy/ledger/ledger';
import { reserve } from '../proxy/ledger/reserve';
import { StoreError } from '../proxy/stores/store';
import { addKey, reserveInput, STORES } from './support/ledger';

const fixed = (micros: number) => ({ kind: 'fixed', micros, out: false }) as const;
const claimOf = (scope: string, fingerprint = 'f') => ({ scope, fingerprint });
const settledAt = (micros: number): Outcome => ({
  state: 'settled',
  httpStatus: 200,
  code: null,
  spend: { micros, out: false, vendorId: 'pi_1' },
  answer: Buffer.from('answer'),
});
const endedAs = (state: 'released' | 'unknown'): Outcome => ({ state, httpStatus: null, code: null });

describe.each(STORES)('the ledger on $name', ({ open }) => {
  let ledger: Ledger;
  let remove: () => void;
  beforeEach(() => {
    const opened = open();
    ledger = new Ledger(opened.store);
    remove = opened.remove;
  });
  afterEach(async () => {
    await ledger.idle();
    await ledger.store.close();
    remove();
  });

  const ask = (facts: KeyFacts, given: Parameters<typeof reserveInput>[1]) => {
    const input = reserveInput(facts, given);
    return ledger.hold((rows, now) => ({ ...reserve(rows, now, input), callId: input.callId }));
  };
  const end = (callId: string, outcome: Outcome) => ledger.record((rows, now) => finish(rows, now, callId, outcome));
  const budget = (id: string) => ledger.submit((rows) => rows.get('budgets', id));

  interface ModelCall {
    readonly id: string;
    readonly key: number;
    readonly scope: string | null;
    readonly print: string;
    state: CallState;
    readonly quote: number;
    cost: number;
  }

  /** The specification: plain sums over plain records. It knows nothing of rows, commits or claims tables. */
  class Model {
    readonly calls: ModelCall[] = [];
    readonly latched = new Set<string>();
    readonly revoked = new Set<number>();
    readonly caps: Map<string, number>;
    readonly budgetsOf: readonly (readonly string[])[];
    readonly aboveOf: readonly (readonly number[])[];
    readonly latches: readonly boolean[];
    constructor(caps: Map<string, number>, budgetsOf: string[][], aboveOf: number[][], latches: boolean[]) {
      this.caps = caps;
      this.budgetsOf = budgetsOf;
      this.aboveOf = aboveOf;
      this.latches = latches;
    }
    sum(budgetId: string, state: CallState, of: (call: ModelCall) => number): number {
      const mine = this.calls.filter((call) => call.state === state && this.budgetsOf[call.key]!.includes(budgetId));
      return mine.reduce((total, call) => total + of(call), 0);
    }
    totals(budgetId: string) {
      return {
        settled_micros: this.sum(budgetId, 'settled', (call) => call.cost),
        held_micros: this.sum(budgetId, 'held', (call) => call.quote),
        unknown_micros: this.sum(budgetId, 'unknown', (call) => call.quote),
        latched: this.latched.has(budgetId) ? 1 : 0,
      };
    }
    reserve(key: number, quote: number, scope: string | null, print: string): string {
      if ([key, ...this.aboveOf[key]!].some((id) => this.revoked.has(id))) return 'key_revoked';
      const prior = this.calls.findLast((call) => scope !== null && call.scope === scope && call.state !== 'released');
      if (prior !== undefined) {
        if (prior.print !== print) return 'idempotency_mismatch';
        return { held: 'in_progress', unknown: 'resend', settled: 'replay' }[prior.state as 'held'];
      }
      const capped = this.budgetsOf[key]!.filter((id) => this.caps.has(id)).map((id) => ({
        id,
        cap: this.caps.get(id)!,
        ...this.totals(id),
      }));
      if (quote > 0) {
        const exhausted = capped.find((b) => b.latched === 1 || b.settled_micros + quote > b.cap);
        if (exhausted && this.latches[key]) this.latched.add(exhausted.id);
        if (exhausted) return 'cap_exhausted';
        if (capped.some((b) => b.settled_micros + b.unknown_micros + quote > b.cap)) return 'cap_exhausted';
        if (capped.some((b) => b.settled_micros + b.unknown_micros + b.held_micros + quote > b.cap)) return 'busy';
      }
      return 'held';
    }
  }

  type Step =
    | { op: 'reserve'; key: number; quote: number; scope: string | null; print: string }
    | { op: 'end'; at: number; how: 'settled' | 'released' | 'unknown'; cost: number }
    | { op: 'revoke'; key: number }
    | { op: 'raise'; at: number; by: number };
  const scope = fc.option(fc.constantFrom('a', 'b', 'c'), { nil: null, freq: 2 });
  // Small numbers and frequent repeats, so that calls meet.
  const step: fc.Arbitrary<Step> = fc.oneof(
    {
      weight: 10,
      arbitrary: fc.record({
        op: fc.constant('reserve' as const),
        key: fc.nat(4),
        quote: fc.nat(5),
        scope,
        print: fc.constantFrom('f', 'f', 'f', 'g'),
      }),
    },
    {
      weight: 10,
      arbitrary: fc.record({
        op: fc.constant('end' as const),
        at: fc.nat(30),
        how: fc.constantFrom('settled' as const, 'settled' as const, 'released' as const, 'unknown' as const),
        cost: fc.nat(6),
      }),
    },
    { weight: 1, arbitrary: fc.record({ op: fc.constant('revoke' as const), key: fc.nat(4) }) },
    { weight: 1, arbitrary: fc.record({ op: fc.constant('raise' as const), at: fc.nat(3), by: fc.nat(4) }) },
  );

  /** Five keys: one alone, two of one job, a parent that refuses instead of latching, and its child. */
  async function family(cap: number) {
    const job = { id: `job-${Math.random()}`, cap };
    const alone = await addKey(ledger, { cap });
    const first = await addKey(ledger, { job });
    const second = await addKey(ledger, { job, cap: 3 });
    const parent = await addKey(ledger, { cap: cap + 1, onCap: 'refuse' });
    const child = await addKey(ledger, { cap, parent, onCap: 'refuse' });
    const keys = [alone, first, second, parent, child];
    const caps = new Map([
      [`key:${alone.keyId}`, cap],
      [`job:${job.id}`, cap],
      [`key:${second.keyId}`, 3],
      [`key:${parent.keyId}`, cap + 1],
      [`key:${child.keyId}`, cap],
    ]);
    const budgets = keys.map((key) => [...key.budgets]);
    return { keys, model: new Model(caps, budgets, [[], [], [], [], [3]], [true, true, true, false, false]) };
  }

  async function perform(keys: KeyFacts[], model: Model, next: Step, seen: Set<string>): Promise<void> {
    if (next.op === 'reserve') {
      const facts = keys[next.key]!;
      const scopeId = next.scope && `${keys[0]!.keyId}/${next.scope}`;
      const claim = scopeId === null ? null : claimOf(scopeId, next.print);
      const answer = await ask(facts, { price: fixed(next.quote), claim });
      const got = answer.kind === 'refused' ? answer.refusal.code : answer.kind;
      expect(got).toBe(model.reserve(next.key, next.quote, next.scope, next.print));
      seen.add(got);
      const { key, quote, print } = next;
      if (got === 'held') {
        model.calls.push({ id: answer.callId, key, scope: next.scope, print, state: 'held', quote, cost: 0 });
      }
    } else if (next.op === 'end' && model.calls.length > 0) {
      // Mostly calls that are still open: their ends are what moves money.
      const open = model.calls.filter(({ state }) => state === 'held' || state === 'unknown');
      const from = open.length > 0 && next.at % 5 > 0 ? open : model.calls;
      const call = from[next.at % from.length]!;
      const allowed = {
        held: ['settled', 'released', 'unknown'],
        unknown: ['settled', 'released'],
        released: ['settled'],
      };
      const may = allowed[call.state as 'held']?.includes(next.how) === true;
      const { changed } = await end(call.id, next.how === 'settled' ? settledAt(next.cost) : endedAs(next.how));
      expect(changed).toBe(may);
      if (may) call.state = next.how;
      if (may && next.how === 'settled') call.cost = next.cost;
      seen.add(`${next.how}:${may}`);
    } else if (next.op === 'revoke') {
      model.revoked.add(next.key);
      await ledger.submit((rows) => rows.put('keys', { ...rows.get('keys', keys[next.key]!.keyId)!, revoked_at: 1 }));
    } else if (next.op === 'raise') {
      const id = [...model.caps.keys()][next.at]!;
      const cap = model.caps.get(id)! + next.by;
      model.caps.set(id, cap);
      if (next.by > 0) model.latched.delete(id);
      const latch = next.by > 0 ? { latched: 0 as const } : {};
      await ledger.submit((rows) => rows.put('budgets', { ...rows.get('budgets', id)!, cap_micros: cap, ...latch }));
    }
  }

  test('answers and totals equal a plain sum over all calls, whatever the order of holds, ends, repeats and raises', async () => {
    const seen = new Set<string>();
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 3, max: 14 }),
        fc.array(step, { minLength: 20, maxLength: 60 }),
        async (cap, steps) => {
          const { keys, model } = await family(cap);
          for (const next of steps) {
            await perform(keys, model, next, seen);
            for (const id of new Set(model.budgetsOf.flat())) {
              expect({ id, ...(await budget(id)) }).toMatchObject({ id, ...model.totals(id) });
            }
          }
        },
      ),
      { numRuns: 100 },
    );
    // A property proves nothing about answers that it never met.
    expect([...seen]).toEqual(
      expect.arrayContaining([
        ...['held', 'busy', 'cap_exhausted', 'key_revoked', 'idempotency_mismatch', 'in_progress', 'resend', 'replay'],
        ...['settled:true', 'released:true', 'unknown:true', 'settled:false', 'released:false', 'unknown:false'],
      ]),
    );
  }, 180_000);

  test('late news after a release takes the idempotency key again: the next retry is a replay, not a second charge', async () => {
    const facts = await addKey(ledger, { cap: 100 });
    const claim = claimOf(`${facts.keyId}/late`);
    const first = await ask(facts, { price: fixed(1), claim });
    await end(first.callId, endedAs('released'));
    const second = await ask(facts, { price: fixed(1), claim });
    await end(second.callId, endedAs('released'));
    await end(first.callId, settledAt(1));
    expect((await ask(facts, { price: fixed(1), claim })).kind).toBe('replay');
  });

  test('callers that arrive at the same moment never hold more than the cap, and none is refused that would fit', () =>
    fc.assert(
      fc.asyncProperty(
        fc.nat(20),
        fc.array(fc.integer({ min: 1, max: 6 }), { minLength: 2, maxLength: 12 }),
        async (cap, quotes) => {
          const facts = await addKey(ledger, { cap, onCap: 'refuse' });
          const answers = await Promise.all(quotes.map((micros) => ask(facts, { price: fixed(micros) })));
          const held = quotes.filter((_, i) => answers[i]!.kind === 'held').reduce((sum, micros) => sum + micros, 0);
          expect(held).toBeLessThanOrEqual(cap);
          expect((await budget(`key:${facts.keyId}`))!.held_micros).toBe(held);
          quotes.forEach((micros, i) => {
            if (answers[i]!.kind !== 'held') expect(held + micros).toBeGreaterThan(cap);
          });
        },
      ),
    ));

  test('one operation that throws in a batch changes nothing and fails alone', async () => {
    const facts = await addKey(ledger, { cap: 10 });
    const before = ask(facts, { price: fixed(3) });
    const broken = ledger.submit((rows) => {
      rows.put('budgets', { ...rows.get('budgets', `key:${facts.keyId}`)!, held_micros: 999 });
      throw new Error('broken');
    });
    const after = ask(facts, { price: fixed(4) });
    await expect(broken).rejects.toThrow('broken');
    expect((await before).kind).toBe('held');
    expect((await after).kind).toBe('held');
    expect((await budget(`key:${facts.keyId}`))!.held_micros).toBe(7);
  });

  test('unknown money refuses a call but does not latch the budget', async () => {
    const facts = await addKey(ledger, { cap: 10 });
    const { callId } = await ask(facts, { price: fixed(8) });
    await end(callId, endedAs('unknown'));
    expect(await ask(facts, { price: fixed(3) })).toMatchObject({
      kind: 'refused',
      refusal: { code: 'cap_exhausted' },
    });
    await end(callId, endedAs('released'));
    expect((await ask(facts, { price: fixed(3) })).kind).toBe('held');
  });

  test('a latch stops new paid calls, and neither replays, nor repeats of unknown calls, nor free calls', async () => {
    const facts = await addKey(ledger, { cap: 10 });
    const done = await ask(facts, { price: fixed(4), claim: claimOf(`${facts.keyId}/done`) });
    const lost = await ask(facts, { price: fixed(4), claim: claimOf(`${facts.keyId}/lost`) });
    await end(done.callId, settledAt(4));
    await end(lost.callId, endedAs('unknown'));
    expect((await ask(facts, { price: fixed(7) })).kind).toBe('refused');
    expect(await ask(facts, { price: fixed(1) })).toMatchObject({
      kind: 'refused',
      refusal: { code: 'cap_exhausted' },
    });
    expect((await ask(facts, { price: fixed(4), claim: claimOf(`${facts.keyId}/done`) })).kind).toBe('replay');
    expect((await ask(facts, { price: fixed(4), claim: claimOf(`${facts.keyId}/lost`) })).kind).toBe('resend');
    expect((await ask(facts, { price: { kind: 'free' } })).kind).toBe('held');
  });

  test('a daily budget holds on the UTC day of the reserve and leaves other days alone', async () => {
    const facts = await addKey(ledger, { cap: null, daily: 5 });
    const first = await ask(facts, { price: fixed(5) });
    await end(first.callId, settledAt(5));
    expect((await ask(facts, { price: fixed(1) })).kind).toBe('refused');
    const tomorrow = reserveInput(facts, { price: fixed(5) });
    const answer = await ledger.submit((rows, now) => {
      // The key must still be alive tomorrow.
      rows.put('keys', { ...rows.get('keys', facts.keyId)!, expires_at: now + 9e7 * 2 });
      return reserve(rows, now + 86_400_000, tomorrow);
    });
    expect(answer.kind).toBe('held');
  });

  test('refusals of one key and code are rows up to a thousand, then a counter', async () => {
    const facts = await addKey(ledger, { cap: 0 });
    await Promise.all(Array.from({ length: 1_050 }, () => ask(facts, { price: fixed(1) })));
    const rows = await ledger.store.listCalls({ key_id: facts.keyId, state: 'refused', order: 'oldest', limit: 5_000 });
    expect(rows).toHaveLength(1_000);
    expect((await budget(`key:${facts.keyId}`))!.n_refused).toBe(1_050);
  });

  test('a refusal names what was needed, what is left, and which budget', async () => {
    const facts = await addKey(ledger, { job: { id: `named-${Date.now()}`, cap: 4_200_000 } });
    const answer = await ask(facts, { price: fixed(5_000_000) });
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

  const object = (valueMicros: number, amountMicros = valueMicros) => ({
    objectId: 'pi_1',
    valueMicros,
    amountMicros,
    currency: 'usd',
    out: false,
    vendorId: 'pi_1',
  });
  const worth = (value: number, mode: 'takes_over' | 'pays_rise' | 'lowers', amount?: number): Outcome => ({
    state: 'settled',
    httpStatus: 200,
    code: null,
    spend: { object: object(value, amount), mode },
    answer: null,
  });
  const onObject = (total: number | null, takesOver: boolean) =>
    ({ kind: 'object', objectId: 'pi_1', total: total === null ? null : { micros: total }, takesOver }) as const;

  test('create, confirm and a partial capture of one object are one amount, and the rest goes back', async () => {
    const facts = await addKey(ledger, { cap: 700 });
    const created = await ask(facts, { price: fixed(500) });
    await end(created.callId, worth(500, 'pays_rise'));
    const confirmed = await ask(facts, { price: onObject(null, true) });
    expect(confirmed.kind).toBe('held');
    await end(confirmed.callId, worth(500, 'takes_over'));
    const captured = await ask(facts, { price: onObject(300, true) });
    await end(captured.callId, worth(300, 'takes_over', 500));
    expect(await budget(`key:${facts.keyId}`)).toMatchObject({
      settled_micros: 300,
      held_micros: 0,
      unknown_micros: 0,
    });
  });

  test('a raised amount must fit: only the rise is held', async () => {
    const facts = await addKey(ledger, { cap: 1_000 });
    await end((await ask(facts, { price: fixed(100) })).callId, worth(100, 'pays_rise'));
    expect((await ask(facts, { price: onObject(1_001, false) })).kind).toBe('refused');
    await ledger.submit((rows) => rows.put('budgets', { ...rows.get('budgets', `key:${facts.keyId}`)!, latched: 0 }));
    const raised = await ask(facts, { price: onObject(1_000, false) });
    expect(raised.kind).toBe('held');
    expect((await budget(`key:${facts.keyId}`))!.held_micros).toBe(900);
  });

  test('another key that captures takes over the whole value, and the first payer gets its money back', async () => {
    const payer = await addKey(ledger, { cap: 1_000 });
    const taker = await addKey(ledger, { cap: 400 });
    await end((await ask(payer, { price: fixed(500) })).callId, worth(500, 'pays_rise'));
    expect((await ask(taker, { price: onObject(null, true) })).kind).toBe('refused');
    const part = await addKey(ledger, { cap: 600 });
    const captured = await ask(part, { price: onObject(null, true) });
    await end(captured.callId, worth(500, 'takes_over'));
    expect((await budget(`key:${payer.keyId}`))!.settled_micros).toBe(0);
    expect((await budget(`key:${part.keyId}`))!.settled_micros).toBe(500);
  });

  test('two keys of one job hand an object over without needing its value twice', async () => {
    const job = { id: `handover-${Date.now()}`, cap: 500 };
    const first = await addKey(ledger, { job });
    const second = await addKey(ledger, { job });
    await end((await ask(first, { price: fixed(500) })).callId, worth(500, 'pays_rise'));
    const captured = await ask(second, { price: onObject(null, true) });
    expect(captured.kind).toBe('held');
    await end(captured.callId, worth(500, 'takes_over'));
    expect((await budget(`job:${job.id}`))!.settled_micros).toBe(500);
  });

  test('a cancel gives back and never un-latches', async () => {
    const facts = await addKey(ledger, { cap: 500 });
    await end((await ask(facts, { price: fixed(500) })).callId, worth(500, 'pays_rise'));
    await ask(facts, { price: fixed(1) });
    const cancel = await ask(facts, { price: { kind: 'free', objectId: 'pi_1' } });
    await end(cancel.callId, worth(0, 'lowers'));
    expect(await budget(`key:${facts.keyId}`)).toMatchObject({ settled_micros: 0, latched: 1 });
    expect((await ask(facts, { price: fixed(1) })).kind).toBe('refused');
  });

  test('a cost above the hold, and late news after a release, are recorded even above the cap', async () => {
    const facts = await addKey(ledger, { cap: 10 });
    const over = await ask(facts, { price: fixed(10) });
    await end(over.callId, settledAt(12));
    const late = await addKey(ledger, { cap: 10 });
    const released = await ask(late, { price: fixed(10) });
    await end(released.callId, endedAs('released'));
    await end(released.callId, settledAt(10));
    expect((await budget(`key:${facts.keyId}`))!.settled_micros).toBe(12);
    expect((await budget(`key:${late.keyId}`))!.settled_micros).toBe(10);
  });

  test('a waiting call is woken when money comes back, and when none ever will', async () => {
    const facts = await addKey(ledger, { cap: 10 });
    const first = await ask(facts, { price: fixed(6) });
    const busy = await ask(facts, { price: fixed(6) });
    if (busy.kind !== 'busy') throw new Error('expected busy');
    const woken = ledger.waitFor(busy.budgetId, busy.quoteMicros, 30_000);
    ledger.changed((await end(first.callId, endedAs('released'))).budgets);
    expect(await woken).toBe(true);
    expect((await ask(facts, { price: fixed(6) })).kind).toBe('held');
  });

  test('what was executed is recorded once the store can be written again; new holds fail meanwhile', async () => {
    const facts = await addKey(ledger, { cap: 10 });
    const { callId } = await ask(facts, { price: fixed(6) });
    let down = true;
    const flaky = new Ledger({
      ...ledger.store,
      commit: (work) => (down ? Promise.reject(new StoreError('down')) : ledger.store.commit(work)),
    });
    const recorded = flaky.record((rows, now) => finish(rows, now, callId, settledAt(6)));
    await expect(flaky.hold(() => 1)).rejects.toThrow(StoreError);
    down = false;
    expect((await recorded).call.state).toBe('settled');
  });
});
