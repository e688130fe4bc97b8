/** What a call needs at most, given what the ledger counts for its object already: DESIGN 5.10. Pure but for `rows`. */
import { type Micros, Refusal } from '../contract';
import type { Rows } from '../stores/store';
import type { ReserveInput } from './reserve';
import { countedOn, openChangesOf, sharesOf } from './spend';

interface Need {
  readonly objectId: string | null;
  /** What each budget must hold for this call. */
  readonly on: (budgetId: string) => Micros;
  /** What it must hold if no {@link OpenChange} of the object was executed. Absent: there are none that matter. */
  readonly atLeast?: (budgetId: string) => Micros;
  /** The call that made the first of these. */
  readonly openCall?: string;
  /** What the object may ask for afterwards. */
  readonly upTo?: Micros;
  /** All that the budget may count for the object afterwards; 0 where the call lowers that. Absent: there is no object. */
  readonly whole?: (budgetId: string) => Micros;
}

type Missing =
  { readonly kind: 'lookup'; readonly objectId: string } | { readonly kind: 'refused'; readonly refusal: Refusal };

export function needOf(rows: Rows, { call: { facts }, price, seen, toMicros }: ReserveInput): Need | Missing {
  if (price.kind === 'free') {
    const id = price.objectId === undefined ? null : `${facts.account}/${price.objectId}`;
    return { objectId: id, on: () => 0 };
  }
  if (price.kind === 'fixed') return { objectId: null, on: () => price.micros };

  const objectId = `${facts.account}/${seen?.objectId ?? price.objectId}`;
  const object = rows.get('objects', objectId);
  const known = object ?? (seen && { amount_micros: seen.amountMicros, value_micros: seen.valueMicros, ...seen });
  const rest = price.kind === 'refund' && price.minor === null && seen === undefined;
  // Less than it asks for may be counted for a payment that its customer has paid since, e.g. after a decline.
  if (known === undefined || (rest && known.value_micros < known.amount_micros)) {
    return { kind: 'lookup', objectId: price.objectId };
  }

  // Also without an amount: what the vendor would answer could not be counted.
  if (toMicros(1, known.currency) === undefined) {
    const text = `currency_not_allowed: the payment is in ${known.currency} and the key has no fx rate for it.`;
    return refused(new Refusal('currency_not_allowed', text, { field: 'amount' }));
  }
  const minor = price.kind === 'refund' ? price.minor : (price.total?.minor ?? null);
  const asked = Math.max(known.value_micros, price.kind === 'refund' ? (seen?.valueMicros ?? 0) : known.amount_micros);
  const total = minor === null ? asked : toMicros(minor, known.currency);
  if (total === undefined) {
    const text = 'request_unpriceable: the amount is more than any cap can hold.';
    return refused(new Refusal('request_unpriceable', text, { field: 'amount' }));
  }
  if (price.kind === 'refund') return { objectId: null, on: () => total };

  const shares = sharesOf(object);
  const counted = price.takesOver ? (id: string) => countedOn(shares, id) : () => object?.value_micros ?? 0;
  const atLeast = (id: string) => Math.max(0, total - counted(id));
  const whole = (id: string) => (total < counted(id) ? 0 : total);
  const open = minor === null ? openChangesOf(object) : [];
  if (open[0] === undefined) return { objectId, on: atLeast, upTo: total, whole };
  const on = (id: string) => {
    // A budget that holds money for a change need not hold it twice.
    const others = open.filter(({ budgets }) => !budgets.includes(id)).map(({ up_to_micros: upTo }) => upTo);
    return Math.max(0, Math.max(total, ...others) - counted(id));
  };
  return { objectId, on, atLeast, openCall: open[0].call_id, upTo: total, whole };
}

function refused(refusal: Refusal): Missing {
  return { kind: 'refused', refusal };
}
