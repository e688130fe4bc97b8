/** Twilio as a protocol: its Basic auth, its paths, its answers in JSON or XML. */
import { Buffer } from 'node:buffer';
import { randomBytes } from 'node:crypto';
import type { Answer } from '../idempotency';
import { type Endpoint, type Exchange, type Protocol, type Received, type Reply, bugText, textOf } from '../vendor';
import { settleDue } from './advance';
import { Callbacks } from './callbacks';
import { TwilioFailure, notFound, rateLimited, serverError, unauthorized } from './errors';
import { PRICES, type PriceTable } from './prices';
import { type Route, type Target, findRoute, isVersion2010, wantsJson } from './routes';
import { TwilioState } from './state';
import { toXml } from './xml';

/** The account that the stand-in is. Without one it is whichever account the caller names. */
export interface TwilioOptions {
  readonly accountSid?: string;
  readonly authToken?: string;
  /** An API key (`SK…`) and its secret, good beside the token. */
  readonly apiKey?: { readonly sid: string; readonly secret: string };
  /** Messages and calls reach their ends, price included, this long after they were sent. Never, if left out. */
  readonly lateMs?: number;
  /** Prices by how a number begins, beside and before the stand-in's own. */
  readonly prices?: PriceTable;
}

interface Credentials {
  readonly user: string;
  readonly password: string;
}

/** The Twilio stand-in. */
export class TwilioProtocol implements Protocol {
  readonly name = 'twilio';
  readonly unknown = ({ path }: Received) => notFound(path);
  readonly rateLimited = rateLimited;
  readonly serverError = serverError;
  readonly failed = failed;
  state: TwilioState;
  readonly #options: TwilioOptions;
  readonly #now: () => number;
  readonly #run = randomBytes(10).toString('hex');

  constructor(options: TwilioOptions, now: () => number) {
    this.#options = options;
    this.#now = now;
    this.state = this.#newState();
  }

  requestId(count: number): string {
    return `RQ${this.#run}${count.toString(16).padStart(12, '0')}`;
  }

  find(method: string, path: string): Endpoint | undefined {
    const target = findRoute(method, path);
    return target && { priced: target.route.priced, run: (exchange) => this.#answer(exchange, target) };
  }

  authenticate(request: Received): void {
    const { accountSid, authToken, apiKey } = this.#options;
    const { user, password } = credentialsOf(request);
    const byToken = accountSid === undefined ? /^(AC|SK)/.test(user) : user === accountSid;
    const tokenFits = authToken === undefined ? password !== '' : password === authToken;
    const byKey = apiKey !== undefined && user === apiKey.sid && password === apiKey.secret;
    if (!(byToken && tokenFits) && !byKey) throw unauthorized();
  }

  echoes(request: Received): Record<string, string> {
    return { 'twilio-request-id': request.id, 'twilio-concurrent-requests': '1' };
  }

  reset(): void {
    this.state.callbacks.close();
    this.state = this.#newState();
  }

  /** Brings what is due to its end, where prices come by themselves. */
  settle(): void {
    const { lateMs } = this.#options;
    if (lateMs !== undefined) void settleDue(this.state, lateMs);
  }

  #newState(): TwilioState {
    return new TwilioState({ ...PRICES, ...this.#options.prices }, new Callbacks(), this.#now);
  }

  async #answer(exchange: Exchange, { route, path }: Target): Promise<Reply> {
    const { request } = exchange;
    const { user, password } = credentialsOf(request);
    const accountSid = this.#options.accountSid ?? (user.startsWith('AC') ? user : (path['account'] ?? ''));
    if (path['account'] !== undefined && path['account'] !== accountSid) throw notFound(request.path);
    this.settle();
    await exchange.delay();
    const body = route.run({
      state: this.state,
      path,
      url: request.path,
      form: formOf(request),
      accountSid,
      authToken: this.#options.authToken ?? password,
      requestId: request.id,
      decline: exchange.strikes('decline'),
    });
    const { lateMs } = this.#options;
    if (lateMs !== undefined && request.method === 'POST') setTimeout(() => this.settle(), lateMs + 1).unref();
    return written({ status: route.status, body }, request, route);
  }
}

/** A failure as an answer. What is no failure of Twilio's is a bug of the sandbox: a 500 that says so. */
function failed(error: unknown, request: Received): Reply {
  if (!(error instanceof TwilioFailure)) {
    return { status: 500, body: { code: 20500, message: bugText(error), status: 500 }, headers: {} };
  }
  const reply = written({ status: error.status, body: error.body }, request, { element: 'RestException' });
  const ask = error.status === 401 ? { 'www-authenticate': 'Basic realm="Twilio API"' } : {};
  return { ...reply, headers: { ...reply.headers, ...ask } };
}

function written({ status, body }: Answer, request: Received, { element }: Pick<Route, 'element'>): Reply {
  if (!isVersion2010(request.path) || wantsJson(request.path)) return { status, body, headers: {} };
  return { status, body: toXmlText(element, body), headers: { 'content-type': 'application/xml' } };
}

function toXmlText(element: string, body: unknown): string {
  return toXml(element, typeof body === 'object' && body !== null ? body : {});
}

function credentialsOf({ headers }: Received): Credentials {
  const [, encoded = ''] = /^basic\s+(\S+)\s*$/i.exec(textOf(headers['authorization']) ?? '') ?? [];
  const text = Buffer.from(encoded, 'base64').toString();
  const colon = text.indexOf(':');
  return colon < 0 ? { user: '', password: '' } : { user: text.slice(0, colon), password: text.slice(colon + 1) };
}

/** Parameters come from the query of a read and from the form of a POST; a body that is no form has none. */
function formOf({ method, headers, query, body }: Received): URLSearchParams {
  if (method !== 'POST') return new URLSearchParams(query);
  const type = textOf(headers['content-type']) ?? '';
  return new URLSearchParams(type.toLowerCase().startsWith('application/x-www-form-urlencoded') ? body : '');
}
