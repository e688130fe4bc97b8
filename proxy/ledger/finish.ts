/** How a call ends: the state and every total change in one step, by call id and expected state. Pure but for `rows`. */
import assert from 'node:assert';
import type { CallState, Micros } from '../contract';
import type { Rows } from '../stores/store';
import type { BudgetRow, CallRow, ObjectRow } from '../stores/tables';
import type { Valuation } from '../vendors/vendor';
import { type Mover, mover, type Movement } from './budgets';
import { adjust, awaitPrice, hasten } from './late';
import { ratesOf } from './rates';
import { countedIn, revalue, sharesOf, type SpendChange, takeOver, withOpenChange } from './spend';

export type Outcome =
  | {
      readonly state: 'settled';
      readonly httpStatus: number | null;
      readonly code: string | null;
      /** The value of a vendor object, or a plain cost. */
      readonly spend: ObjectSpend | Cost;
      readonly answer: Buffer | null;
      /** Milliseconds until a price that comes later is looked for; {@link LOOK_FIRST_MS}. */
      readonly lookAfterMs?: number;
    }
  | {
      readonly state: 'released';
      readonly httpStatus: number | null;
      readonly code: string | null;
      /** The evidence is about the first send, and says nothing about a later one. */
      readonly ofFirstSend?: boolean;
    }
  | {
      readonly state: 'unknown';
      readonly httpStatus: number | null;
      readonly code: string | null;
      /** What was sent, sealed, so that it can be sent again or looked up; what the call has already stays. */
      readonly request?: Buffer;
    };

export interface ObjectSpend {
  readonly object: Valuation & { readonly objectId: string };
  /**
   * `takes_over`: the call's key pays the whole; `pays_rise`: it pays what the object rose by; `lowers`: a free call,
   * which may give money back for an object that the ledger counts, and never adds any.
   */
  readonly mode: 'takes_over' | 'pays_rise' | 'lowers';
  /** The vendor answered as it did to an earlier request with the same idempotency key. */
  readonly repeated?: boolean;
}

export interface Cost {
  readonly micros: Micros;
  readonly out: boolean;
  readonly vendorId: string | null;
}

export interface Finished {
  readonly call: CallRow;
  /** The budgets whose totals changed, as they are now. */
  readonly budgets: readonly BudgetRow[];
  /** False: the call had ended before; nothing was changed. */
  readonly changed: boolean;
  /** What an earlier call, whose price was waited for, costs more since this one's answer. */
  readonly adjustedMicros?: Micros;
}

/** Transitions of DESIGN 5.1. */
const NEXT: Readonly<Partial<Record<CallState, readonly CallState[]>>> = {
  held: ['settled', 'released', 'unknown'],
  unknown: ['settled', 'released'],
  released: ['settled'],
};

/**
 * Ends a call, or marks it unknown. A call that is already in the state it should go to, or beyond, is left as it is.
 * A cost above the hold, or above the cap, is recorded: it is a fact.
 */
export function finish(rows: Rows, now: number, callId: string, outcome: Outcome, actor = 'proxy'): Finished {
  const before = rows.get('calls', callId);
  assert(before !== undefined, `call ${callId} does not exist`);
  keepRequest(rows, before, outcome);
  const overtaken = outcome.state === 'released' && outcome.ofFirstSend === true && before.sends > 1;
  if (overtaken || NEXT[before.state]?.includes(outcome.state) !== true) {
    return { call: before, budgets: [], changed: false };
  }

  noteOpenChange(rows, before, outcome.state);
  const moves = mover(rows);
  const holds = JSON.parse(before.budgets) as [string, Micros][];
  for (const [id, micros] of holds) moves.move(id, fromTo(before.state, outcome.state, micros));

  const paid =
    outcome.state === 'settled'
      ? settle(
          rows,
          now,
          before,
          outcome,
          holds.map(([id]) => id),
          moves,
        )
      : undefined;
  const call = ended(before, now, outcome, paid);
  rows.put('calls', call);
  const budgets = moves.write();
  if (before.state === 'released') reclaim(rows, call);
  rows.event({ kind: `call.${outcome.state}`, actor, key_id: call.key_id, call_id: callId, data: note(before, paid) });
  const adjusted = paid?.adjustedMicros === undefined ? {} : { adjustedMicros: paid.adjustedMicros };
  return { call, budgets, changed: true, ...adjusted };
}

/** Releases a hold of which nobody heard, and which therefore was not used; if it was held at all. */
export function giveBack(rows: Rows, now: number, callId: string): void {
  if (rows.get('calls', callId)?.state !== 'held') return;
  finish(rows, now, callId, { state: 'released', httpStatus: null, code: 'store_unavailable' });
}

/** An unknown call that was sent again and stays unknown: now its request is known, if it was not. */
function keepRequest(rows: Rows, call: CallRow, outcome: Outcome): void {
  if (call.state !== 'unknown' || outcome.state !== 'unknown') return;
  if (call.request === null && outcome.request !== undefined) rows.put('calls', { ...call, request: outcome.request });
}

/**
 * Late news: the call was executed after all, so its idempotency key is taken again, or the next retry would be
 * executed a second time. Also from a later call that is still open: were that one released, the key would be free.
 */
function reclaim(rows: Rows, { scope, call_id: callId }: CallRow): void {
  const owner = scope === null ? undefined : rows.get('claims', scope)?.call_id;
  if (scope === null || owner === undefined || owner === callId) return;
  if (rows.get('calls', owner)?.state !== 'settled') rows.put('claims', { scope, call_id: callId });
}

/** Until a call is known to have changed its object or not, others of the object must reckon with both. */
function noteOpenChange(rows: Rows, call: CallRow, to: CallState): void {
  if (call.object_id === null || (call.state === 'held' && to !== 'unknown')) return;
  const object = rows.get('objects', call.object_id);
  if (object === undefined) return;
  const rates = ratesOf(rows, call.key_id, object.currency);
  const after = withOpenChange(object, call, to === 'unknown', rates);
  if (after !== object) rows.put('objects', after);
}

function fromTo(from: CallState, to: CallState, micros: Micros): Movement {
  const held = from === 'held' ? -micros : 0;
  const unknown = (from === 'unknown' ? -micros : 0) + (to === 'unknown' ? micros : 0);
  return { held, unknown, from, to };
}

interface Paid {
  readonly micros: Micros;
  readonly vendorId: string | null;
  readonly objectId: string | null;
  readonly adjustedMicros?: Micros;
}

function settle(
  rows: Rows,
  now: number,
  call: CallRow,
  { spend, lookAfterMs }: Extract<Outcome, { state: 'settled' }>,
  budgetIds: readonly string[],
  moves: Mover,
): Paid {
  if (!('object' in spend)) {
    const { micros, out, vendorId } = spend;
    for (const id of budgetIds) moves.move(id, { settled: micros, out: out ? micros : 0 });
    return { micros, vendorId, objectId: call.object_id };
  }
  const objectId = `${call.account}/${spend.object.objectId}`;
  const known = rows.get('objects', objectId);
  const rates = ratesOf(rows, call.key_id, spend.object.currency);
  const before = sharesOf(known);
  const counted = countedIn(before, rates);
  const { object, mode } = upToDate(spend, call, known, counted);
  const paysNothing = { micros: 0, vendorId: object.vendorId, objectId };
  if (mode === 'lowers' && hasten(rows, now, objectId, 0)) {
    return { ...paysNothing, adjustedMicros: lower(rows, call, objectId, object.valueMicros, moves) };
  }
  if (mode === 'lowers' && object.valueMicros >= counted) {
    return paysNothing;
  }
  const payer = { key: call.key_id, budgets: budgetIds };
  const { valueMicros } = object;
  const change =
    mode === 'takes_over' ? takeOver(before, payer, valueMicros) : revalue(before, payer, valueMicros, rates);
  applyChange(change, object.out, moves);
  rows.put('objects', {
    object_id: objectId,
    currency: object.currency,
    out: object.out ? 1 : 0,
    value_micros: change.value,
    amount_micros: object.amountMicros,
    shares: JSON.stringify(change.shares),
    changed_at: now,
    open_changes: known?.open_changes ?? null,
  });
  if (object.late !== undefined) {
    awaitPrice(rows, now, { call_id: call.call_id, object_id: objectId }, object.late.from, lookAfterMs);
  }
  // What the call changed for its own key: a take-over pays the whole, less what the key paid before.
  const own = change.changes.get(`key:${call.key_id}`) ?? change.value - (known?.value_micros ?? 0);
  return { micros: own, vendorId: object.vendorId, objectId };
}

/**
 * To an idempotency key that it knows a vendor repeats its first answer, and what a call came to may be found out late:
 * of an object that other calls have changed since, that takes nothing back and takes nothing over. What is said of an
 * object at its end stays true. Of an object that the call itself has made, all that is counted is newer: also while
 * the call is held, because its caller heard of it from the spool, or from the vendor.
 */
function upToDate(spend: ObjectSpend, call: CallRow, known: ObjectRow | undefined, value: Micros): ObjectSpend {
  const { object, mode, repeated } = spend;
  const newer = repeated === true || call.object_id === null;
  const since = (known?.changed_at ?? 0) > call.created_at;
  const old = call.state === 'held' ? repeated === true || (newer && since) : since;
  if (known === undefined || !old) return spend;
  const { amount_micros: amount } = known;
  const valueMicros = newer ? value : Math.max(value, object.valueMicros);
  const amountMicros = newer ? amount : Math.max(amount, object.amountMicros);
  const now = object.final === true ? object : { ...object, valueMicros, amountMicros };
  return { object: now, mode: mode === 'takes_over' ? 'pays_rise' : mode };
}

/**
 * The answer to a free call tells the price of one that is waited for: what it lowers, it lowers on that call. Whether
 * it is the last word is for the look that follows to say, which reads it on the payer's own terms.
 */
function lower(rows: Rows, { key_id: keyId }: CallRow, objectId: string, valueMicros: Micros, moves: Mover): Micros {
  const late = rows.get('late', objectId);
  if (late === undefined || valueMicros >= (rows.get('objects', objectId)?.value_micros ?? 0)) return 0;
  return adjust(rows, late, valueMicros, moves, `key:${keyId}`).byMicros;
}

function applyChange({ changes }: SpendChange, out: boolean, moves: Mover): void {
  for (const [id, micros] of changes) if (micros !== 0) moves.move(id, { settled: micros, out: out ? micros : 0 });
}

function ended(call: CallRow, now: number, outcome: Outcome, paid: Paid | undefined): CallRow {
  return {
    ...call,
    state: outcome.state,
    http_status: outcome.httpStatus,
    code: outcome.code,
    object_id: paid?.objectId ?? call.object_id,
    vendor_id: paid?.vendorId ?? call.vendor_id,
    cost_micros: paid?.micros ?? (outcome.state === 'released' ? 0 : null),
    answer: outcome.state === 'settled' ? outcome.answer : null,
    request: outcome.state === 'unknown' ? (outcome.request ?? call.request) : null,
    stuck_at: null,
    ended_at: outcome.state === 'unknown' ? null : now,
  };
}

function note(before: CallRow, paid: Paid | undefined): Record<string, unknown> | undefined {
  if (paid === undefined) return undefined;
  const late = before.state === 'released';
  const above = paid.micros > before.quote_micros;
  return { micros: paid.micros, ...(late && { late: true }), ...(above && { above_hold: before.quote_micros }) };
}
