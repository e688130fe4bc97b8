/** Resend's error answers, in its shape: `{"statusCode","name","message"}`. */

/** A refusal by Resend: nothing was sent. */
export class ResendFailure extends Error {
  readonly statusCode: number;
  readonly error: string;

  constructor(statusCode: number, error: string, message: string) {
    super(message);
    this.statusCode = statusCode;
    this.error = error;
  }

  /** The body of the answer. */
  get body(): Readonly<Record<string, unknown>> {
    return { statusCode: this.statusCode, name: this.error, message: this.message };
  }
}

/** A 422 about a field of the request. */
export function invalid(message: string, error = 'validation_error'): ResendFailure {
  return new ResendFailure(422, error, message);
}

/** A 422 for a field that is not there. */
export function missing(field: string): ResendFailure {
  return invalid(`Missing \`${field}\` field.`, 'missing_required_field');
}

/** A 404 for an email that does not exist. */
export function emailNotFound(): ResendFailure {
  return new ResendFailure(404, 'not_found', 'Email not found');
}

/** A 404 for a path that is no endpoint. */
export function endpointNotFound(): ResendFailure {
  return new ResendFailure(404, 'not_found', 'The requested endpoint does not exist');
}

/** A 401 or 403 about the key. */
export const keyFailures = {
  missing: () =>
    new ResendFailure(
      401,
      'missing_api_key',
      'Missing API key in the authorization header. Include the following header `Authorization: Bearer YOUR_API_KEY` in the request.',
    ),
  invalid: () => new ResendFailure(403, 'invalid_api_key', 'API key is invalid'),
  restricted: () => new ResendFailure(401, 'restricted_api_key', 'This API key is restricted to only send emails'),
} as const;

/** A 429: nothing was executed. */
export function rateLimited(): ResendFailure {
  const message = 'Too many requests. You can only make 5 requests per second. See rate limit response headers.';
  return new ResendFailure(429, 'rate_limit_exceeded', message);
}

/** A 500. */
export function serverError(): ResendFailure {
  return new ResendFailure(500, 'internal_server_error', 'An unexpected error occurred.');
}
