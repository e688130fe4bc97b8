/** Resend as a protocol: its key, its routes, its idempotency layer. */
import { IdempotencyKeys } from '../idempotency';
import { matchPath } from '../path-match';
import { type Endpoint, type Exchange, type Protocol, type Received, type Reply, bugText, textOf } from '../vendor';
import { cancelEmail, fetchEmail, listEmails, rescheduleEmail, sendBatch, sendEmail } from './emails';
import {
  ResendFailure,
  endpointNotFound,
  invalid,
  keyFailures,
  rateLimited as tooMany,
  serverError as broken,
} from './errors';
import { RESEND_KEY_RULES, canonical } from './keys';
import { type Call, ResendState } from './state';

/** The team that the stand-in is. */
export interface ResendOptions {
  /** When given, any other key is refused. */
  readonly apiKey?: string;
  /** The key may send and nothing else (`sending_access`). */
  readonly sendingOnly?: boolean;
  /** The price of an email to one recipient; 900 when left out, that of the overage. */
  readonly unitMicros?: number;
}

interface Route {
  readonly run: (call: Call) => object;
  /** It sends, or changes what will be sent. */
  readonly priced: boolean;
  /** It takes an idempotency key. */
  readonly keyed: boolean;
}

// prettier-ignore
const ROUTES: readonly (readonly [method: string, template: string, route: Route])[] = [
  ['POST',  '/emails',            { run: sendEmail,       priced: true,  keyed: true  }],
  ['POST',  '/emails/batch',      { run: sendBatch,       priced: true,  keyed: true  }],
  ['POST',  '/emails/:id/cancel', { run: cancelEmail,     priced: true,  keyed: false }],
  ['PATCH', '/emails/:id',        { run: rescheduleEmail, priced: true,  keyed: false }],
  ['GET',   '/emails/:id',        { run: fetchEmail,      priced: false, keyed: false }],
  ['GET',   '/emails',            { run: listEmails,      priced: false, keyed: false }],
];

const PATHS = /^\/(?:emails|domains|api-keys|broadcasts|audiences|segments|contacts|webhooks|templates)(?:\/|$)/;

/** Whether a path is Resend's. */
export function isResendPath(path: string): boolean {
  return PATHS.test(path);
}

/** The Resend stand-in. */
export class ResendProtocol implements Protocol {
  readonly name = 'resend';
  readonly unknown = endpointNotFound;
  readonly rateLimited = tooMany;
  readonly serverError = broken;
  readonly failed = failed;
  state: ResendState;
  readonly #options: ResendOptions;
  readonly #now: () => number;
  #keys = new IdempotencyKeys(RESEND_KEY_RULES);

  constructor(options: ResendOptions, now: () => number) {
    this.#options = options;
    this.#now = now;
    this.state = new ResendState(now);
  }

  requestId(count: number): string {
    return `resend_${count.toString(36).padStart(10, '0')}`;
  }

  find(method: string, path: string): Endpoint | undefined {
    for (const [verb, template, route] of ROUTES) {
      const names = verb === method ? matchPath(template, path) : undefined;
      if (names !== undefined) {
        return { priced: route.priced, run: (exchange) => this.#answer(exchange, route, names['id'] ?? '') };
      }
    }
    return undefined;
  }

  authenticate({ headers, method, path }: Received): void {
    const [, key] = /^bearer\s+(\S+)\s*$/i.exec(textOf(headers['authorization']) ?? '') ?? [];
    if (key === undefined) throw keyFailures.missing();
    const { apiKey, sendingOnly } = this.#options;
    if (apiKey !== undefined && key !== apiKey) throw keyFailures.invalid();
    const sends = method === 'POST' && (path === '/emails' || path === '/emails/batch');
    if (sendingOnly === true && !sends) throw keyFailures.restricted();
  }

  echoes(): Record<string, string> {
    return { 'ratelimit-limit': '5', 'ratelimit-remaining': '4', 'ratelimit-reset': '1' };
  }

  reset(): void {
    this.state = new ResendState(this.#now);
    this.#keys = new IdempotencyKeys(RESEND_KEY_RULES);
  }

  /** Executes the request, or replays the answer stored under its idempotency key. */
  async #answer(exchange: Exchange, route: Route, id: string): Promise<Reply> {
    const { request } = exchange;
    const json = jsonOf(request);
    const key = route.keyed ? textOf(request.headers['idempotency-key']) : undefined;
    const execute = () => ({ status: 200, body: route.run(this.#call(exchange, id, json, key ?? null)) });
    if (key === undefined) {
      await exchange.delay();
      return { ...execute(), headers: {} };
    }
    const scope = textOf(request.headers['authorization']) ?? '';
    const keyed = { scope, key, path: request.path, body: canonical(json), requestId: request.id };
    const { answer } = await this.#keys.once(keyed, exchange, execute);
    return { ...answer, headers: {} };
  }

  #call(exchange: Exchange, id: string, json: unknown, idempotencyKey: string | null): Call {
    const { headers, id: requestId, query } = exchange.request;
    return {
      state: this.state,
      id,
      query: new URLSearchParams(query),
      json,
      permissive: textOf(headers['x-batch-validation'])?.toLowerCase() === 'permissive',
      requestId,
      idempotencyKey,
      decline: exchange.strikes('decline'),
    };
  }
}

/** A failure as an answer. What is no failure of Resend's is a bug of the sandbox: a 500 that says so. */
function failed(error: unknown): Reply {
  if (error instanceof ResendFailure) {
    const headers: Record<string, string> = error.statusCode === 429 ? { 'retry-after': '1' } : {};
    return { status: error.statusCode, body: error.body, headers };
  }
  const body = { statusCode: 500, name: 'application_error', message: bugText(error) };
  return { status: 500, body, headers: {} };
}

function jsonOf({ method, body }: Received): unknown {
  if (method === 'GET' || body === '') return undefined;
  try {
    return JSON.parse(body);
  } catch {
    throw invalid('The request body is not valid JSON.');
  }
}
