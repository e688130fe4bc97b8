import { Buffer } from 'node:buffer';
import { StripeFailure, badRequest, rateLimited, serverError, unauthorized, unknownUrl } from './errors';
import { type FormHash, decodeForm } from './form';
import { type Answer, IdempotencyKeys } from './idempotency';
import { StripeState } from './state';
import { type Target, execute, findRoute } from './stripe';
import { STRIPE_KEY_RULES } from './stripe-keys';
import { type Endpoint, type Exchange, type Protocol, type Received, type Reply, bugText, textOf } from './vendor';

/** Stripe as a protocol: its secret, its idempotency layer, its answers. */
export class StripeProtocol implements Protocol {
  readonly name = 'stripe';
  readonly unknown = ({ method, path }: Received) => unknownUrl(method, path);
  readonly rateLimited = rateLimited;
  readonly serverError = serverError;
  readonly failed = failed;
  state: StripeState;
  readonly #secretKey: string | undefined;
  readonly #now: () => number;
  #keys = new IdempotencyKeys(STRIPE_KEY_RULES);

  constructor(secretKey: string | undefined, now: () => number) {
    this.#secretKey = secretKey;
    this.#now = now;
    this.state = new StripeState(now);
  }

  requestId(count: number): string {
    return `req_${count.toString(36).padStart(14, '0')}`;
  }

  find(method: string, path: string): Endpoint | undefined {
    const target = findRoute(method, path);
    return target && { priced: target.route.priced, run: (exchange) => this.#run(exchange, target) };
  }

  authenticate(request: Received): void {
    const secret = secretOf(request);
    if (secret === undefined || (this.#secretKey !== undefined && secret !== this.#secretKey)) {
      throw unauthorized(secret);
    }
  }

  echoes(request: Received): Record<string, string> {
    const headers: Record<string, string> = { 'request-id': request.id };
    for (const name of ['idempotency-key', 'stripe-account', 'stripe-version']) {
      const value = textOf(request.headers[name]);
      if (value !== undefined) headers[name] = value;
    }
    return headers;
  }

  reset(): void {
    this.state = new StripeState(this.#now);
    this.#keys = new IdempotencyKeys(STRIPE_KEY_RULES);
  }

  /** Executes the request, or replays the answer stored under its idempotency key. */
  async #run(exchange: Exchange, target: Target): Promise<Reply> {
    const { request } = exchange;
    const form = decodeForm(formOf(request));
    const key = keyOf(request);
    if (key === undefined) {
      await exchange.delay();
      return { ...this.#execute(exchange, target, form), headers: {} };
    }
    const keyed = { scope: scopeOf(request), key, path: request.path, body: request.body, requestId: request.id };
    const { answer, first } = await this.#keys.once(keyed, exchange, () => this.#execute(exchange, target, form));
    const headers = first === null ? {} : { 'idempotent-replayed': 'true', 'original-request': first.requestId };
    return { ...answer, headers };
  }

  #execute(exchange: Exchange, { route, id }: Target, form: FormHash): Answer {
    const { headers, id: requestId } = exchange.request;
    const account = textOf(headers['stripe-account']) ?? textOf(headers['stripe-context']) ?? null;
    const origin = { requestId, idempotencyKey: keyOf(exchange.request) ?? null, account };
    const decline = exchange.strikes('decline');
    return execute(route, { state: this.state, id, form, origin, decline });
  }
}

/** A failure as an answer. What is no failure of Stripe's is a bug of the sandbox: a 500 that says so. */
function failed(error: unknown): Reply {
  if (error instanceof StripeFailure) return { status: error.status, body: error.body, headers: {} };
  return { status: 500, body: { error: { message: bugText(error), type: 'api_error' } }, headers: {} };
}

function keyOf({ method, headers }: Received): string | undefined {
  return method === 'POST' ? textOf(headers['idempotency-key']) : undefined;
}

/** The secret of `Bearer`, or the user name of `Basic`. */
function secretOf({ headers }: Received): string | undefined {
  const header = textOf(headers['authorization']);
  const [, scheme = '', credentials = ''] = /^(bearer|basic)\s+(\S+)\s*$/i.exec(header ?? '') ?? [];
  if (scheme.toLowerCase() === 'bearer') return credentials;
  const user = Buffer.from(credentials, 'base64').toString().split(':')[0];
  return user === '' ? undefined : user;
}

/** Keys are told apart by secret and by connected account. */
function scopeOf(request: Received): string {
  const { headers } = request;
  return [secretOf(request), textOf(headers['stripe-account']), textOf(headers['stripe-context'])].join('\n');
}

/** Parameters come from the query of a read and from the body of a POST, which has to be a form. */
function formOf({ method, headers, query, body }: Received): string {
  if (method !== 'POST') return query;
  const type = textOf(headers['content-type']);
  if (body === '' || type?.toLowerCase().startsWith('application/x-www-form-urlencoded')) return body;
  throw badRequest('Invalid request (check that your POST content type is application/x-www-form-urlencoded).');
}
