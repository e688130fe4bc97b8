/** Stripe's error shape, read and written. Source: docs.stripe.com/api/errors, and stripe-node 23 `Error.ts`. */
import { REFUSALS, type RefusalCode, type RefusalDetails } from '../contract';

interface StripeError {
  readonly error: Readonly<Record<string, unknown>>;
}

const ERROR_TYPES: ReadonlySet<unknown> = new Set([
  'api_error',
  'authentication_error',
  'card_error',
  'idempotency_error',
  'invalid_request_error',
  'permission_error',
  'rate_limit_error',
  // API v2: stripe-node 23.1 `generateV2Error`.
  'already_canceled',
  'blocked_by_stripe',
  'cannot_proceed',
  'capability_not_enabled',
  'controlled_by_alternate_resource',
  'feature_not_enabled',
  'financial_account_not_open',
  'fx_quote_needs_refresh',
  'insufficient_funds',
  'invalid_payment_method',
  'invalid_payout_method',
  'not_cancelable',
  'quota_exceeded',
  'rate_limit',
  'recipient_not_notifiable',
]);

/**
 * Is the body `{"error":{"type":…}}` with a type that Stripe's API uses? A string `error` is OAuth's, not this. API v2
 * gives no type with the code `invalid_fields`.
 */
export function isStripeError(answer: unknown): answer is StripeError {
  if (typeof answer !== 'object' || answer === null || !('error' in answer)) return false;
  const { error } = answer;
  if (typeof error !== 'object' || error === null) return false;
  return ('type' in error && ERROR_TYPES.has(error.type)) || ('code' in error && error.code === 'invalid_fields');
}

/** `error.code`, else `error.type`; null when the body is no Stripe error. */
export function errorCode(answer: unknown): string | null {
  if (!isStripeError(answer)) return null;
  const { code, type } = answer.error;
  return typeof code === 'string' ? code : String(type);
}

/** `lock_timeout` is a 429 too, for another call has the object; and so is `quota_exceeded` of API v2. */
export function isRateLimit(answer: unknown): boolean {
  if (!isStripeError(answer)) return false;
  const { code, type } = answer.error;
  return code === 'rate_limit' || (code !== 'lock_timeout' && (type === 'rate_limit_error' || type === 'rate_limit'));
}

/**
 * A refusal in Stripe's shape. Stripe's SDKs take any body without an `error` object for success, and pick the
 * exception's class from the status, at 400 also from the type. The message begins with the code's text.
 */
export function refusalBody(code: RefusalCode, message: string, details: RefusalDetails): object {
  return {
    error: {
      type: errorType(code),
      code,
      message: message.startsWith(code) ? message : `${code}: ${message}`,
      ...(details.field === undefined ? {} : { param: details.field }),
      keybrake: details,
    },
  };
}

function errorType(code: RefusalCode): string {
  if (code === 'idempotency_mismatch') return 'idempotency_error';
  return refusalStatus(code) >= 500 ? 'api_error' : 'invalid_request_error';
}

/** The HTTP status of a refusal: Stripe's own status of a mismatched idempotency key is 400, as in our table. */
export function refusalStatus(code: RefusalCode): number {
  return REFUSALS[code].status;
}
