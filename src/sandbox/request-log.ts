/** The vendors that have a stand-in. */
export type VendorName = 'stripe' | 'twilio' | 'resend';

/** A request as the vendor received it, before anything was made of it. */
export interface LoggedRequest {
  readonly id: string;
  readonly vendor: VendorName;
  readonly atMs: number;
  readonly method: string;
  /** The request target: path and query, not decoded. */
  readonly path: string;
  /** Lower-case names. */
  readonly headers: Readonly<Record<string, string | readonly string[] | undefined>>;
  readonly body: string;
  /** The status answered; null while it runs and when the connection was cut instead. */
  status: number | null;
}

const KEPT_MAX = 10_000;

/** The last 10,000 requests. */
export class RequestLog {
  readonly #kept: LoggedRequest[] = [];
  #oldest = 0;

  add(request: LoggedRequest): void {
    if (this.#kept.length < KEPT_MAX) {
      this.#kept.push(request);
      return;
    }
    this.#kept[this.#oldest] = request;
    this.#oldest = (this.#oldest + 1) % KEPT_MAX;
  }

  clear(): void {
    this.#kept.length = 0;
    this.#oldest = 0;
  }

  /** Oldest first. */
  list(): readonly LoggedRequest[] {
    return [...this.#kept.slice(this.#oldest), ...this.#kept.slice(0, this.#oldest)];
  }
}
