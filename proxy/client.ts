/** The control plane as a typed client, for the activities, the CLI and users' own programs. */
import { Pool } from 'undici';
import { CONTROL_ERRORS } from './contract';
import type {
  CallState,
  CallView,
  Issue,
  IssuedKey,
  IssueKeyBody,
  JobView,
  KeyState,
  KeyView,
  Page,
  ResolveBody,
  RevokedKey,
  SummaryView,
} from './contract';
import type { DriftFilter, DriftLine } from './drift/lines';
import type { VendorView } from './endpoints';
import type { PruneQuery, PruneView } from './retention';

export interface KeybrakeClientOptions {
  /** Where the proxy listens, e.g. `http://127.0.0.1:8787`. */
  readonly url: string;
  /** `KEYBRAKE_API_KEY` (admin) or `KEYBRAKE_WORKER_KEY` (worker). */
  readonly apiKey: string;
  /** Milliseconds to wait for an answer; 15,000 by default. */
  readonly timeoutMs?: number;
}

/**
 * A control-plane call that failed. `code` is the proxy's error code, or `unreachable` when no answer came (then
 * `status` is 0). The message never holds a secret.
 */
export class KeybrakeApiError extends Error {
  override readonly name = 'KeybrakeApiError';
  readonly status: number;
  readonly code: string;
  readonly issues: readonly Issue[];

  constructor(status: number, code: string, message: string, issues: readonly Issue[] = [], cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.status = status;
    this.code = code;
    this.issues = issues;
  }

  /** May the same request succeed later? True for an unreachable proxy, for 429 and 5xx, and for success of something else. */
  get retryable(): boolean {
    return this.status < 400 || this.status === 429 || this.status >= 500;
  }
}

export interface CallFilter {
  readonly label?: string;
  readonly job_id?: string;
  readonly key_id?: string;
  readonly state?: CallState;
  readonly record_id?: string;
  readonly vendor_id?: string;
  readonly cursor?: string;
  /** Rows a page: 1 to 1,000, 100 by default. */
  readonly limit?: number;
}

export interface KeyFilter {
  readonly label?: string;
  readonly job_id?: string;
  readonly state?: KeyState;
  readonly cursor?: string;
  readonly limit?: number;
}

type Query = Readonly<Record<string, string | number | undefined>>;

/** Every method throws {@link KeybrakeApiError}. */
export class KeybrakeClient {
  readonly url: string;
  readonly #pool: Pool;
  readonly #prefix: string;
  readonly #authorization: string;

  constructor({ url, apiKey, timeoutMs = 15_000 }: KeybrakeClientOptions) {
    const parsed = new URL(url);
    this.url = url.replace(/\/+$/, '');
    this.#prefix = parsed.pathname.replace(/\/+$/, '');
    this.#authorization = `Bearer ${apiKey}`;
    this.#pool = new Pool(parsed.origin, { connections: 16, headersTimeout: timeoutMs, bodyTimeout: timeoutMs });
  }

  /** Issues a vault key. With `idempotencyKey`, the same key and body give the same vault key back. */
  issueKey(body: IssueKeyBody, idempotencyKey?: string): Promise<IssuedKey> {
    return this.#json('POST', '/vault/keys', 'key_id', {
      body,
      ...(idempotencyKey !== undefined && { idempotencyKey }),
    });
  }

  getKey(keyId: string): Promise<KeyView> {
    return this.#json('GET', `/vault/keys/${encodeURIComponent(keyId)}`, 'key_id');
  }

  listKeys(filter: KeyFilter = {}): Promise<Page<KeyView>> {
    return this.#json('GET', '/vault/keys', 'items', { query: { ...filter } });
  }

  /** Raises a cap or moves the expiry. `usd_cap` in dollars; `expires_in` as at issue, counted from now. */
  patchKey(keyId: string, body: { usd_cap?: number; expires_in?: string | number }): Promise<KeyView> {
    return this.#json('PATCH', `/vault/keys/${encodeURIComponent(keyId)}`, 'key_id', { body });
  }

  /** The vendors, their accounts and the routes that a key may name. */
  async listVendors(): Promise<readonly VendorView[]> {
    return (await this.#json<{ items: readonly VendorView[] }>('GET', '/vault/vendors', 'items')).items;
  }

  getJob(jobId: string): Promise<JobView> {
    return this.#json('GET', `/vault/jobs/${encodeURIComponent(jobId)}`, 'job_id');
  }

  patchJob(jobId: string, body: { usd_cap: number }): Promise<JobView> {
    return this.#json('PATCH', `/vault/jobs/${encodeURIComponent(jobId)}`, 'job_id', { body });
  }

  /** Extends the lease by its length, counted from now. */
  renewKey(keyId: string): Promise<KeyView> {
    return this.#json('POST', `/vault/keys/${encodeURIComponent(keyId)}/renew`, 'key_id');
  }

  /** The vault key again, for a worker that holds only the key id. */
  tokenFor(keyId: string): Promise<IssuedKey> {
    return this.#json('POST', `/vault/keys/${encodeURIComponent(keyId)}/token`, 'key_id');
  }

  /** Revokes a key and its children. When this resolves, no further call with it leaves. Idempotent. */
  revokeKey(keyId: string, reason: string): Promise<RevokedKey> {
    return this.#json('DELETE', `/vault/keys/${encodeURIComponent(keyId)}`, 'key_id', { query: { reason } });
  }

  listCalls(filter: CallFilter = {}): Promise<Page<CallView>> {
    return this.#json('GET', '/vault/calls', 'items', { query: { ...filter } });
  }

  /** Streams every matching call, oldest first, in constant memory. While a run goes on, calls may yet appear between. */
  async *streamCalls(filter: CallFilter = {}): AsyncGenerator<CallView> {
    yield* this.#lines<CallView>('/vault/calls', { ...filter });
  }

  /**
   * The vendor's own total for a run against the ledger's, line by line. What does not end with a line of type `end`
   * was broken off: nothing follows from it.
   */
  async *drift(filter: DriftFilter): AsyncGenerator<DriftLine> {
    yield* this.#lines<DriftLine>('/vault/drift', { ...filter });
  }

  /** The audit log as the proxy writes it: NDJSON or CSV text, in chunks. */
  async exportCalls(filter: CallFilter, accept: 'application/x-ndjson' | 'text/csv'): Promise<AsyncIterable<Buffer>> {
    return this.#send('GET', '/vault/calls', { query: { ...filter }, accept });
  }

  /** Removes old rows of the audit log for some seconds; ask again with `next_cursor` until that is null. */
  pruneCalls({ dry_run: dryRun = false, ...query }: PruneQuery): Promise<PruneView> {
    return this.#json('DELETE', '/vault/calls', 'next_cursor', { query: { ...query, dry_run: String(dryRun) } });
  }

  summary(label: string): Promise<SummaryView> {
    return this.#json('GET', '/vault/summary', 'label', { query: { label } });
  }

  /** An operator's word on an unknown call. */
  resolveCall(callId: string, body: ResolveBody): Promise<CallView> {
    return this.#json('POST', `/vault/calls/${encodeURIComponent(callId)}/resolve`, 'call_id', { body });
  }

  /** `GET /readyz`: resolves when the proxy can reach its store. */
  ready(): Promise<{ status: string }> {
    return this.#json('GET', '/readyz', 'status');
  }

  close(): Promise<void> {
    return this.#pool.close();
  }

  async *#lines<T>(path: string, query: Query): AsyncGenerator<T> {
    const body = await this.#send('GET', path, { query, accept: 'application/x-ndjson' });
    let rest = '';
    for await (const chunk of body) {
      const lines = (rest + String(chunk)).split('\n');
      rest = lines.pop() ?? '';
      for (const line of lines) if (line !== '') yield JSON.parse(line) as T;
    }
    if (rest !== '') yield JSON.parse(rest) as T;
  }

  /** `field` is one that every such answer of the proxy has, so that nobody else's is taken for one. */
  async #json<T>(method: string, path: string, field: string, options: SendOptions = {}): Promise<T> {
    const body = await this.#send(method, path, options);
    const answer = fromJson(await body.text());
    if (typeof answer === 'object' && answer !== null && field in answer) return answer as T;
    throw notOfKeybrake(this.url, 200);
  }

  async #send(method: string, path: string, { query, body, accept, idempotencyKey }: SendOptions) {
    const wanted = accept ?? 'application/json';
    const search = new URLSearchParams();
    for (const [name, value] of Object.entries(query ?? {})) if (value !== undefined) search.set(name, String(value));
    const reply = await this.#pool
      .request({
        method: method,
        path: `${this.#prefix}${path}${search.size > 0 ? `?${search.toString()}` : ''}`,
        headers: {
          authorization: this.#authorization,
          accept: wanted,
          ...(body !== undefined && { 'content-type': 'application/json' }),
          ...(idempotencyKey !== undefined && { 'idempotency-key': idempotencyKey }),
        },
        ...(body !== undefined && { body: JSON.stringify(body) }),
      })
      .catch((cause: unknown) => {
        const why = cause instanceof Error ? cause.message : String(cause);
        throw new KeybrakeApiError(0, 'unreachable', `No answer from the proxy at ${this.url}: ${why}`, [], cause);
      });
    if (reply.statusCode >= 400) throw await toApiError(this.url, reply.statusCode, reply.body);
    const type = reply.headers['content-type'];
    if (reply.statusCode < 300 && typeof type === 'string' && type.startsWith(wanted)) return reply.body;
    reply.body.on('error', () => undefined).destroy();
    throw notOfKeybrake(this.url, reply.statusCode);
  }
}

interface SendOptions {
  readonly query?: Query;
  readonly body?: unknown;
  readonly accept?: string;
  readonly idempotencyKey?: string;
}

async function toApiError(url: string, status: number, body: { text(): Promise<string> }): Promise<KeybrakeApiError> {
  const text = await body.text();
  try {
    const { error } = JSON.parse(text) as { error: { code: string; message: string; issues?: Issue[] } };
    // Others answer with `error` too: their text must not be taken for the proxy's word.
    if (!Object.hasOwn(CONTROL_ERRORS, error.code)) return notOfKeybrake(url, status);
    return new KeybrakeApiError(status, error.code, error.message, error.issues ?? []);
  } catch {
    return notOfKeybrake(url, status);
  }
}

function fromJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function notOfKeybrake(url: string, status: number): KeybrakeApiError {
  const message = `What is at ${url} does not answer like a keybrake proxy (status ${status}).`;
  return new KeybrakeApiError(status, 'unreadable_answer', message);
}
