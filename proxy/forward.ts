/** Sends a call to the vendor, once, and says for certain whether a byte of it may have left. */
import { isNativeError } from 'node:util/types';
import { type Dispatcher, Pool } from 'undici';
import { type Deadline, Deadlines } from './deadlines';
import { decoded } from './decoded';

export interface Upstream {
  readonly method: string;
  /** Path and query. */
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string | null;
}

/**
 * `unsent`: no byte left, so nothing can have been executed; with `retryAfterSeconds` because the account is paced and
 * no slot came in time. `lost`: the call was sent and no whole answer came.
 */
export type Sent =
  | { readonly kind: 'answered'; readonly status: number; readonly headers: AnswerHeaders; readonly body: Buffer }
  | { readonly kind: 'unsent'; readonly reason: string; readonly retryAfterSeconds?: number }
  | { readonly kind: 'lost'; readonly reason: string };

export type AnswerHeaders = Readonly<Record<string, string | string[] | undefined>>;

/** Largest answer that is read; vendors' lists stay far below. */
const ANSWER_BYTES_MAX = 16 * 1024 * 1024;
const CONNECT_TIMEOUT_MS = 5_000;
/** No call waits in a queue of the pool: a connection is opened for each that finds none free. */
const CONNECTIONS_MAX = 1_024;

export interface ForwarderOptions {
  readonly origin: string;
  /** Milliseconds from the first byte sent to the last byte of the answer. */
  readonly timeoutMs: number;
}

/** One vendor account's connections. */
export class Forwarder {
  readonly #pool: Pool;
  readonly #deadlines: Deadlines;

  constructor({ origin, timeoutMs }: ForwarderOptions) {
    this.#pool = new Pool(origin, {
      connections: CONNECTIONS_MAX,
      pipelining: 1,
      connect: { timeout: CONNECT_TIMEOUT_MS },
      headersTimeout: timeoutMs + 1_000,
      bodyTimeout: timeoutMs + 1_000,
    });
    this.#deadlines = new Deadlines(timeoutMs);
  }

  /**
   * Sends the call. `mayLeave` is asked in the same turn of the event loop in which the first byte is written: when it
   * names a reason, nothing is sent. Never throws.
   */
  send(call: Upstream, mayLeave: () => string | undefined): Promise<Sent> {
    return new Promise((resolve) => {
      const exchange = new Exchange(mayLeave, this.#deadlines, resolve);
      try {
        this.#pool.dispatch(
          { method: call.method, path: call.path, headers: call.headers, body: call.body, idempotent: false },
          exchange,
        );
      } catch (error) {
        // dispatch throws for what it will not send at all: a closed pool, an invalid header.
        resolve({ kind: 'unsent', reason: reasonOf(error) });
      }
    });
  }

  close(): Promise<void> {
    return this.#pool.close();
  }
}

/** The life of one call on the wire, as undici's dispatcher tells it. */
class Exchange implements Dispatcher.DispatchHandler {
  readonly #mayLeave: () => string | undefined;
  readonly #deadlines: Deadlines;
  readonly #resolve: (sent: Sent) => void;
  readonly #chunks: Buffer[] = [];
  #deadline: Deadline | undefined;
  #sent = false;
  #status = 0;
  #headers: AnswerHeaders = {};
  #bytes = 0;

  constructor(mayLeave: () => string | undefined, deadlines: Deadlines, resolve: (sent: Sent) => void) {
    this.#mayLeave = mayLeave;
    this.#deadlines = deadlines;
    this.#resolve = resolve;
  }

  /** Called right before the request is written to an open connection; what it throws stops the write. */
  onRequestStart(controller: Dispatcher.DispatchController): void {
    const reason = this.#mayLeave();
    if (reason !== undefined) throw new Error(reason);
    this.#sent = true;
    this.#deadline = this.#deadlines.set(() => controller.abort(new Error('the vendor did not answer in time')));
  }

  onResponseStart(_: Dispatcher.DispatchController, status: number, headers: AnswerHeaders): void {
    this.#status = status;
    this.#headers = headers;
  }

  onResponseData(controller: Dispatcher.DispatchController, chunk: Buffer): void {
    this.#bytes += chunk.length;
    this.#chunks.push(chunk);
    if (this.#bytes > ANSWER_BYTES_MAX) controller.abort(new Error('the answer is too large'));
  }

  onResponseEnd(): void {
    if (this.#deadline !== undefined) this.#deadlines.clear(this.#deadline);
    const body = this.#chunks.length === 1 && this.#chunks[0] ? this.#chunks[0] : Buffer.concat(this.#chunks);
    const [status, headers] = [this.#status, this.#headers];
    const codings = headers['content-encoding'];
    if (codings === undefined || body.length === 0) this.#resolve({ kind: 'answered', status, headers, body });
    else void this.#decoded(status, headers, String(codings), body);
  }

  async #decoded(status: number, headers: AnswerHeaders, codings: string, body: Buffer): Promise<void> {
    const plain = await decoded(codings, body, ANSWER_BYTES_MAX);
    this.#resolve({ kind: 'answered', status, headers, body: plain });
  }

  onResponseError(_: Dispatcher.DispatchController, error: Error): void {
    if (this.#deadline !== undefined) this.#deadlines.clear(this.#deadline);
    this.#resolve({ kind: this.#sent ? 'lost' : 'unsent', reason: reasonOf(error) });
  }
}

/** A body as JSON; undefined when it is none. */
export function parsed(body: Buffer): unknown {
  try {
    return JSON.parse(body.toString()) as unknown;
  } catch {
    return undefined;
  }
}

/** The error's code where it has one: messages name addresses, which are the operator's business. */
function reasonOf(error: unknown): string {
  if (!isNativeError(error)) return String(error);
  const { code } = error as { readonly code?: unknown };
  return typeof code === 'string' ? code : error.message;
}
