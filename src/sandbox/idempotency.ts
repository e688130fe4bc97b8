import { StripeFailure } from './errors';
import { type FormHash, decodeForm } from './form';

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
export interface KeyRow {
  readonly request: KeyedRequest;
  readonly atMs: number;
  answer?: Answer;
}

const KEY_CHARS_MAX = 255;
const KEYS_FOR = 'Keys for idempotent requests can only be used';
const RETENTION_MS = 24 * 3_600_000;

/**
 * Stripe's idempotency layer: a key stands for one request of one account. The answer of the first is stored once the
 * endpoint has begun to execute, and is replayed for 24 hours.
 */
export class IdempotencyKeys {
  readonly #rows = new Map<string, KeyRow>();

  /** Claims the key (`fresh`), or finds the answer to replay. Other parameters and concurrent use are refused. */
  begin(request: KeyedRequest, nowMs: number): { readonly row: KeyRow; readonly fresh: boolean } {
    checkLength(request.key);
    this.#prune(nowMs);
    const id = rowId(request);
    const found = this.#rows.get(id);
    if (found === undefined) {
      const row: KeyRow = { request, atMs: nowMs };
      this.#rows.set(id, row);
      return { row, fresh: true };
    }
    checkSame(found.request, request);
    if (found.answer === undefined) throw inUse(request.key);
    return { row: found, fresh: false };
  }

  /** Gives the key back: the request failed before it began to execute. */
  forget(row: KeyRow): void {
    const id = rowId(row.request);
    if (this.#rows.get(id) === row) this.#rows.delete(id);
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

function checkLength(key: string): void {
  if (key.length >= 1 && key.length <= KEY_CHARS_MAX) return;
  const message = `Idempotency keys must be 1 to ${KEY_CHARS_MAX} characters long; you provided ${key.length}.`;
  throw new StripeFailure(400, { message, type: 'invalid_request_error' });
}

function checkSame(first: KeyedRequest, again: KeyedRequest): void {
  const other = `Try using a key other than '${again.key}' if you meant to execute a different request.`;
  if (first.path !== again.path) {
    const paths = `('${again.path}' vs '${first.path}')`;
    const message = `${KEYS_FOR} for the same endpoint they were first used for ${paths}. ${other}`;
    throw new StripeFailure(400, { message, type: 'idempotency_error' });
  }
  if (first.body !== again.body && canonical(decodeForm(first.body)) !== canonical(decodeForm(again.body))) {
    const message = `${KEYS_FOR} with the same parameters they were first used with. ${other}`;
    throw new StripeFailure(400, { message, type: 'idempotency_error' });
  }
}

function inUse(key: string): StripeFailure {
  const message =
    'There is currently another in-progress request using this Idempotent Key (that probably means you submitted ' +
    `twice, and the other request is still going through): ${key}. Please try again later.`;
  return new StripeFailure(409, { code: 'idempotency_key_in_use', message, type: 'idempotency_error' });
}

/** The same text for the same parameters, in whatever order they were sent. */
function canonical(form: FormHash): string {
  const pairs = Object.entries(form).map(([name, value]) => {
    const text = typeof value === 'string' ? JSON.stringify(value) : canonical(value);
    return `${JSON.stringify(name)}:${text}`;
  });
  return `{${pairs.toSorted().join(',')}}`;
}
