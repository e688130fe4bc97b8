/** Stripe's error answers, in its exact shape: `{"error":{"type","code","param","message"}}`. */

/** The `error` object of a Stripe answer. */
export interface StripeError {
  readonly type: 'invalid_request_error' | 'card_error' | 'idempotency_error' | 'api_error';
  readonly message: string;
  readonly code?: string;
  readonly param?: string;
  readonly [field: string]: unknown;
}

/**
 * A refusal by the vendor. `executed` says whether the endpoint had begun to execute, for only then is the answer
 * stored under the idempotency key; failed validation is not.
 */
export class StripeFailure extends Error {
  readonly status: number;
  readonly error: StripeError;
  readonly executed: boolean;

  constructor(status: number, error: StripeError, executed = false) {
    super(error.message);
    this.status = status;
    this.error = error;
    this.executed = executed;
  }

  /** The body of the answer. */
  get body(): { readonly error: StripeError } {
    return { error: this.error };
  }
}

/** A 400 that names the parameter at fault; nothing was executed. */
export function invalidParam(param: string, message: string, code?: string): StripeFailure {
  const doc = code === undefined ? {} : { code, doc_url: `https://stripe.com/docs/error-codes/${dashed(code)}` };
  return new StripeFailure(400, { ...doc, message, param, type: 'invalid_request_error' });
}

/** A 400 about the request as a whole. */
export function badRequest(message: string): StripeFailure {
  return new StripeFailure(400, { message, type: 'invalid_request_error' });
}

/** A 400 that comes from the state of an object: the endpoint had begun to execute, so the answer is stored. */
export function wrongState(
  code: string,
  message: string,
  extra: Readonly<Record<string, unknown>> = {},
): StripeFailure {
  const doc_url = `https://stripe.com/docs/error-codes/${dashed(code)}`;
  return new StripeFailure(400, { code, doc_url, message, type: 'invalid_request_error', ...extra }, true);
}

/** A 404 for an object that does not exist. */
export function resourceMissing(kind: string, id: string, param: string): StripeFailure {
  const message = `No such ${kind}: '${id}'`;
  return new StripeFailure(404, { code: 'resource_missing', message, param, type: 'invalid_request_error' });
}

/** A 404 for a path that is no route of the API. */
export function unknownUrl(method: string, path: string): StripeFailure {
  const message = `Unrecognized request URL (${method}: ${path}). Please see https://stripe.com/docs.`;
  return new StripeFailure(404, { message, type: 'invalid_request_error' });
}

/** A 401 for an absent or wrong secret; like Stripe it shows no more than the ends of what was sent. */
export function unauthorized(secret: string | undefined): StripeFailure {
  const message =
    secret === undefined
      ? 'You did not provide an API key. You need to provide your API key in the Authorization header, ' +
        "using Bearer auth (e.g. 'Authorization: Bearer YOUR_SECRET_KEY')."
      : `Invalid API Key provided: ${masked(secret)}`;
  return new StripeFailure(401, { message, type: 'invalid_request_error' });
}

/** A 429, answered before the idempotency layer and so never stored. */
export function rateLimited(): StripeFailure {
  const message = 'Request rate limit exceeded. Learn more about rate limits here https://stripe.com/docs/rate-limits.';
  return new StripeFailure(429, { code: 'rate_limit', message, type: 'invalid_request_error' });
}

/** A 500 as Stripe words it. */
export function serverError(): StripeFailure {
  const message = 'Sorry! There was an error while talking to one of our backends. Support has been notified.';
  return new StripeFailure(500, { message, type: 'api_error' }, true);
}

function masked(secret: string): string {
  return secret.length < 12 ? '*'.repeat(secret.length) : `${secret.slice(0, 7)}********${secret.slice(-4)}`;
}

function dashed(code: string): string {
  return code.replaceAll('_', '-');
}
