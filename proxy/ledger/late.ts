/**
 * Prices that the vendor tells after the call: settled at the quote, adjusted when the price is known. An adjustment
 * moves the budgets of the one who paid, of the day on which the call was reserved; it latches and un-latches nothing,
 * and revives no key. Pure but for `rows`.
 */
import assert from 'node:assert';
import type { Micros } from '../contract';
import type { Rows } from '../stores/store';
import type { BudgetRow, CallRow, KeyRow, LateRow } from '../stores/tables';
import { type Mover, mover } from './budgets';
import { revalue, sharesOf } from './spend';

/** When a price is looked for first, after the call. */
export const LOOK_FIRST_MS = 30_000;

/** The call is settled at its quote: from now on, or from `from` on, its price is looked for. */
export function awaitPrice(
  rows: Rows,
  now: number,
  { call_id, object_id }: { readonly call_id: string; readonly object_id: string },
  from: number | null,
  firstMs: number = LOOK_FIRST_MS,
): void {
  if (rows.get('late', object_id) !== undefined) return;
  const since = Math.max(now, from ?? now);
  const looks = { next_look: since + firstMs, looked_at: null, looks: 0 };
  rows.put('late', { object_id, call_id, since, state: 'waiting', ...looks });
}

/** How often a price is looked for. */
export interface LookTimes {
  /** After the first look; then twice as long each time. */
  readonly firstMs: number;
  readonly longestMs: number;
}

/** A look that is under way: the key's terms decide what the price is in dollars. */
export interface Look {
  readonly late: LateRow;
  readonly key: KeyRow;
  /** By the store's clock. */
  readonly takenAt: number;
}

/**
 * Takes a look that is due, so that no other process does, and sets the time of the next one: whatever becomes of this
 * one, also of the process, another follows. Undefined: it is not due any more.
 */
export function takeLook(
  rows: Rows,
  now: number,
  objectId: string,
  { firstMs, longestMs }: LookTimes,
): Look | undefined {
  const late = rows.get('late', objectId);
  if (late === undefined || late.state !== 'waiting' || late.next_look > now) return undefined;
  const key = rows.get('keys', callOf(rows, late).key_id);
  assert(key !== undefined, `call ${late.call_id} has no key`);
  const delay = Math.min(longestMs, firstMs * 2 ** Math.min(late.looks, 30));
  rows.put('late', { ...late, next_look: now + delay, looked_at: now, looks: late.looks + 1 });
  return { late, key, takenAt: now };
}

/** There may be news: the price is looked for now, but not within `gapMs` of the last look. Answers whether it waits. */
export function hasten(rows: Rows, now: number, objectId: string, gapMs: number): boolean {
  const late = rows.get('late', objectId);
  if (late === undefined || late.state !== 'waiting') return false;
  const next = Math.max(now, (late.looked_at ?? 0) + gapMs);
  if (next < late.next_look) rows.put('late', { ...late, next_look: next });
  return true;
}

export interface Adjusted {
  readonly call: CallRow;
  /** What the call costs more now; less where negative. */
  readonly byMicros: Micros;
  readonly budgets: readonly BudgetRow[];
}

/** The price is known: nobody looks for it again. Undefined: it was known before, and nothing is changed. */
export function settlePrice(rows: Rows, objectId: string, priceMicros: Micros, actor = 'proxy'): Adjusted | undefined {
  const late = rows.get('late', objectId);
  if (late === undefined || late.state !== 'waiting') return undefined;
  const moves = mover(rows);
  const { call, byMicros } = adjust(rows, late, priceMicros, moves, actor);
  rows.put('late', { ...late, state: 'known' });
  return { call, byMicros, budgets: moves.write() };
}

/** The vendor has told no price in all the time in which it should: the quote stays. */
export function giveUpPrice(rows: Rows, objectId: string): void {
  const late = rows.get('late', objectId);
  if (late === undefined || late.state !== 'waiting') return;
  const { key_id } = callOf(rows, late);
  rows.put('late', { ...late, state: 'given_up' });
  rows.event({ kind: 'call.price_unknown', actor: 'proxy', key_id, call_id: late.call_id });
}

/**
 * The object is worth `valueMicros` now. A rise is the payer's, also above its caps: it is a fact. A fall goes back to
 * the payer. The call's cost changes by what its object does.
 */
export function adjust(
  rows: Rows,
  late: LateRow,
  valueMicros: Micros,
  moves: Mover,
  actor: string,
): { readonly call: CallRow; readonly byMicros: Micros } {
  const call = callOf(rows, late);
  const object = rows.get('objects', late.object_id);
  assert(object !== undefined && call.cost_micros !== null, `call ${late.call_id} was not settled`);
  const byMicros = valueMicros - object.value_micros;
  if (byMicros === 0) return { call, byMicros };

  const budgetIds = (JSON.parse(call.budgets) as [string, Micros][]).map(([id]) => id);
  const { shares, changes } = revalue(sharesOf(object), { key: call.key_id, budgets: budgetIds }, valueMicros);
  const outOf = (micros: Micros) => (object.out === 1 ? micros : 0);
  for (const [id, micros] of changes) moves.move(id, { settled: micros, out: outOf(micros) });
  rows.put('objects', { ...object, value_micros: valueMicros, shares: JSON.stringify(shares) });

  const after = { ...call, cost_micros: call.cost_micros + byMicros };
  rows.put('calls', after);
  const above = byMicros > 0 ? budgetIds.filter((id) => isAboveCap(moves.get(id))) : [];
  rows.event({
    kind: 'call.adjusted',
    actor,
    key_id: call.key_id,
    call_id: call.call_id,
    data: { from: call.cost_micros, to: after.cost_micros, ...(above.length > 0 && { above_cap: above }) },
  });
  return { call: after, byMicros };
}

function isAboveCap({ cap_micros: cap, settled_micros: settled }: BudgetRow): boolean {
  return cap !== null && settled > cap;
}

function callOf(rows: Rows, { call_id: id }: LateRow): CallRow {
  const call = rows.get('calls', id);
  assert(call !== undefined, `call ${id} does not exist`);
  return call;
}
