import { Buffer } from 'node:buffer';
import { StripeFailure, badRequest, rateLimited, serverError, unauthorized, unknownUrl } from './errors';
import { FaultInjector, type StrikeName, type Strikes, UNHARMED } from './faults';
import { type FormHash, decodeForm } from './form';
import { type Answer, IdempotencyKeys, type KeyRow } from './idempotency';
import { type LoggedRequest, RequestLog } from './request-log';
import { StripeState } from './state';
import type { RequestCounts } from './stats';
import { type Target, execute, findRoute } from './stripe';

/** A request, read to its end. */
export interface VendorRequest {
  readonly method: string;
  /** The request target as it came. */
  readonly target: string;
  readonly headers: LoggedRequest['headers'];
  readonly body: string;
}

/** The answer to a request; `null` in place of one means: cut the connection. */
export interface Reply extends Answer {
  readonly headers: Readonly<Record<string, string>>;
}

/** How a vendor behaves for the whole of its life. */
export interface VendorOptions {
  readonly secretKey: string | undefined;
  readonly delayMs: number;
  readonly log: boolean;
  readonly now: () => number;
}

interface Received extends VendorRequest {
  readonly id: string;
  readonly path: string;
  readonly query: string;
  readonly endpoint: Target | undefined;
  readonly strikes: Strikes;
}

/** The Stripe stand-in without its socket: what goes in is a request, what comes out is an answer. */
export class StripeVendor {
  state: StripeState;
  faults = new FaultInjector();
  log = new RequestLog();
  counts: RequestCounts = newCounts();
  readonly #options: VendorOptions;
  #keys = new IdempotencyKeys();
  #received = 0;

  constructor(options: VendorOptions) {
    this.#options = options;
    this.state = new StripeState(options.now);
  }

  /** Forgets everything, injected faults too. */
  reset(): void {
    this.state = new StripeState(this.#options.now);
    this.faults = new FaultInjector();
    this.log = new RequestLog();
    this.counts = newCounts();
    this.#keys = new IdempotencyKeys();
  }

  /** Answers one request. Never throws. */
  async handle(request: VendorRequest): Promise<Reply | null> {
    const received = this.#receive(request);
    const logged = this.#options.log ? this.#write(received) : undefined;
    const reply = await this.#answer(received).catch((error: unknown) => failed(error));
    if (reply === null) return null;
    if (reply.status === 409) this.counts.inUse += 1;
    if (logged !== undefined) logged.status = reply.status;
    return { ...reply, headers: { ...reply.headers, ...echoes(received) } };
  }

  #receive(request: VendorRequest): Received {
    this.#received += 1;
    const mark = request.target.indexOf('?');
    const path = mark < 0 ? request.target : request.target.slice(0, mark);
    const query = mark < 0 ? '' : request.target.slice(mark + 1);
    const endpoint = findRoute(request.method, path);
    const priced = endpoint?.route.priced === true;
    this.counts.requests += 1;
    if (priced) this.counts.priced += 1;
    const strikes = priced || this.faults.settings.all ? this.faults.draw() : UNHARMED;
    return { ...request, id: `req_${this.#received.toString(36).padStart(14, '0')}`, path, query, endpoint, strikes };
  }

  #write({ id, method, target, headers, body }: Received): LoggedRequest {
    const logged = { id, atMs: this.#options.now(), method, path: target, headers, body, status: null };
    this.log.add(logged);
    return logged;
  }

  async #answer(received: Received): Promise<Reply | null> {
    const { endpoint, strikes } = received;
    const faults = this.faults.settings;
    if (this.#strikes(strikes, 'dropBefore')) return null;
    authenticate(received, this.#options.secretKey);
    if (endpoint === undefined) throw unknownUrl(received.method, received.path);
    const limited = (endpoint.route.priced || faults.all) && this.faults.overLimit(this.#options.now());
    if (this.#strikes(strikes, 'rate429') || limited) throw rateLimited();
    if (this.#strikes(strikes, 'error500Before')) throw serverError();

    const reply = await this.#once(received, endpoint);

    if (faults.delayAfterMs > 0) await sleep(faults.delayAfterMs);
    if (this.#strikes(strikes, 'dropAfter')) return null;
    if (this.#strikes(strikes, 'error500After')) return failed(serverError());
    return reply;
  }

  /** Executes the request, or replays the answer stored under its idempotency key. */
  async #once(received: Received, endpoint: Target): Promise<Reply> {
    const { body, method, path } = received;
    const form = decodeForm(formOf(received));
    const key = method === 'POST' ? textOf(received.headers['idempotency-key']) : undefined;
    if (key === undefined) {
      await this.#delay();
      return { ...this.#execute(received, endpoint, form), headers: {} };
    }
    const keyed = { scope: scopeOf(received), key, path, body, requestId: received.id };
    const keys = this.#keys;
    const { row, fresh } = keys.begin(keyed, this.#options.now());
    await this.#delay();
    if (fresh) return { ...this.#executeFor(row, keys, received, endpoint, form), headers: {} };
    this.counts.replayed += 1;
    const headers = { 'idempotent-replayed': 'true', 'original-request': row.request.requestId };
    return { ...(row.answer ?? failed(serverError())), headers };
  }

  #executeFor(row: KeyRow, keys: IdempotencyKeys, received: Received, endpoint: Target, form: FormHash): Answer {
    try {
      const answer = this.#execute(received, endpoint, form);
      const spoilt = received.strikes.error500After && this.faults.settings.error500Stored;
      row.answer = spoilt ? failed(serverError()) : answer;
      return answer;
    } catch (error) {
      keys.forget(row);
      throw error;
    }
  }

  #execute(received: Received, endpoint: Target, form: FormHash): Answer {
    const { headers, id: requestId, method, strikes } = received;
    const idempotencyKey = method === 'POST' ? (textOf(headers['idempotency-key']) ?? null) : null;
    const account = textOf(headers['stripe-account']) ?? textOf(headers['stripe-context']) ?? null;
    const origin = { requestId, idempotencyKey, account };
    const decline = this.#strikes(strikes, 'decline');
    return execute(endpoint.route, { state: this.state, id: endpoint.id, form, origin, decline });
  }

  async #delay(): Promise<void> {
    const delayMs = this.#options.delayMs + this.faults.settings.delayMs;
    if (delayMs > 0) await sleep(delayMs);
  }

  /** Whether the fault strikes now; if so it is counted. */
  #strikes(strikes: Strikes, name: StrikeName): boolean {
    if (strikes[name]) this.counts.injected[name] = (this.counts.injected[name] ?? 0) + 1;
    return strikes[name];
  }
}

function newCounts(): RequestCounts {
  return { requests: 0, priced: 0, replayed: 0, inUse: 0, injected: {} };
}

/** A failure as an answer. What is no failure of Stripe's is a bug of the sandbox: a 500 that says so. */
function failed(error: unknown): Reply {
  if (error instanceof StripeFailure) return { status: error.status, body: error.body, headers: {} };
  const message = `The sandbox has a bug: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`;
  return { status: 500, body: { error: { message, type: 'api_error' } }, headers: {} };
}

/** The headers with which every answer names its request. */
function echoes(received: Received): Record<string, string> {
  const headers: Record<string, string> = { 'request-id': received.id };
  for (const name of ['idempotency-key', 'stripe-account', 'stripe-version']) {
    const value = textOf(received.headers[name]);
    if (value !== undefined) headers[name] = value;
  }
  return headers;
}

function authenticate(received: Received, secretKey: string | undefined): void {
  const secret = secretOf(received);
  if (secret === undefined || (secretKey !== undefined && secret !== secretKey)) throw unauthorized(secret);
}

/** The secret of `Bearer`, or the user name of `Basic`. */
function secretOf(received: Received): string | undefined {
  const header = textOf(received.headers['authorization']);
  const [, scheme = '', credentials = ''] = /^(bearer|basic)\s+(\S+)\s*$/i.exec(header ?? '') ?? [];
  if (scheme.toLowerCase() === 'bearer') return credentials;
  const user = Buffer.from(credentials, 'base64').toString().split(':')[0];
  return user === '' ? undefined : user;
}

/** Keys are told apart by secret and by connected account. */
function scopeOf(received: Received): string {
  const { headers } = received;
  return [secretOf(received), textOf(headers['stripe-account']), textOf(headers['stripe-context'])].join('\n');
}

/** Parameters come from the query of a read and from the body of a POST, which has to be a form. */
function formOf(received: Received): string {
  if (received.method !== 'POST') return received.query;
  const type = textOf(received.headers['content-type']);
  if (received.body === '' || type?.toLowerCase().startsWith('application/x-www-form-urlencoded')) return received.body;
  throw badRequest('Invalid request (check that your POST content type is application/x-www-form-urlencoded).');
}

function textOf(value: string | readonly string[] | undefined): string | undefined {
  return typeof value === 'string' ? value : value?.[0];
}

/** Does not keep the process alive. */
function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, ms).unref();
  });
}
