/** The most that each Stripe call can cost, told from the request alone (VENDORS 2.1 and 2.3). */
import { rootOf, valueIfAny, wholeNumber, wholeNumberIfAny } from '../form';
import { FREE } from './pricing';
import { requestedMicros } from './stripe-currency';
import {
  currencyIn,
  idIn,
  type PriceOf,
  refused,
  refuseOthers,
  refuseRoots,
  refuseUnknownCosts,
  takeOver,
  unpriceable,
} from './stripe-fields';
import type { FormPairs, Price } from './vendor';

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
 * POST /v1/payment_intents/:id: may raise the amount. A new payment method re-arms a declined PaymentIntent, whose money
 * was given back, so that is held again. The currency stays: were the answer to a change of it lost, the ledger would
 * read later amounts, and a confirm without one, in the old currency.
 */
export const updatePaymentIntent: PriceOf = (body, ids) => {
  refuseRoots(body, new Set(['currency']), 'The currency stays what it was at the start: make a new PaymentIntent.');
  refuseUnknownCosts(body, ['amount', 'amount_details']);
  const objectId = idIn(ids);
  const minor = wholeNumberIfAny(body, 'amount');
  if (minor !== undefined) return { kind: 'object', objectId, total: { minor }, takesOver: false };
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

/** POST …/apply_customer_balance and …/verify_microdeposits: what the PaymentIntent asks for may move now. */
export const movePaymentIntent: PriceOf = (body, ids) => {
  refuseUnknownCosts(body, ['amounts', 'descriptor_code']);
  return takeOver(idIn(ids), undefined);
};

/** Cancels, voids and expires: lowers spend. Its answer revalues the object. */
export const lower: PriceOf = (_body, ids) => ({ kind: 'free', objectId: idIn(ids) });

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

/** What a customer is; the fields that Stripe's other clients and older API versions add to them can cost money. */
// prettier-ignore
const CUSTOMER_FIELDS = new Set([
  'address', 'business_name', 'cash_balance', 'default_card', 'default_source', 'description', 'email', 'expand',
  'individual_name', 'invoice_prefix', 'invoice_settings', 'metadata', 'name', 'next_invoice_sequence', 'payment_method',
  'phone', 'preferred_locales', 'shipping', 'tax', 'tax_exempt', 'tax_id_data', 'test_clock', 'validate',
]);
const CREDIT_FIELDS = new Set([
  'account_balance',
  'balance',
  'coupon',
  'plan',
  'promotion_code',
  'quantity',
  'trial_end',
]);
const SOURCE_FIELDS = ['bank_account', 'card', 'source'];

/**
 * POST /v1/customers: free, but a credit balance is money, old API versions start a subscription by `plan`, and the end
 * of a trial sends its invoice.
 */
export const createCustomer: PriceOf = (body) => {
  refuseRoots(body, CREDIT_FIELDS, 'It gives credit, or starts or ends what is billed.');
  refuseOthers(body, new Set([...CUSTOMER_FIELDS, ...SOURCE_FIELDS]));
  return FREE;
};

/**
 * POST /v1/customers/:id: as create. A new `source` makes Stripe charge the latest open invoice of a past-due
 * subscription at once (docs.stripe.com/api/customers/update), which no hold would cover.
 */
export const updateCustomer: PriceOf = (body, ids, terms) => {
  refuseRoots(body, new Set(SOURCE_FIELDS), 'A new source can charge an open invoice; attach a payment method.');
  return createCustomer(body, ids, terms);
};
