/** What stands for one request and is executed once: the idempotency layer that vendors have in common. */
import type { RequestCounts } from './counts';

/** A finished answer. Its body is an immutable object, so it can be stored as it is and rendered again. */
export interface Answer {
  readonly status: number;
  readonly body: unknown;
}

/** What the key is bound to: where it was used first, with which parameters, by which request. */
export interface KeyedRequest {
  readonly scope: string;
  readonly key: string;
  readonly path: string;
  readonly body: string;
  readonly requestId: string;
}

/** A key in use. Without an answer its first request is still running. */
interface KeyRow {
  readonly request: KeyedRequest;
  readonly atMs: number;
  answer?: Answer;
}

/** What a vendor says of keys; the first two throw its refusal. */
export interface KeyRules {
  readonly checkKey: (key: string) => void;
  readonly checkSame: (first: KeyedRequest, again: KeyedRequest) => void;
  readonly inUse: (key: string) => Error;
}

/** What the layer needs of the exchange that it serves. */
export interface KeyedExchange {
  readonly counts: RequestCounts;
  readonly nowMs: number;
  delay(): Promise<void>;
  /** What is kept of an answer: itself, or the injected 500 that replaces it. */
  stored(answer: Answer): Answer;
}

const RETENTION_MS = 24 * 3_600_000;

/**
 * A key stands for one request of one account. The answer of the first is stored once the endpoint has begun to
 * execute, and is replayed for 24 hours.
 */
export class IdempotencyKeys {
  readonly #rules: KeyRules;
  readonly #rows = new Map<string, KeyRow>();

  constructor(rules: KeyRules) {
    this.#rules = rules;
  }

  /**
   * Executes the request, or finds the answer of the one that was first to use the key. Other parameters and
   * concurrent use are refused. What `execute` throws is not stored and gives the key back.
   */
  async once(
    request: KeyedRequest,
    exchange: KeyedExchange,
    execute: () => Answer,
  ): Promise<{ readonly answer: Answer; readonly first: KeyedRequest | null }> {
    const row = this.#begin(request, exchange);
    await exchange.delay();
    if (row.answer !== undefined) {
      exchange.counts.replayed += 1;
      return { answer: row.answer, first: row.request };
    }
    try {
      const answer = execute();
      row.answer = exchange.stored(answer);
      return { answer, first: null };
    } catch (error) {
      if (this.#rows.get(rowId(request)) === row) this.#rows.delete(rowId(request));
      throw error;
    }
  }

  /** The row of the key: fresh, or with the answer to replay. */
  #begin(request: KeyedRequest, { counts, nowMs }: KeyedExchange): KeyRow {
    this.#rules.checkKey(request.key);
    this.#prune(nowMs);
    const found = this.#rows.get(rowId(request));
    if (found === undefined) {
      const row: KeyRow = { request, atMs: nowMs };
      this.#rows.set(rowId(request), row);
      return row;
    }
    this.#rules.checkSame(found.request, request);
    if (found.answer !== undefined) return found;
    counts.inUse += 1;
    throw this.#rules.inUse(request.key);
  }

  /** Rows are in order of age, so only the oldest need a look. */
  #prune(nowMs: number): void {
    for (const [id, row] of this.#rows) {
      if (nowMs - row.atMs < RETENTION_MS) return;
      this.#rows.delete(id);
    }
  }
}

function rowId(request: KeyedRequest): string {
  return `${request.scope}\n${request.key}`;
}
