/**
 * Stripe's routes. Each mutating one is priced, or free by name; what is not here is refused as `endpoint_unpriced`.
 * Facts: VENDORS.md sections 2.2 and 2.3, read in stripe-node 23.1 and OpenAPI 2026-10-28.
 */
import { free, pricing } from './pricing';
import * as bill from './stripe-price-bill';
import * as out from './stripe-price-out';
import * as pay from './stripe-price';
import type { PriceOf } from './stripe-fields';
import { stripeFinder } from './stripe-find';
import { chargeValue, noValue, paymentIntentValue, refundValue } from './stripe-value';
import { invoiceValue, sessionValue, valueOf } from './stripe-value-out';
import type { Route } from './vendor';

// prettier-ignore
export const stripeRoutes: readonly Route[] = [
  post('/v1/payment_intents',                             pay.createPaymentIntent,    paymentIntentValue),
  post('/v1/payment_intents/:id',                         pay.updatePaymentIntent,    paymentIntentValue),
  post('/v1/payment_intents/:id/confirm',                 pay.confirmPaymentIntent,   paymentIntentValue),
  post('/v1/payment_intents/:id/capture',                 pay.capturePaymentIntent,   paymentIntentValue),
  post('/v1/payment_intents/:id/increment_authorization', pay.incrementAuthorization, paymentIntentValue),
  post('/v1/payment_intents/:id/apply_customer_balance',  pay.movePaymentIntent,      paymentIntentValue),
  post('/v1/payment_intents/:id/verify_microdeposits',    pay.movePaymentIntent,      paymentIntentValue),
  post('/v1/payment_intents/:id/cancel',                  pay.lower,                  paymentIntentValue),
  ...reads('/v1/payment_intents'),
  get('/v1/payment_intents/search'),

  post('/v1/charges',             pay.createCharge,  chargeValue),
  post('/v1/charges/:id/capture', pay.captureCharge, chargeValue),
  // An old failed charge says nothing about what its PaymentIntent costs now, so an update revalues nothing.
  freePost('/v1/charges/:id'),
  ...reads('/v1/charges'),
  get('/v1/charges/search'),

  // `/v1/charges/:id/refund` answers with the charge, which does not say what this refund paid out: unpriced. So is
  // `/v1/terminal/refunds`: in Stripe's OpenAPI it takes no amount, and answers with an object of its own.
  post('/v1/refunds',             pay.createRefund,       refundValue),
  post('/v1/charges/:id/refunds', pay.createChargeRefund, refundValue),
  post('/v1/refunds/:id/cancel',  pay.lower,              refundValue),
  freePost('/v1/refunds/:id'),
  ...reads('/v1/refunds'),
  get('/v1/charges/:id/refunds'),
  get('/v1/charges/:id/refunds/:refund'),

  // The allowlist entry is the key's word that money may go to another account: this is all that the route is for.
  { ...post('/v1/transfers', out.payOut, valueOf('transfer')), redirects: ['destination'] },
  // A reversal brings money back, and gives nothing back to the budgets: else transfer and reversal were a free loop.
  freePost('/v1/transfers/:id/reversals'),
  freePost('/v1/transfers/:id'),
  ...reads('/v1/transfers'),
  { ...post('/v1/payouts', out.payOut, valueOf('payout')), redirects: ['destination'] },
  post('/v1/payouts/:id/cancel', pay.lower, valueOf('payout')),
  freePost('/v1/payouts/:id'),
  ...reads('/v1/payouts'),
  post('/v1/topups',            out.payOut,  valueOf('topup')),
  post('/v1/topups/:id/cancel', pay.lower, valueOf('topup')),
  freePost('/v1/topups/:id'),
  ...reads('/v1/topups'),

  post('/v1/invoices/:id/pay',      bill.payInvoice,      invoiceValue),
  post('/v1/invoices/:id/finalize', bill.finalizeInvoice, invoiceValue),
  post('/v1/invoices/:id/void',     pay.lower,          invoiceValue),
  ...reads('/v1/invoices'),
  post('/v1/checkout/sessions',            bill.createCheckoutSession, sessionValue),
  post('/v1/checkout/sessions/:id/expire', pay.lower,                sessionValue),
  ...reads('/v1/checkout/sessions'),
  post('/v1/credit_notes',          bill.createCreditNote, valueOf('creditNote')),
  post('/v1/credit_notes/:id/void', pay.lower,           valueOf('creditNote')),
  ...reads('/v1/credit_notes'),
  post('/v1/customers/:id/balance_transactions', out.adjustBalance, valueOf('balance')),
  get('/v1/customers/:id/balance_transactions'),
  post('/v1/billing/credit_grants',          out.grantCredit, valueOf('creditGrant')),
  post('/v1/billing/credit_grants/:id/void', pay.lower,     valueOf('creditGrant')),
  // What an expired grant has paid for is not told, so nothing of it is given back.
  freePost('/v1/billing/credit_grants/:id/expire'),
  ...reads('/v1/billing/credit_grants'),

  post('/v1/treasury/outbound_payments',             out.payOut,  valueOf('treasuryPayment')),
  post('/v1/treasury/outbound_payments/:id/cancel',  pay.lower, valueOf('treasuryPayment')),
  ...reads('/v1/treasury/outbound_payments'),
  post('/v1/treasury/outbound_transfers',            out.payOut,  valueOf('treasuryTransfer')),
  post('/v1/treasury/outbound_transfers/:id/cancel', pay.lower, valueOf('treasuryTransfer')),
  ...reads('/v1/treasury/outbound_transfers'),
  post('/v1/treasury/inbound_transfers',             out.payOut,  valueOf('treasuryInbound')),
  post('/v1/treasury/inbound_transfers/:id/cancel',  pay.lower, valueOf('treasuryInbound')),
  ...reads('/v1/treasury/inbound_transfers'),

  json('/v2/money_management/outbound_payments',            out.payOutV2, valueOf('payment')),
  json('/v2/money_management/outbound_payments/:id/cancel', pay.lower,  valueOf('payment')),
  ...reads('/v2/money_management/outbound_payments'),
  json('/v2/money_management/inbound_transfers',            out.payOutV2, valueOf('inbound')),
  ...reads('/v2/money_management/inbound_transfers'),
  json('/v2/money_management/payout_intents',             out.payOutV2,            valueOf('payoutIntent')),
  json('/v2/money_management/payout_intents/:id/confirm', out.confirmPayoutIntent, valueOf('payoutIntent')),
  json('/v2/money_management/payout_intents/:id/cancel',  pay.lower,             valueOf('payoutIntent')),
  ...reads('/v2/money_management/payout_intents'),

  post('/v1/customers',     pay.createCustomer, noValue),
  post('/v1/customers/:id', pay.updateCustomer, noValue),
  ...reads('/v1/customers'),
  get('/v1/customers/search'),
  freePost('/v1/customers/:id/tax_ids'),
  ...frees('/v1/payment_methods'),
  freePost('/v1/payment_methods/:id/attach'),
  freePost('/v1/payment_methods/:id/detach'),
  ...frees('/v1/setup_intents'),
  freePost('/v1/setup_intents/:id/confirm'),
  freePost('/v1/setup_intents/:id/cancel'),
  freePost('/v1/setup_intents/:id/verify_microdeposits'),
  ...frees('/v1/products'),
  ...frees('/v1/prices'),
  ...frees('/v1/coupons'),
  ...frees('/v1/promotion_codes'),
  freePost('/v1/tax_ids'),
  ...reads('/v1/tax_ids'),

  get('/v1/balance'),
  ...reads('/v1/balance_transactions'),
  ...reads('/v1/events'),
];

function post(path: string, priceOf: PriceOf, value: Route['value'], body: Route['body'] = 'form'): Route {
  const price = pricing((request, ids, terms) => ({ price: priceOf(request.body, ids, terms) }));
  const find = stripeFinder(path);
  return { name: `POST ${path}`, method: 'POST', path, body, idempotent: true, price, value, ...(find && { find }) };
}

function json(path: string, priceOf: PriceOf, value: Route['value']): Route {
  return post(path, priceOf, value, 'json');
}

function freePost(path: string): Route {
  return { name: `POST ${path}`, method: 'POST', path, body: 'form', idempotent: true, price: free, value: noValue };
}

/** Reads are not serialised with mutations, so what they show may be old: they revalue nothing. */
function get(path: string): Route {
  return { name: `GET ${path}`, method: 'GET', path, body: 'form', idempotent: true, price: free, value: noValue };
}

/** A list and one of it. */
function reads(path: string): readonly Route[] {
  return [get(path), get(`${path}/:id`)];
}

/** What can be made, changed and read at no cost. */
function frees(path: string): readonly Route[] {
  return [freePost(path), freePost(`${path}/:id`), ...reads(path)];
}
