/** The most that Stripe's invoices, credit notes and checkout sessions can cost (VENDORS 2.3). */
import { rootOf, valueIfAny, wholeNumberIfAny } from '../form';
import { MICROS_MAX, requestedMicros } from './stripe-currency';
import {
  idIn,
  type PriceOf,
  refuseOthers,
  refuseUnknownCosts,
  takeOver,
  unpriceable,
  wholeText,
} from './stripe-fields';
import type { FormPairs, PricingTerms } from './vendor';

const INVOICE_ID = /^in_[A-Za-z0-9_]{1,250}$/;

/** POST /v1/invoices/:id/pay: what is left of it, which only the invoice tells. Out of band, Stripe moves nothing. */
export const payInvoice: PriceOf = (body, ids) => {
  refuseUnknownCosts(body, []);
  const objectId = invoiceIn(idIn(ids));
  const outOfBand = valueIfAny(body, 'paid_out_of_band') ?? 'false';
  return outOfBand === 'true' ? { kind: 'free', objectId } : takeOver(objectId, undefined);
};

/** POST /v1/invoices/:id/finalize: what it asks for is charged at once, or by Stripe later. */
export const finalizeInvoice: PriceOf = (body, ids) => {
  refuseUnknownCosts(body, []);
  return { kind: 'object', objectId: invoiceIn(idIn(ids)), total: null, takesOver: false };
};

function invoiceIn(objectId: string): string {
  if (!INVOICE_ID.test(objectId)) throw unpriceable('invoice', 'That is not the id of an invoice (in_…).');
  return objectId;
}

const CREDIT_NOTE_FIELDS = new Set([
  'invoice',
  'amount',
  'refund_amount',
  'credit_amount',
  'out_of_band_amount',
  'effective_at',
  'email_type',
  'expand',
  'memo',
  'metadata',
  'reason',
]);

/** POST /v1/credit_notes: what it refunds and credits, in the currency of its invoice. Lines are not summed here. */
export const createCreditNote: PriceOf = (body) => {
  refuseOthers(body, CREDIT_NOTE_FIELDS);
  const part = (field: string) => zeroOrWhole(body, field);
  const parts = part('refund_amount') + part('credit_amount') + part('out_of_band_amount');
  const minor = Math.max(parts, part('amount'));
  if (minor === 0) throw unpriceable('amount', 'Give "amount", or what is refunded and credited, not lines.');
  return { kind: 'refund', objectId: invoiceIn(valueIfAny(body, 'invoice') ?? ''), minor };
};

function zeroOrWhole(body: FormPairs, field: string): number {
  return valueIfAny(body, field) === '0' ? 0 : (wholeNumberIfAny(body, field) ?? 0);
}

/** Nothing here adds to the price: shipping, tax, optional items, recovery and subscriptions are left out. */
const SESSION_FIELDS = new Set([
  'mode',
  'line_items',
  'currency',
  'payment_intent_data',
  'allow_promotion_codes',
  'billing_address_collection',
  'branding_settings',
  'cancel_url',
  'client_reference_id',
  'consent_collection',
  'custom_fields',
  'custom_text',
  'customer',
  'customer_account',
  'customer_creation',
  'customer_email',
  'customer_update',
  'discounts',
  'excluded_payment_method_types',
  'expand',
  'expires_at',
  'locale',
  'metadata',
  'name_collection',
  'origin_context',
  'payment_method_configuration',
  'payment_method_data',
  'payment_method_options',
  'payment_method_types',
  'phone_number_collection',
  'redirect_on_completion',
  'return_url',
  'saved_payment_method_options',
  'shipping_address_collection',
  'submit_type',
  'success_url',
  'ui_mode',
  'wallet_options',
]);
const PAYMENT_PART =
  /^payment_intent_data\[(?:capture_method|description|metadata|receipt_email|setup_future_usage|shipping|statement_descriptor|statement_descriptor_suffix|transfer_group)\]/;
const LINE_PART =
  /^line_items\[(0|[1-9]\d?)\]\[(quantity|metadata\]\[.*|price_data\]\[(?:currency|product|unit_amount|tax_behavior|product_data\]\[.*))\]$/;

/** POST /v1/checkout/sessions: a payment whose every line has its price and quantity in the request. */
export const createCheckoutSession: PriceOf = (body, _ids, terms) => {
  refuseOthers(body, SESSION_FIELDS);
  if (valueIfAny(body, 'mode') !== 'payment') throw unpriceable('mode', 'Only mode=payment has a known price.');
  const odd = body.find(([name]) => rootOf(name) === 'payment_intent_data' && !PAYMENT_PART.test(name));
  if (odd !== undefined) throw unpriceable('payment_intent_data', `"${odd[0].slice(0, 80)}" is not known here.`);
  const lines = new Map<string, Map<string, string>>();
  for (const [name, value] of body) {
    if (rootOf(name) !== 'line_items') continue;
    const [, index, part] = LINE_PART.exec(name) ?? [];
    if (index === undefined || part === undefined) throw lineRefusal(name);
    lines.set(index, (lines.get(index) ?? new Map<string, string>()).set(part, value));
  }
  if (lines.size === 0) throw unpriceable('line_items', 'Field "line_items" is missing.');
  const micros = [...lines.values()].reduce((sum, line) => sum + lineMicros(line, terms), 0);
  if (micros > MICROS_MAX) throw unpriceable('line_items', 'The lines are more than any cap can hold.');
  return { kind: 'fixed', micros, out: false };
};

function lineMicros(line: ReadonlyMap<string, string>, terms: PricingTerms): number {
  const quantity = wholeText(line.get('quantity') ?? '', 'line_items');
  const unit = wholeText(line.get('price_data][unit_amount') ?? '', 'line_items');
  const minor = unit * quantity;
  if (!Number.isSafeInteger(minor)) throw unpriceable('line_items', 'A line is more than any cap can hold.');
  return requestedMicros(minor, line.get('price_data][currency') ?? '', terms, 'line_items');
}

function lineRefusal(name: string): Error {
  const text = `"${name.slice(0, 80)}" has no price here: give each line price_data[unit_amount], its currency and quantity.`;
  return unpriceable('line_items', text);
}
