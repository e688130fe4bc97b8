/** The most that each Stripe call can cost, told from the request alone (VENDORS 2.1 and 2.3). */
import { Refusal, type RefusalCode } from '../contract';
import { rootOf, valueIfAny, wholeNumber, wholeNumberIfAny } from '../reading';
import { requestedMicros } from './stripe-currency';
import type { FormPairs, Price, PricingTerms, Route, VendorRequest } from './vendor';

/** What a route costs, or a thrown Refusal; {@link priced} turns it into a table's `price`. */
export type PriceOf = (body: FormPairs, ids: Readonly<Record<string, string>>, terms: PricingTerms) => Price;

const FREE: Price = { kind: 'free' };

/** A route that costs nothing whatever its parameters are. */
export const free: Route['price'] = () => ({ ok: true, price: FREE });

/** Makes a table's `price` of a {@link PriceOf}: what is thrown as a Refusal is answered as one. */
export function priced(priceOf: PriceOf): Route['price'] {
  return ({ body }, ids, terms) => {
    try {
      return { ok: true, price: priceOf(body, ids, terms) };
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      return { ok: false, code: error.code, reason: error.message, details: error.details };
    }
  };
}

/** POST /v1/payment_intents: the greater of what it asks for and what it confirms. */
export const createPaymentIntent: PriceOf = (body, _ids, terms) => {
  refuseUnknownCosts(body, ['amount', 'amount_to_confirm', 'amount_details', 'currency']);
  const minor = Math.max(wholeNumber(body, 'amount'), wholeNumberIfAny(body, 'amount_to_confirm') ?? 0);
  return { kind: 'fixed', micros: requestedMicros(minor, currencyIn(body), terms, 'amount'), out: false };
};

/** Of an update: what neither changes the amount nor lets a declined PaymentIntent be confirmed as it stands. */
const HARMLESS_IN_UPDATE = new Set([
  'customer',
  'customer_account',
  'description',
  'expand',
  'metadata',
  'receipt_email',
  'shipping',
  'statement_descriptor',
  'statement_descriptor_suffix',
  'transfer_group',
]);

/**
 * POST /v1/payment_intents/:id: may raise the amount, and change its currency. A new payment method re-arms a declined
 * PaymentIntent, whose money was given back, so that is held again.
 */
export const updatePaymentIntent: PriceOf = (body, ids, terms) => {
  refuseUnknownCosts(body, ['amount', 'amount_details', 'currency']);
  const objectId = idIn(ids);
  const minor = wholeNumberIfAny(body, 'amount');
  const currency = valueIfAny(body, 'currency');
  if (minor !== undefined) {
    const total = currency === undefined ? { minor } : { micros: requestedMicros(minor, currency, terms, 'amount') };
    return { kind: 'object', objectId, total, takesOver: false };
  }
  if (currency !== undefined) throw unpriceable('amount', 'A new currency needs its "amount" in the same update.');
  if (body.every(([name]) => HARMLESS_IN_UPDATE.has(rootOf(name)))) return { kind: 'free', objectId };
  return { kind: 'object', objectId, total: null, takesOver: false };
};

/** POST …/confirm: `amount_to_confirm` may differ from the amount (API 2026-04-22.dahlia and later). */
export const confirmPaymentIntent: PriceOf = (body, ids) => {
  refuseUnknownCosts(body, ['amount_to_confirm', 'amount_details']);
  return takeOver(idIn(ids), wholeNumberIfAny(body, 'amount_to_confirm'));
};

/**
 * POST …/capture: may exceed the authorised amount (overcapture). Only final captures: of several, each amount is a
 * part, and the total could not be told from the request.
 */
export const capturePaymentIntent: PriceOf = (body, ids) => {
  refuseUnknownCosts(body, ['amount_to_capture', 'amount_details']);
  if ((valueIfAny(body, 'final_capture') ?? 'true') !== 'true') {
    throw refused('parameter_not_allowed', 'final_capture', 'One PaymentIntent is captured once: final_capture=true.');
  }
  return takeOver(idIn(ids), wholeNumberIfAny(body, 'amount_to_capture'));
};

/** POST …/increment_authorization: `amount` is the new total, not what is added. */
export const incrementAuthorization: PriceOf = (body, ids) => {
  refuseUnknownCosts(body, ['amount', 'amount_details']);
  return { kind: 'object', objectId: idIn(ids), total: { minor: wholeNumber(body, 'amount') }, takesOver: false };
};

/** POST …/cancel: lowers spend. Its answer revalues the PaymentIntent. */
export const cancelPaymentIntent: PriceOf = (_body, ids) => ({ kind: 'free', objectId: idIn(ids) });

/** POST /v1/charges (legacy). */
export const createCharge: PriceOf = (body, _ids, terms) => {
  refuseUnknownCosts(body, ['amount', 'currency']);
  const minor = wholeNumber(body, 'amount');
  return { kind: 'fixed', micros: requestedMicros(minor, currencyIn(body), terms, 'amount'), out: false };
};

/** POST /v1/charges/:id/capture: the amount field is `amount` here. */
export const captureCharge: PriceOf = (body, ids) => {
  refuseUnknownCosts(body, ['amount']);
  return takeOver(idIn(ids), wholeNumberIfAny(body, 'amount'));
};

/** POST /v1/refunds: names its payment by exactly one of `payment_intent` and `charge`; no amount means the rest. */
export const createRefund: PriceOf = (body) => {
  const paymentIntentId = valueIfAny(body, 'payment_intent');
  const chargeId = valueIfAny(body, 'charge');
  if ((paymentIntentId === undefined) === (chargeId === undefined)) {
    throw unpriceable('payment_intent', 'A refund names exactly one of "payment_intent" and "charge".');
  }
  if (paymentIntentId !== undefined) return refundOf(body, 'payment_intent', paymentIntentId, PAYMENT_INTENT_ID);
  return refundOf(body, 'charge', chargeId ?? '', CHARGE_ID);
};

/** POST /v1/charges/:id/refunds. */
export const createChargeRefund: PriceOf = (body, ids) => {
  for (const field of ['payment_intent', 'charge']) {
    if (valueIfAny(body, field) !== undefined) throw unpriceable(field, 'The charge is the one in the path.');
  }
  return refundOf(body, 'charge', idIn(ids), CHARGE_ID);
};

/** The two prefixes that the look-up tells apart, and nothing that could leave its path segment. */
const PAYMENT_INTENT_ID = /^pi_[A-Za-z0-9_]{1,250}$/;
const CHARGE_ID = /^(?:ch|py)_[A-Za-z0-9_]{1,250}$/;

function refundOf(body: FormPairs, field: string, objectId: string, pattern: RegExp): Price {
  refuseUnknownCosts(body, ['amount']);
  if (!pattern.test(objectId)) throw unpriceable(field, `Field "${field}" is not the id of one.`);
  // A refund of a customer's cash balance has no payment that it is bounded by.
  if (valueIfAny(body, 'origin') !== undefined) {
    throw refused('parameter_not_allowed', 'origin', 'Only payments are refunded, not cash balances.');
  }
  return { kind: 'refund', objectId, minor: wholeNumberIfAny(body, 'amount') ?? null };
}

/** POST /v1/customers: free, but a credit balance is money, and old API versions start a subscription by `plan`. */
export const createCustomer: PriceOf = (body) => {
  refuseRoots(body, new Set(['balance', 'account_balance', 'plan', 'coupon']), 'It gives credit or starts a plan.');
  return FREE;
};

/**
 * POST /v1/customers/:id: as create. A new `source` makes Stripe charge the latest open invoice of a past-due
 * subscription at once (docs.stripe.com/api/customers/update), which no hold would cover.
 */
export const updateCustomer: PriceOf = (body, ids, terms) => {
  refuseRoots(body, new Set(['source', 'card']), 'A new source can charge an open invoice; attach a payment method.');
  return createCustomer(body, ids, terms);
};

function takeOver(objectId: string, minor: number | undefined): Price {
  return { kind: 'object', objectId, total: minor === undefined ? null : { minor }, takesOver: true };
}

function idIn(ids: Readonly<Record<string, string>>): string {
  return ids['id'] ?? '';
}

function currencyIn(body: FormPairs): string {
  const currency = valueIfAny(body, 'currency');
  if (currency === undefined) throw unpriceable('currency', 'Field "currency" is missing.');
  return currency;
}

const COST_WORDS =
  /(?:^|_)(?:amounts?|currency|prices?|quantity|(?:sub)?total|tips?|fees?|costs?|surcharge|line_items)(?:_|$)/i;

/** A field that sounds like money and is not known on this route may be one that a later API version charges by. */
function refuseUnknownCosts(body: FormPairs, known: readonly string[]): void {
  for (const [name] of body) {
    const root = rootOf(name);
    if (!known.includes(root) && COST_WORDS.test(root)) {
      throw unpriceable(root, `Field "${root}" is not known here, and may change what the call costs.`);
    }
  }
}

function refuseRoots(body: FormPairs, roots: ReadonlySet<string>, why: string): void {
  const found = body.find(([name]) => roots.has(rootOf(name)));
  if (found !== undefined) throw refused('parameter_not_allowed', rootOf(found[0]), why);
}

function unpriceable(field: string, message: string): Refusal {
  return refused('request_unpriceable', field, message);
}

function refused(code: RefusalCode, field: string, message: string): Refusal {
  return new Refusal(code, message, { field });
}

/** Moves money to, or takes it from, somebody other than the account and its customer. */
const REDIRECTING_FIELDS = new Set([
  'application_fee',
  'application_fee_amount',
  'application_fee_percent',
  'destination',
  'on_behalf_of',
  'refund_application_fee',
  'reverse_transfer',
  'transfer_data',
]);

/**
 * A header or field that would move money elsewhere: another account's headers are `account_not_allowed`, Connect's
 * fields `parameter_not_allowed`. `transfer_group` is only a label. Source: docs.stripe.com/connect/charges.
 */
export function redirection(request: VendorRequest): { code: RefusalCode; reason: string; field: string } | undefined {
  for (const [header, field] of ACCOUNT_HEADERS) {
    if (request.headers[header] === undefined) continue;
    return { code: 'account_not_allowed', reason: `Header ${field} names another account than the key's.`, field };
  }
  const found = request.body.find(([name]) => REDIRECTING_FIELDS.has(rootOf(name)));
  if (found === undefined) return undefined;
  const field = rootOf(found[0]);
  return { code: 'parameter_not_allowed', reason: `Field "${field}" would move money to another account.`, field };
}

const ACCOUNT_HEADERS = [
  ['stripe-account', 'Stripe-Account'],
  ['stripe-context', 'Stripe-Context'],
] as const;
