/** Stripe. Facts: VENDORS.md sections 2 and 8, read in stripe-node 23.1 and OpenAPI 2026-10-28. */
import { toMicros } from './stripe-currency';
import { errorCode, isRateLimit, isStripeError, refusalBody, refusalStatus } from './stripe-error';
import { redirection } from './stripe-redirect';
import { stripeRoutes } from './stripe-routes';
import { stripeStatement } from './stripe-statement';
import { lookupValue } from './stripe-value';
import { anyCurrencyOf, billLookupValue } from './stripe-value-out';
import { CLEAR_REFUSALS, type Vendor } from './vendor';

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

const LOOKUPS = [
  [/^(?:ch|py)_/, '/v1/charges'],
  [/^in_/, '/v1/invoices'],
  [/^/, '/v1/payment_intents'],
] as const;

/** Does the secret say of itself that it moves no real money? */
export function isTestSecret(secret: string): boolean {
  return /^(?:sk|rk)_(?:org_)?test_/.test(secret);
}

/** Stripe's API. An identical request with the same idempotency key is executed once (docs.stripe.com; v1 24 h, v2 30 d). */
export const stripe: Vendor = {
  id: 'stripe',
  origin: 'https://api.stripe.com',
  authorization: ({ secret }) => ({ authorization: `Bearer ${secret}` }),
  idempotencyHeader: 'idempotency-key',
  routes: stripeRoutes,
  forbidden: [{ method: '*', pattern: new RegExp(`^/(?:${FORBIDDEN.join('|')})(?:/|$)`, 'i') }],
  passHeaders: ['idempotency-key', 'stripe-version', 'user-agent', 'x-stripe-client-user-agent'],
  redirection,
  lookupPath: (objectId) => `${LOOKUPS.find(([prefix]) => prefix.test(objectId))?.[1]}/${objectId}`,
  lookupValue: (answer, terms) => lookupValue(answer, terms) ?? billLookupValue(answer, terms),
  statement: stripeStatement,
  currencyOf: anyCurrencyOf,
  toMicros,
  clearRefusals: CLEAR_REFUSALS,
  isVendorError: isStripeError,
  errorCode,
  isRateLimit,
  // Stripe takes 100 a second of a live key, 25 of a test key (VENDORS 2.5): the rest is left to other programs.
  maxRps: ({ secret }) => (isTestSecret(secret) ? 20 : 80),
  refusalBody,
  refusalStatus,
};
