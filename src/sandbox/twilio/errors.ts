/** Twilio's error answers, in its shape: `{"code","message","more_info","status"}`. */

/** A refusal by Twilio: nothing was executed, nothing is billed. */
export class TwilioFailure extends Error {
  readonly status: number;
  readonly code: number;

  constructor(status: number, code: number, message: string) {
    super(message);
    this.status = status;
    this.code = code;
  }

  /** The body of the answer. */
  get body(): Readonly<Record<string, unknown>> {
    const { code, message, status } = this;
    return { code, message, more_info: `https://www.twilio.com/docs/errors/${code}`, status };
  }
}

/** A 400 about the parameters or the state of an object. */
export function badRequest(code: number, message: string): TwilioFailure {
  return new TwilioFailure(400, code, message);
}

/** A 401 for an absent or wrong secret. */
export function unauthorized(): TwilioFailure {
  return new TwilioFailure(401, 20003, 'Authenticate');
}

/** A 404 for a path that names nothing of this account. */
export function notFound(path: string): TwilioFailure {
  return new TwilioFailure(404, 20404, `The requested resource ${path} was not found`);
}

/** A 429: nothing was executed. */
export function rateLimited(): TwilioFailure {
  return new TwilioFailure(429, 20429, 'Too Many Requests');
}

/** A 500. */
export function serverError(): TwilioFailure {
  return new TwilioFailure(500, 20500, 'Internal Server Error');
}
