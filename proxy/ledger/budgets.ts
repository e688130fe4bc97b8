import assert from 'node:assert';
import type { CallState, Micros } from '../contract';
import type { Rows } from '../stores/store';
import type { BudgetRow } from '../stores/tables';
import type { KeyFacts } from './facts';

const DAY_MS = 24 * 3_600_000;
let lastDay = { number: NaN, text: '' };

/** UTC day of a time in milliseconds, `2026-11-24`. */
export function utcDay(now: number): string {
  const number = Math.floor(now / DAY_MS);
  if (number !== lastDay.number) lastDay = { number, text: new Date(now).toISOString().slice(0, 10) };
  return lastDay.text;
}

export function newBudget(budgetId: string, capMicros: Micros | null, now: number): BudgetRow {
  return {
    budget_id: budgetId,
    first_cap_micros: capMicros,
    created_at: now,
    cap_micros: capMicros,
    settled_micros: 0,
    out_micros: 0,
    held_micros: 0,
    unknown_micros: 0,
    latched: 0,
    n_held: 0,
    n_settled: 0,
    n_released: 0,
    n_unknown: 0,
    n_refused: 0,
    n_replayed: 0,
  };
}

/** Every budget that a call of this key must fit today: key, job, day, and those of the keys above. */
export function budgetIdsOf(facts: KeyFacts, day: string): readonly string[] {
  if (facts.daily.length === 0) return facts.budgets;
  return [...facts.budgets, ...facts.daily.map(([keyId]) => `day:${keyId}:${day}`)];
}

/** The budget's row; a daily one begins when it is first asked for. */
export function budgetOf(rows: Rows, facts: KeyFacts | undefined, budgetId: string, now: number): BudgetRow {
  const row = rows.get('budgets', budgetId);
  if (row !== undefined) return row;
  const cap = facts?.daily.find(([keyId]) => budgetId.startsWith(`day:${keyId}:`))?.[1];
  assert(cap !== undefined, `budget ${budgetId} does not exist`);
  return newBudget(budgetId, cap, now);
}

/** `key key_1`, `job billing`, `day key_1:2026-11-24`: how a refusal names the budget. */
export function budgetName(budgetId: string): string {
  return budgetId.replace(':', ' ');
}

/** Cap less all that is spent or may be; null without a cap. */
export function remainingMicros(budget: BudgetRow): Micros | null {
  if (budget.cap_micros === null) return null;
  return Math.max(0, budget.cap_micros - budget.settled_micros - budget.held_micros - budget.unknown_micros);
}

/** The least that is left on any capped budget. */
export function leastRemaining(budgets: readonly BudgetRow[]): Micros | null {
  return budgets.reduce<Micros | null>((min, budget) => {
    const left = remainingMicros(budget);
    return left === null ? min : min === null ? left : Math.min(min, left);
  }, null);
}

export interface Movement {
  readonly settled?: Micros;
  readonly out?: Micros;
  readonly held?: Micros;
  readonly unknown?: Micros;
  /** States whose count falls or rises by one. */
  readonly from?: CallState;
  readonly to?: CallState;
  readonly latch?: boolean;
}

const COUNT_OF = {
  held: 'n_held',
  settled: 'n_settled',
  released: 'n_released',
  unknown: 'n_unknown',
  refused: 'n_refused',
  replayed: 'n_replayed',
} as const;

/** The budget after a movement. Totals are running totals: they are never summed again. */
export function moved(budget: BudgetRow, { settled, out, held, unknown, from, to, latch }: Movement): BudgetRow {
  const after: { -readonly [K in keyof BudgetRow]: BudgetRow[K] } = { ...budget };
  after.settled_micros += settled ?? 0;
  after.out_micros += out ?? 0;
  after.held_micros += held ?? 0;
  after.unknown_micros += unknown ?? 0;
  if (from !== undefined) after[COUNT_OF[from]] -= 1;
  if (to !== undefined) after[COUNT_OF[to]] += 1;
  if (latch === true) after.latched = 1;
  assert(after.held_micros >= 0 && after.unknown_micros >= 0, `${budget.budget_id}: less than nothing is held`);
  assert(Number.isSafeInteger(after.settled_micros), `${budget.budget_id}: the total is no safe integer`);
  return after;
}

/** Movements of one step, so that a budget is written once however often it moves. */
export interface Mover {
  /** The budget as it is after the movements so far. */
  get(budgetId: string): BudgetRow;
  move(budgetId: string, movement: Movement): void;
  /** Writes the budgets that moved, and answers them. */
  write(): readonly BudgetRow[];
}

export function mover(rows: Rows): Mover {
  const after = new Map<string, BudgetRow>();
  const get = (id: string) => {
    const row = after.get(id) ?? rows.get('budgets', id);
    assert(row !== undefined, `budget ${id} does not exist`);
    return row;
  };
  return {
    get,
    move: (id, movement) => void after.set(id, moved(get(id), movement)),
    write() {
      for (const budget of after.values()) rows.put('budgets', budget);
      return [...after.values()];
    },
  };
}

export type Fit = 'fits' | 'busy' | 'exhausted' | 'exhausted_by_unknown';

/**
 * Does a call fit this budget now? It may need nothing more for an object that is counted already with `wholeMicros`:
 * then it fits, unless more is settled than the cap, and confirming or capturing would let that money go.
 */
export function fit(budget: BudgetRow, quoteMicros: Micros, wholeMicros: Micros = 0): Fit {
  const { cap_micros: cap, settled_micros: settled, unknown_micros: unknown, held_micros: held } = budget;
  if (cap === null || (quoteMicros === 0 && (wholeMicros === 0 || settled <= cap))) return 'fits';
  if (budget.latched === 1 || settled + quoteMicros > cap) return 'exhausted';
  if (settled + unknown + quoteMicros > cap) return 'exhausted_by_unknown';
  return settled + unknown + held + quoteMicros > cap ? 'busy' : 'fits';
}
