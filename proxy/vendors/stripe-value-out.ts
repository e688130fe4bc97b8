/** What Stripe's answers say about money out, credit, invoices and checkout sessions (VENDORS 2.3, column S). */
import { at } from '../json';
import { isStripeError } from './stripe-error';
import { currencyOf, idOf, type Json, minorOf, nothing, objectOf, sum, valuation } from './stripe-value';
import type { PricingTerms, Route, Valuation } from './vendor';

interface Kind {
  /** Its `object`. */
  readonly object: string;
  /** Statuses in which its whole amount counts. Absent: it has no status. An unknown status is not understood. */
  readonly counts?: readonly string[];
  /** Statuses in which nothing of it counts any more. */
  readonly undone?: readonly string[];
  /** Where amount and currency are, if not at the top. */
  readonly money?: readonly string[];
  /** Not below zero, whatever its sign. */
  readonly signed?: true;
  /** A time that says it was undone. */
  readonly undoneAt?: string;
}

const TREASURY = { counts: ['processing', 'posted', 'succeeded'], undone: ['failed', 'returned', 'canceled'] };

// prettier-ignore
const KINDS = {
  transfer:      { object: 'transfer' },
  payout:        { object: 'payout', counts: ['pending', 'in_transit', 'paid'], undone: ['failed', 'canceled'] },
  topup:         { object: 'topup', counts: ['pending', 'succeeded'], undone: ['failed', 'canceled', 'reversed'] },
  creditNote:    { object: 'credit_note', counts: ['issued'], undone: ['void'] },
  balance:       { object: 'customer_balance_transaction', signed: true },
  creditGrant:   { object: 'billing.credit_grant', money: ['amount', 'monetary'], undoneAt: 'voided_at' },
  treasuryPayment:  { object: 'treasury.outbound_payment', ...TREASURY },
  treasuryTransfer: { object: 'treasury.outbound_transfer', ...TREASURY },
  treasuryInbound:  { object: 'treasury.inbound_transfer', ...TREASURY },
  payment:       { object: 'v2.money_management.outbound_payment', money: ['amount'], ...TREASURY },
  inbound:       { object: 'v2.money_management.inbound_transfer', money: ['amount'] },
  payoutIntent:  {
    object: 'v2.money_management.payout_intent', money: ['amount'],
    counts: ['requires_action', 'pending', 'processing', 'posted'], undone: ['canceled'],
  },
} as const satisfies Record<string, Kind>;

/** Reads answers that are an object of this kind. A 402 moved nothing. */
export function valueOf(name: keyof typeof KINDS): Route['value'] {
  return orDeclined((answer, terms) => outValue(KINDS[name], answer, terms));
}

function orDeclined(read: (answer: unknown, terms: PricingTerms) => Valuation | undefined): Route['value'] {
  return (status, answer, terms) => {
    if (status !== 402) return read(answer, terms);
    return isStripeError(answer) ? nothing(null) : undefined;
  };
}

function outValue(kind: Kind, answer: unknown, terms: PricingTerms): Valuation | undefined {
  const object = objectOf(answer);
  const id = idOf(object, '');
  if (object?.['object'] !== kind.object || id === undefined) return undefined;
  const money = moneyIn(kind, object);
  const amount = money && minorOf(money['amount']);
  const undone = isUndone(kind, object);
  if (money === undefined || undone === undefined) return undefined;
  return valuation(money, undone ? 0 : amount, terms, { objectId: id, vendorId: id, out: true }, amount);
}

/** As `{ amount, currency }`, wherever the object has them. */
function moneyIn({ money, signed }: Kind, object: Json): Json | undefined {
  if (money === undefined) {
    const { amount, currency } = object as { amount?: unknown; currency?: unknown };
    return { amount: signed === true && typeof amount === 'number' ? Math.abs(amount) : amount, currency };
  }
  const inner = objectOf(at(object, money));
  return inner && { amount: inner['value'], currency: inner['currency'] };
}

function isUndone({ counts, undone, undoneAt }: Kind, object: Json): boolean | undefined {
  if (undoneAt !== undefined) return (object[undoneAt] ?? null) !== null;
  if (counts === undefined) return false;
  const among = (statuses: readonly string[]) => statuses.some((status) => status === object['status']);
  if (undone !== undefined && among(undone)) return true;
  return among(counts) ? false : undefined;
}

/**
 * V of an invoice: what was paid, and while it is open what Stripe may still charge. A declined payment moved nothing,
 * and what was counted for the invoice stays counted: Stripe may try again.
 */
export const invoiceValue = orDeclined(invoiceV);

function invoiceV(answer: unknown, terms: PricingTerms): Valuation | undefined {
  const invoice = objectOf(answer);
  const id = idOf(invoice, 'in_');
  if (invoice?.['object'] !== 'invoice' || id === undefined) return undefined;
  const paid = minorOf(invoice['amount_paid']);
  const open = sum(paid, minorOf(invoice['amount_remaining']));
  const minor = invoiceMinor(invoice['status'], paid, open);
  return valuation(invoice, minor, terms, { objectId: id, vendorId: id, out: false }, open);
}

function invoiceMinor(status: unknown, paid: number | undefined, open: number | undefined): number | undefined {
  if (status === 'paid' || status === 'void') return paid;
  return status === 'open' || status === 'uncollectible' || status === 'draft' ? open : undefined;
}

/** V of a checkout session: its total, until it expires unpaid. */
export const sessionValue = orDeclined((answer, terms) => {
  const session = objectOf(answer);
  const id = idOf(session, 'cs_');
  if (session?.['object'] !== 'checkout.session' || id === undefined) return undefined;
  const total = minorOf(session['amount_total']);
  const status = session['status'];
  const minor = status === 'expired' ? 0 : status === 'open' || status === 'complete' ? total : undefined;
  return valuation(session, minor, terms, { objectId: id, vendorId: id, out: false }, total);
});

/** The objects beside payments that are looked up: invoices and payout intents. */
export function billLookupValue(answer: unknown, terms: PricingTerms): Valuation | undefined {
  return invoiceV(answer, terms) ?? outValue(KINDS.payoutIntent, answer, terms);
}

/** The currency of any object of Stripe's, so that a missing rate can be named. */
export function anyCurrencyOf(answer: unknown): string | undefined {
  const inner = at(answer, ['amount', 'currency']);
  return currencyOf(answer) ?? (typeof inner === 'string' ? inner : undefined);
}
