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

  const amount = price.kind === 'refund' ? (price.minor === null ? null : { minor: price.minor }) : price.total;
  const whole = Math.max(known.value_micros, price.kind === 'refund' ? (seen?.valueMicros ?? 0) : known.amount_micros);
  const total = amount === null ? whole : toMicros(amount.minor, known.currency);
  if (total === undefined) {
    const text = `currency_not_allowed: the payment is in ${known.currency} and the key has no fx rate for it.`;
    return { kind: 'refused', refusal: new Refusal('currency_not_allowed', text, { field: 'amount' }) };
  }
  if (price.kind === 'refund') return { objectId: null, on: () => total };

  const shares = sharesOf(object);
  const counted = object?.value_micros ?? 0;
  const { takesOver } = price;
  const onOf = (micros: Micros, id: string) => Math.max(0, micros - (takesOver ? countedOn(shares, id) : counted));
  const atLeast = (id: string) => onOf(total, id);
  const open = amount === null ? openChangesOf(object) : [];
  if (open[0] === undefined) return { objectId, on: atLeast, upTo: total };
  const on = (id: string) => {
    // A budget that holds money for a change need not hold it twice.
    const others = open.filter(({ budgets }) => !budgets.includes(id)).map(({ up_to_micros: upTo }) => upTo);
    return onOf(Math.max(total, ...others), id);
  };
  return { objectId, on, atLeast, openCall: open[0].call_id, upTo: total };
}
