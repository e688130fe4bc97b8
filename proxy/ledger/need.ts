/** What a call needs at most, given what the ledger counts for its object already: DESIGN 5.10. Pure but for `rows`. */
import { type Micros, Refusal } from '../contract';
import type { Rows } from '../stores/store';
import type { OpenChange } from '../stores/tables';
import { ratesOf } from './rates';
import type { ReserveInput } from './reserve';
import { countedIn, countedOn, inTheseDollars, openChangesOf, sharesOf } from './spend';

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
  | { readonly kind: 'lookup'; readonly objectId: string; readonly changedAt: number | null }
  | { readonly kind: 'refused'; readonly refusal: Refusal };

export function needOf(rows: Rows, input: ReserveInput): Need | Missing {
  const {
    call: { facts },
    price,
    toMicros,
  } = input;
  if (price.kind === 'free') {
    const id = price.objectId === undefined ? null : `${facts.account}/${price.objectId}`;
    return { objectId: id, on: () => 0 };
  }
  if (price.kind === 'fixed') return { objectId: null, on: () => price.micros };

  const objectId = `${facts.account}/${input.seen?.objectId ?? price.objectId}`;
  const object = rows.get('objects', objectId);
  const lookup = { kind: 'lookup', objectId: price.objectId, changedAt: object?.changed_at ?? null } as const;
  const seen = isOutdated(input, lookup.changedAt) ? undefined : input.seen;
  const shares = sharesOf(object);
  const rates = ratesOf(rows, facts.keyId, object?.currency ?? 'usd');
  // Counted in the dollars of another key, or nobody's: not what the amount is in this key's.
  const othersDollars =
    object !== undefined && object.currency !== 'usd' && (shares.length === 0 || !inTheseDollars(shares, rates));
  const shown = seen && { amount_micros: seen.amountMicros, value_micros: seen.valueMicros, currency: seen.currency };
  const known = othersDollars ? (shown ?? object) : (object ?? shown);
  const minor = price.kind === 'refund' ? price.minor : (price.total?.minor ?? null);
  if (known === undefined) return lookup;

  // Also without an amount: what the vendor would answer could not be counted.
  if (toMicros(1, known.currency) === undefined) {
    const text = `currency_not_allowed: the payment is in ${known.currency} and the key has no fx rate for it.`;
    return refused(new Refusal('currency_not_allowed', text, { field: 'amount' }));
  }
  // Less than it asks for may be counted for a payment that its customer has paid since, e.g. after a decline.
  const paidSince = price.kind === 'refund' && known.value_micros < known.amount_micros;
  if (minor === null && seen === undefined && (paidSince || othersDollars)) return lookup;
  const asked = Math.max(known.value_micros, price.kind === 'refund' ? (seen?.valueMicros ?? 0) : known.amount_micros);
  const total = minor === null ? asked : toMicros(minor, known.currency);
  if (total === undefined) {
    const text = 'request_unpriceable: the amount is more than any cap can hold.';
    return refused(new Refusal('request_unpriceable', text, { field: 'amount' }));
  }
  if (price.kind === 'refund') return { objectId: null, on: () => total };

  const all = countedIn(shares, rates);
  const counted = price.takesOver ? (id: string) => countedOn(shares, id) : () => all;
  const atLeast = (id: string) => Math.max(0, total - counted(id));
  const whole = (id: string) => (total < counted(id) ? 0 : total);
  const open = minor === null ? openChangesOf(object) : [];
  if (open[0] === undefined) return { objectId, on: atLeast, upTo: total, whole };
  const upToOf = ({ call_id: id, up_to_micros: upTo }: OpenChange) => {
    const by = rows.get('calls', id)?.key_id;
    return by === undefined ? upTo : Math.ceil(upTo * rates(by));
  };
  const on = (id: string) => {
    // A budget that holds money for a change need not hold it twice.
    const others = open.filter(({ budgets }) => !budgets.includes(id)).map(upToOf);
    return Math.max(0, Math.max(total, ...others) - counted(id));
  };
  return { objectId, on, atLeast, openCall: open[0].call_id, upTo: total, whole };
}

/**
 * Has another process changed the object since it was looked up, while this call waited? The change that was known by then
 * is none of these, though by a clock that was set back it is yet to come.
 */
function isOutdated({ seenFrom }: ReserveInput, changedAt: number | null): boolean {
  if (seenFrom === undefined || changedAt === null) return false;
  return changedAt >= seenFrom.at && changedAt !== seenFrom.changedAt;
}

function refused(refusal: Refusal): Missing {
  return { kind: 'refused', refusal };
}
