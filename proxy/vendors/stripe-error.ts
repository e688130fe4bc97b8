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
]);

/** Is the body `{"error":{"type":…}}` with a type that Stripe's API uses? A string `error` is OAuth's, not this. */
export function isStripeError(answer: unknown): answer is StripeError {
  if (typeof answer !== 'object' || answer === null || !('error' in answer)) return false;
  const { error } = answer;
  return typeof error === 'object' && error !== null && 'type' in error && ERROR_TYPES.has(error.type);
}

/** `error.code`, else `error.type`; null when the body is no Stripe error. */
export function errorCode(answer: unknown): string | null {
  if (!isStripeError(answer)) return null;
  const { code, type } = answer.error;
  return typeof code === 'string' ? code : String(type);
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
