/** Spend per vendor object, DESIGN 5.10: who pays how much of a PaymentIntent, on which budgets. Pure. */
import type { Micros } from '../contract';
import type { CallRow, ObjectRow, OpenChange, Share } from '../stores/tables';
import type { RateOf } from './rates';

export function sharesOf(object: ObjectRow | undefined): readonly Share[] {
  return object === undefined ? [] : (JSON.parse(object.shares) as Share[]);
}

/** What the object already counts on a budget. */
export function countedOn(shares: readonly Share[], budgetId: string): Micros {
  return shares.reduce((sum, share) => sum + (share.budgets.includes(budgetId) ? share.micros : 0), 0);
}

/** Of a fraction, which is a hair off in floating point. */
const HAIR = 1e-6;

/** What the object counts on all budgets, in the dollars of one key. */
export function countedIn(shares: readonly Share[], rateOf: RateOf): Micros {
  return Math.floor(shares.reduce((sum, { key, micros }) => sum + micros * rateOf(key), 0) + HAIR);
}

/** Is every share in the dollars that the rates are for? */
export function inTheseDollars(shares: readonly Share[], rateOf: RateOf): boolean {
  return shares.every(({ key }) => rateOf(key) === 1);
}

export function openChangesOf(object: ObjectRow | undefined): readonly OpenChange[] {
  return object?.open_changes == null ? [] : (JSON.parse(object.open_changes) as OpenChange[]);
}

/** The object once this call about it is unknown, or has ended. */
export function withOpenChange(object: ObjectRow, call: CallRow, unknown: boolean, rateOf: RateOf): ObjectRow {
  const before = openChangesOf(object);
  const changes = before.filter(({ call_id: id }) => id !== call.call_id);
  const { call_id, up_to_micros } = call;
  const comparable = inTheseDollars(sharesOf(object), rateOf);
  const most = comparable ? Math.max(object.value_micros, object.amount_micros) : 0;
  if (unknown && up_to_micros !== null && up_to_micros > most) {
    const budgets = (JSON.parse(call.budgets) as [string, Micros][]).map(([id]) => id);
    changes.push({ call_id, up_to_micros, budgets });
  }
  if (changes.length === 0 && before.length === 0) return object;
  return { ...object, open_changes: changes.length === 0 ? null : JSON.stringify(changes) };
}

export interface SpendChange {
  /** What the object counts now, each share in the dollars of its key. */
  readonly value: Micros;
  readonly shares: readonly Share[];
  /** What each budget's settled total changes by. */
  readonly changes: ReadonlyMap<string, Micros>;
}

/** The payer of a call: its key, and the budgets its money is held on. */
export interface Payer {
  readonly key: string;
  readonly budgets: readonly string[];
}

/** The object is worth `value` now and the payer takes over all of it. */
export function takeOver(before: readonly Share[], payer: Payer, value: Micros): SpendChange {
  const changes = new Map<string, Micros>();
  for (const share of before) addAll(changes, share.budgets, -share.micros);
  addAll(changes, payer.budgets, value);
  return { value, shares: value === 0 ? [] : [{ ...payer, micros: value }], changes };
}

/**
 * The object is worth `value` now, in the payer's dollars: the payer pays a rise; a fall goes back to those who paid, the
 * latest share first, each in its own dollars.
 */
export function revalue(before: readonly Share[], payer: Payer, value: Micros, rateOf: RateOf = () => 1): SpendChange {
  const changes = new Map<string, Micros>();
  const rise = value - countedIn(before, rateOf);
  const shares: Share[] = [];
  if (rise > 0) {
    addAll(changes, payer.budgets, rise);
    shares.push(...before, { key: payer.key, budgets: payer.budgets, micros: rise });
  } else {
    let left = value === 0 ? Infinity : -rise;
    for (const share of before.toReversed()) {
      const rate = rateOf(share.key);
      const back = Math.min(share.micros, Math.floor(left / rate + HAIR));
      left = Math.max(0, left - back * rate);
      addAll(changes, share.budgets, -back);
      if (share.micros > back) shares.unshift({ ...share, micros: share.micros - back });
    }
  }
  return { value: shares.reduce((sum, { micros }) => sum + micros, 0), shares, changes };
}

function addAll(changes: Map<string, Micros>, budgets: readonly string[], micros: Micros): void {
  for (const id of budgets) changes.set(id, (changes.get(id) ?? 0) + micros);
}
