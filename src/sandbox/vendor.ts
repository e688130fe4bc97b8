/** The way of a request through a stand-in, the same for every vendor: log, counts, faults, and then its protocol. */
import { type RequestCounts, newCounts } from './counts';
import { FaultInjector, PerSecond, type StrikeName, type Strikes, UNHARMED } from './faults';
import type { Answer, KeyedExchange } from './idempotency';
import type { LoggedRequest, RequestLog, VendorName } from './request-log';

/** A request, read to its end. */
export interface VendorRequest {
  readonly method: string;
  /** The request target as it came. */
  readonly target: string;
  readonly headers: LoggedRequest['headers'];
  readonly body: string;
}

/** A request under way, with the id that the vendor gave it. */
export interface Received extends VendorRequest {
  readonly id: string;
  readonly path: string;
  readonly query: string;
}

/** The answer to a request; `null` in place of one means: cut the connection. A text body is sent as it is. */
export interface Reply extends Answer {
  readonly headers: Readonly<Record<string, string>>;
}

/** One request and all that an endpoint may use to answer it. */
export interface Exchange extends KeyedExchange {
  readonly request: Received;
  /** Whether the fault strikes now; if so it is counted. */
  strikes(name: StrikeName): boolean;
}

/** An endpoint. A priced one moves money or readies it, and is what faults strike. */
export interface Endpoint {
  readonly priced: boolean;
  readonly run: (exchange: Exchange) => Promise<Reply>;
}

/** What tells one vendor from another. Refusals are thrown, and made an answer by `failed`. */
export interface Protocol {
  readonly name: VendorName;
  requestId(count: number): string;
  find(method: string, path: string): Endpoint | undefined;
  authenticate(request: Received): void;
  unknown(request: Received): Error;
  rateLimited(): Error;
  serverError(): Error;
  failed(error: unknown, request: Received): Reply;
  /** The headers with which every answer names its request. */
  echoes(request: Received): Readonly<Record<string, string>>;
  reset(): void;
}

/** How a vendor behaves for the whole of its life. */
export interface VendorOptions {
  readonly delayMs: number;
  /** Answers 429 to more requests in a second of the clock than this; undefined: takes any number. */
  readonly limitPerSecond: number | undefined;
  /** Undefined: requests are not kept. */
  readonly log: RequestLog | undefined;
  readonly now: () => number;
}

/** A stand-in without its socket: what goes in is a request, what comes out is an answer. */
export class Vendor {
  faults = new FaultInjector();
  counts: RequestCounts = newCounts();
  readonly #protocol: Protocol;
  readonly #options: VendorOptions;
  #limit: PerSecond;
  #received = 0;

  constructor(protocol: Protocol, options: VendorOptions) {
    this.#protocol = protocol;
    this.#options = options;
    this.#limit = new PerSecond(options.limitPerSecond);
  }

  /** Forgets everything, injected faults too. */
  reset(): void {
    this.faults = new FaultInjector();
    this.counts = newCounts();
    this.#limit = new PerSecond(this.#options.limitPerSecond);
    this.#protocol.reset();
  }

  /** Answers one request. Never throws. */
  async handle(request: VendorRequest): Promise<Reply | null> {
    const received = this.#receive(request);
    const endpoint = this.#protocol.find(received.method, received.path);
    const priced = endpoint?.priced === true;
    this.counts.requests += 1;
    if (priced) this.counts.priced += 1;
    const strikes = priced || this.faults.settings.all ? this.faults.draw() : UNHARMED;
    const logged = this.#write(received);

    const exchange = this.#exchange(received, strikes);
    const reply = await this.#answer(exchange, endpoint).catch((error) => this.#protocol.failed(error, received));
    if (reply === null) return null;
    if (logged !== undefined) logged.status = reply.status;
    return { ...reply, headers: { ...reply.headers, ...this.#protocol.echoes(received) } };
  }

  #receive(request: VendorRequest): Received {
    this.#received += 1;
    const mark = request.target.indexOf('?');
    const path = mark < 0 ? request.target : request.target.slice(0, mark);
    const query = mark < 0 ? '' : request.target.slice(mark + 1);
    return { ...request, id: this.#protocol.requestId(this.#received), path, query };
  }

  #write({ id, method, target, headers, body }: Received): LoggedRequest | undefined {
    const { log, now } = this.#options;
    if (log === undefined) return undefined;
    const logged = { id, vendor: this.#protocol.name, atMs: now(), method, path: target, headers, body, status: null };
    log.add(logged);
    return logged;
  }

  #exchange(request: Received, strikes: Strikes): Exchange {
    const { counts } = this;
    return {
      request,
      counts,
      nowMs: this.#options.now(),
      delay: () => sleep(this.#options.delayMs + this.faults.settings.delayMs),
      stored: (answer) => {
        const spoilt = strikes.error500After && this.faults.settings.error500Stored;
        return spoilt ? this.#protocol.failed(this.#protocol.serverError(), request) : answer;
      },
      strikes: (name) => {
        if (strikes[name]) counts.injected[name] = (counts.injected[name] ?? 0) + 1;
        return strikes[name];
      },
    };
  }

  async #answer(exchange: Exchange, endpoint: Endpoint | undefined): Promise<Reply | null> {
    const { request } = exchange;
    const faults = this.faults.settings;
    if (exchange.strikes('dropBefore')) return null;
    this.#protocol.authenticate(request);
    if (endpoint === undefined) throw this.#protocol.unknown(request);
    const nowMs = this.#options.now();
    const over = (endpoint.priced || faults.all) && this.faults.overLimit(nowMs);
    const limited = this.#limit.isOver(nowMs) || over;
    if (limited) this.counts.limited += 1;
    if (exchange.strikes('rate429') || limited) return this.#tooMany(request);
    if (exchange.strikes('error500Before')) throw this.#protocol.serverError();

    const reply = await endpoint.run(exchange);

    await sleep(faults.delayAfterMs);
    if (exchange.strikes('dropAfter')) return null;
    if (exchange.strikes('error500After')) throw this.#protocol.serverError();
    return reply;
  }

  /** All limits here are of a second. */
  #tooMany(request: Received): Reply {
    const reply = this.#protocol.failed(this.#protocol.rateLimited(), request);
    return { ...reply, headers: { ...reply.headers, 'retry-after': '1' } };
  }
}

/** The first value of a header. */
export function textOf(value: string | readonly string[] | undefined): string | undefined {
  return typeof value === 'string' ? value : value?.[0];
}

/** What to say of an error that is no refusal of the vendor's. */
export function bugText(error: unknown): string {
  return `The sandbox has a bug: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`;
}

/** Does not keep the process alive. */
async function sleep(ms: number): Promise<void> {
  if (ms <= 0) return;
  await new Promise((resolve) => {
    setTimeout(resolve, ms).unref();
  });
}
