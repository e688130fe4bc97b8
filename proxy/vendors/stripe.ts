/** Stripe as a table. Facts: VENDORS.md sections 2 and 8, read in stripe-node 23.1 and OpenAPI 2026-10-28. */
import { currencyOf, chargeValue, lookupValue, noValue, paymentIntentValue, refundValue } from './stripe-value';
import { toMicros } from './stripe-currency';
import { errorCode, isStripeError, refusalBody, refusalStatus } from './stripe-error';
import * as price from './stripe-price';
import { free, type PriceOf, priced, redirection } from './stripe-price';
import type { Route, Vendor } from './vendor';

// prettier-ignore
const routes: readonly Route[] = [
  post('/v1/payment_intents',                             price.createPaymentIntent,    paymentIntentValue),
  post('/v1/payment_intents/:id',                         price.updatePaymentIntent,    paymentIntentValue),
  post('/v1/payment_intents/:id/confirm',                 price.confirmPaymentIntent,   paymentIntentValue),
  post('/v1/payment_intents/:id/capture',                 price.capturePaymentIntent,   paymentIntentValue),
  post('/v1/payment_intents/:id/increment_authorization', price.incrementAuthorization, paymentIntentValue),
  post('/v1/payment_intents/:id/cancel',                  price.cancelPaymentIntent,    paymentIntentValue),
  get('/v1/payment_intents'),
  get('/v1/payment_intents/search'),
  get('/v1/payment_intents/:id'),

  post('/v1/charges',             price.createCharge,  chargeValue),
  post('/v1/charges/:id/capture', price.captureCharge, chargeValue),
  // An old failed charge says nothing about what its PaymentIntent costs now, so an update revalues nothing.
  freePost('/v1/charges/:id'),
  get('/v1/charges'),
  get('/v1/charges/search'),
  get('/v1/charges/:id'),

  // `/v1/charges/:id/refund` answers with the charge, which does not say what this refund paid out: unpriced.
  post('/v1/refunds',             price.createRefund,       refundValue),
  post('/v1/charges/:id/refunds', price.createChargeRefund, refundValue),
  get('/v1/refunds'),
  get('/v1/refunds/:id'),
  get('/v1/charges/:id/refunds'),
  get('/v1/charges/:id/refunds/:refund'),

  post('/v1/customers',     price.createCustomer, noValue),
  post('/v1/customers/:id', price.updateCustomer, noValue),
  get('/v1/customers'),
  get('/v1/customers/search'),
  get('/v1/customers/:id'),

  freePost('/v1/payment_methods/:id/attach'),
  get('/v1/payment_methods'),
  get('/v1/payment_methods/:id'),

  get('/v1/balance'),
  get('/v1/events'),
  get('/v1/events/:id'),
];

function post(path: string, priceOf: PriceOf, value: Route['value']): Route {
  return { name: `POST ${path}`, method: 'POST', path, price: priced(priceOf), value };
}

function freePost(path: string): Route {
  return { name: `POST ${path}`, method: 'POST', path, price: free, value: noValue };
}

/** Reads are not serialised with mutations, so what they show may be old: they revalue nothing. */
function get(path: string): Route {
  return { name: `GET ${path}`, method: 'GET', path, price: free, value: noValue };
}

/** Answers with a secret, or rules the account (VENDORS 8). Also below, whatever follows the name. */
const FORBIDDEN = [
  '(?:v1|v2)/(?:core/)?accounts',
  'v1/account_links',
  'v1/account_sessions',
  'v1/apps/secrets',
  'v1/customer_sessions',
  'v1/ephemeral_keys',
  'v1/financial_connections/sessions',
  'v1/identity/verification_sessions',
  'v1/issuing/cards',
  'v1/link_account_sessions',
  'v1/terminal/connection_tokens',
  'v1/webhook_endpoints',
  '(?:v1|v2)/(?:core/)?event_destinations',
  'v2/iam',
  'oauth',
];

/** Stripe's API v1. An identical request with the same idempotency key is executed once (docs.stripe.com, 24 h). */
export const stripe: Vendor = {
  id: 'stripe',
  origin: 'https://api.stripe.com',
  idempotent: true,
  routes,
  forbidden: [{ method: '*', pattern: new RegExp(`^/(?:${FORBIDDEN.join('|')})(?:/|$)`, 'i') }],
  passHeaders: ['idempotency-key', 'stripe-version', 'user-agent', 'x-stripe-client-user-agent'],
  redirection,
  lookupPath: (objectId) => `/v1/${/^(?:ch|py)_/.test(objectId) ? 'charges' : 'payment_intents'}/${objectId}`,
  lookupValue,
  currencyOf,
  toMicros,
  isVendorError: isStripeError,
  errorCode,
  refusalBody,
  refusalStatus,
};
