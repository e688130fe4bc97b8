/** What Stripe's answers say about money: V of VENDORS 2.2. Read from any answer that holds the object. */
import { isStripeError } from './stripe-error';
import { toMicros } from './stripe-currency';
import { noMoney, type PricingTerms, type Valuation } from './vendor';

export type Json = Readonly<Record<string, unknown>>;

/** For routes whose answer says nothing about money. Never undefined: nothing can be unclear about nothing. */
export function noValue(_status: number, answer: unknown): Valuation {
  return nothing(objectOf(answer)?.['id']);
}

/**
 * V of the PaymentIntent in an answer, in micro-dollars. A 402 carries it in `error.payment_intent`; a 402 without one
 * moved nothing. Undefined when anything needed is missing, odd or of an unknown status.
 */
export function paymentIntentValue(status: number, answer: unknown, terms: PricingTerms): Valuation | undefined {
  if (status !== 402) return paymentIntent(answer, terms, false);
  if (!isStripeError(answer)) return undefined;
  const declined = answer.error['payment_intent'] ?? undefined;
  return declined === undefined ? nothing(null) : paymentIntent(declined, terms, true);
}

/** V of a legacy charge. A 402 moved nothing; the failed charge is named in `error.charge`. */
export function chargeValue(status: number, answer: unknown, terms: PricingTerms): Valuation | undefined {
  if (status !== 402) return charge(answer, terms);
  return isStripeError(answer) ? nothing(answer.error['charge']) : undefined;
}

/** What a refund pays out. A 402 moved nothing; failed and canceled refunds come back to the balance. */
export function refundValue(status: number, answer: unknown, terms: PricingTerms): Valuation | undefined {
  if (status !== 402) return refund(answer, terms);
  return isStripeError(answer) ? nothing(null) : undefined;
}

/** V of the payment that a look-up answered with, by its `object`. Undefined for anything else. */
export function lookupValue(answer: unknown, terms: PricingTerms): Valuation | undefined {
  return paymentIntent(answer, terms, false) ?? charge(answer, terms);
}

/** The currency code in a PaymentIntent, charge or refund. */
export function currencyOf(answer: unknown): string | undefined {
  const currency = objectOf(answer)?.['currency'];
  return typeof currency === 'string' ? currency : undefined;
}

function paymentIntent(answer: unknown, terms: PricingTerms, declined: boolean): Valuation | undefined {
  const pi = objectOf(answer);
  const id = idOf(pi, 'pi_');
  if (pi?.['object'] !== 'payment_intent' || id === undefined) return undefined;
  const minor = paymentIntentMinor(pi, declined || objectOf(pi['last_payment_error']) !== undefined);
  const final = pi['status'] === 'succeeded' || pi['status'] === 'canceled' || undefined;
  return valuation(pi, minor, terms, { objectId: id, vendorId: id, out: false, final });
}

/**
 * Minor units of V. A declined PaymentIntent is worth nothing until it is confirmed again: the confirm reserves it
 * anew. `declined` holds in a 402 and, later, as long as the PaymentIntent still shows its last error.
 */
function paymentIntentMinor(pi: Json, declined: boolean): number | undefined {
  switch (pi['status']) {
    case 'requires_payment_method':
      return declined ? 0 : minorOf(pi['amount']);
    case 'requires_confirmation':
    case 'requires_action':
    case 'processing':
      return minorOf(pi['amount']);
    case 'requires_capture':
      return sum(minorOf(pi['amount_capturable']), minorOf(pi['amount_received']));
    case 'succeeded':
    case 'canceled':
      return minorOf(pi['amount_received']);
    default:
      return undefined;
  }
}

/** A charge of a PaymentIntent is an alias of it, never a second amount. */
function charge(answer: unknown, terms: PricingTerms): Valuation | undefined {
  const ch = objectOf(answer);
  const id = idOf(ch, 'ch_', 'py_');
  if (ch?.['object'] !== 'charge' || id === undefined) return undefined;
  const owner = ch['payment_intent'] ?? undefined;
  const ownerId = typeof owner === 'string' ? idOf({ id: owner }, 'pi_') : idOf(objectOf(owner), 'pi_');
  if (owner !== undefined && ownerId === undefined) return undefined;
  const final = ch['captured'] === true || undefined;
  return valuation(ch, chargeMinor(ch), terms, { objectId: ownerId ?? id, vendorId: id, out: false, final });
}

function chargeMinor(ch: Json): number | undefined {
  if (ch['status'] === 'failed') return 0;
  if (ch['status'] !== 'succeeded' && ch['status'] !== 'pending') return undefined;
  if (typeof ch['captured'] !== 'boolean') return undefined;
  // Charges had no amount_captured before 2020; a capture never took more than the amount then.
  return minorOf(ch['captured'] ? (ch['amount_captured'] ?? ch['amount']) : ch['amount']);
}

/** A status of null is what Stripe gives for refunds whose method reports none: the money is counted as gone. */
const REFUND_STATUSES: ReadonlySet<unknown> = new Set(['pending', 'requires_action', 'succeeded', null]);

function refund(answer: unknown, terms: PricingTerms): Valuation | undefined {
  const re = objectOf(answer);
  const id = idOf(re, 're_', 'pyr_');
  if (re?.['object'] !== 'refund' || id === undefined) return undefined;
  const undone = re['status'] === 'failed' || re['status'] === 'canceled';
  const minor = undone ? 0 : REFUND_STATUSES.has(re['status']) ? minorOf(re['amount']) : undefined;
  return valuation(re, minor, terms, { objectId: id, vendorId: id, out: true });
}

export function valuation(
  object: Json,
  minor: number | undefined,
  terms: PricingTerms,
  named: Pick<Valuation, 'objectId' | 'vendorId' | 'out' | 'final'>,
  amount: number | undefined = minorOf(object['amount']),
): Valuation | undefined {
  const currency = currencyOf(object)?.toLowerCase();
  if (minor === undefined || amount === undefined || currency === undefined) return undefined;
  const valueMicros = toMicros(minor, currency, terms);
  const amountMicros = toMicros(amount, currency, terms);
  if (valueMicros === undefined || amountMicros === undefined) return undefined;
  const { objectId, vendorId, out, final } = named;
  return { objectId, valueMicros, amountMicros, currency, out, vendorId, final };
}

/** Clients choose the ids of products and coupons, as long as they like; a longer one is not looked up by. */
const ID_CHARS_MAX = 255;

export function nothing(id: unknown): Valuation {
  return noMoney(typeof id === 'string' && id.length <= ID_CHARS_MAX ? id : null);
}

export function objectOf(value: unknown): Json | undefined {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Json) : undefined;
}

const PLAIN_ID = /^[A-Za-z0-9_]{1,255}$/;

export function idOf(object: Json | undefined, ...prefixes: readonly string[]): string | undefined {
  const id = object?.['id'];
  if (typeof id !== 'string' || !PLAIN_ID.test(id)) return undefined;
  return prefixes.some((prefix) => id.startsWith(prefix)) ? id : undefined;
}

export function minorOf(value: unknown): number | undefined {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0 ? value : undefined;
}

export function sum(a: number | undefined, b: number | undefined): number | undefined {
  return a === undefined || b === undefined ? undefined : a + b;
}
