import fc from 'fast-check';
import type { CallState } from '../proxy/contract';
import type { KeyFacts } from '../proxy/ledger/facts';
import { addKey, claimOf, endedAs, fixed, settledAt, STORES, type TestLedger, testLedger } from './support/ledger';

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
  /** Settled calls, in the order in which they were settled. */
  readonly executed: ModelCall[] = [];
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
  /** What callers are told is left, by the tightest budget. */
  remaining(key: number): number {
    const left = this.budgetsOf[key]!.filter((id) => this.caps.has(id)).map((id) => {
      const { settled_micros: settled, held_micros: held, unknown_micros: unknown } = this.totals(id);
      return Math.max(0, this.caps.get(id)! - settled - held - unknown);
    });
    return Math.min(...left);
  }
  /** What was executed comes first, also when that came out after a later call had begun; else the latest that may be. */
  claimed(scope: string): ModelCall | undefined {
    const executed = this.executed.find((call) => call.scope === scope);
    return executed ?? this.calls.findLast((call) => call.scope === scope && call.state !== 'released');
  }
  reserve(key: number, quote: number, scope: string | null, print: string): string {
    if ([key, ...this.aboveOf[key]!].some((id) => this.revoked.has(id))) return 'key_revoked';
    const prior = scope === null ? undefined : this.claimed(scope);
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
  | { op: 'end'; pick: number; how: 'settled' | 'released' | 'unknown'; cost: number }
  | { op: 'revoke'; key: number }
  | { op: 'raise'; pick: number; by: number };
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
      pick: fc.nat(30),
      how: fc.constantFrom('settled' as const, 'settled' as const, 'released' as const, 'unknown' as const),
      cost: fc.nat(6),
    }),
  },
  { weight: 1, arbitrary: fc.record({ op: fc.constant('revoke' as const), key: fc.nat(4) }) },
  { weight: 1, arbitrary: fc.record({ op: fc.constant('raise' as const), pick: fc.nat(3), by: fc.nat(4) }) },
);

describe.each(STORES)('the ledger on $name, against a plain model', ({ open }) => {
  let at: TestLedger;
  beforeEach(() => {
    at = testLedger(open);
  });
  afterEach(() => at.close());

  /** Five keys: one alone, two of one job, a parent that refuses instead of latching, and its child. */
  async function family(cap: number) {
    const job = { id: `job-${Math.random()}`, cap };
    const alone = await addKey(at.ledger, { cap });
    const first = await addKey(at.ledger, { job });
    const second = await addKey(at.ledger, { job, cap: 3 });
    const parent = await addKey(at.ledger, { cap: cap + 1, onCap: 'refuse' });
    const child = await addKey(at.ledger, { cap, parent, onCap: 'refuse' });
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
      const answer = await at.ask(facts, { price: fixed(next.quote), claim });
      const got = answer.kind === 'refused' ? answer.refusal.code : answer.kind;
      expect(got).toBe(model.reserve(next.key, next.quote, next.scope, next.print));
      seen.add(got);
      const { key, quote, print } = next;
      if (answer.kind === 'held') {
        model.calls.push({ id: answer.callId, key, scope: next.scope, print, state: 'held', quote, cost: 0 });
        expect(answer.remainingMicros).toBe(model.remaining(key));
      }
    } else if (next.op === 'end' && model.calls.length > 0) {
      // Mostly calls that are still open: their ends are what moves money.
      const ongoing = model.calls.filter(({ state }) => state === 'held' || state === 'unknown');
      const from = ongoing.length > 0 && next.pick % 5 > 0 ? ongoing : model.calls;
      const call = from[next.pick % from.length]!;
      const allowed: Partial<Record<CallState, readonly CallState[]>> = {
        held: ['settled', 'released', 'unknown'],
        unknown: ['settled', 'released'],
        released: ['settled'],
      };
      const may = (allowed[call.state] ?? []).includes(next.how);
      const { changed } = await at.end(call.id, next.how === 'settled' ? settledAt(next.cost) : endedAs(next.how));
      expect(changed).toBe(may);
      if (may) call.state = next.how;
      if (may && next.how === 'settled') {
        call.cost = next.cost;
        model.executed.push(call);
      }
      seen.add(`${next.how}:${may}`);
    } else if (next.op === 'revoke') {
      model.revoked.add(next.key);
      await at.ledger.submit((rows) =>
        rows.put('keys', { ...rows.get('keys', keys[next.key]!.keyId)!, revoked_at: 1 }),
      );
    } else if (next.op === 'raise') {
      const id = [...model.caps.keys()][next.pick]!;
      const cap = model.caps.get(id)! + next.by;
      model.caps.set(id, cap);
      if (next.by > 0) model.latched.delete(id);
      const latch = next.by > 0 ? { latched: 0 as const } : {};
      await at.ledger.submit((rows) => rows.put('budgets', { ...rows.get('budgets', id)!, cap_micros: cap, ...latch }));
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
              expect({ id, ...(await at.budget(id)) }).toMatchObject({ id, ...model.totals(id) });
            }
          }
        },
      ),
      { numRuns: 200 },
    );
    // A property proves nothing about answers that it never met.
    expect([...seen]).toEqual(
      expect.arrayContaining([
        'held',
        'busy',
        'cap_exhausted',
        'key_revoked',
        'idempotency_mismatch',
        'in_progress',
        'resend',
        'replay',
        'settled:true',
        'released:true',
        'unknown:true',
        'settled:false',
        'released:false',
        'unknown:false',
      ]),
    );
  }, 180_000);

  test('callers that arrive at the same moment never hold more than the cap, and none is refused that would fit', () =>
    fc.assert(
      fc.asyncProperty(
        fc.nat(20),
        fc.array(fc.integer({ min: 1, max: 6 }), { minLength: 2, maxLength: 12 }),
        async (cap, quotes) => {
          const facts = await addKey(at.ledger, { cap, onCap: 'refuse' });
          const answers = await Promise.all(quotes.map((micros) => at.ask(facts, { price: fixed(micros) })));
          const held = quotes.filter((_, i) => answers[i]!.kind === 'held').reduce((sum, micros) => sum + micros, 0);
          expect(held).toBeLessThanOrEqual(cap);
          expect((await at.budget(`key:${facts.keyId}`))!.held_micros).toBe(held);
          quotes.forEach((micros, i) => {
            if (answers[i]!.kind !== 'held') expect(held + micros).toBeGreaterThan(cap);
          });
        },
      ),
    ));
});
