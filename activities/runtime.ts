/** What the activities of one worker share: the proxy's clients, the vault keys in memory, and where sources are. */
import { strict as assert } from 'node:assert';
import { hostname } from 'node:os';
import { resolve } from 'node:path';
import { Agent } from 'undici';
import { KeybrakeClient } from '../proxy/client';
import { HEADERS } from '../proxy/contract';
import type { Encoded } from './bodies';
import type { Limits } from './contract/limits';
import { refusalIn, type Refused } from './failures';
import { Guards } from './guard';
import type { SourceEnv } from './sources';
import { Blocks } from './sources/blocks';
import { send } from './send';
import { revived, Tokens } from './tokens';

export interface KeybrakeActivitiesOptions {
  /** Where the proxy is, e.g. `http://127.0.0.1:8787`. */
  readonly url: string;
  /** `KEYBRAKE_WORKER_KEY`. */
  readonly workerKey: string;
  /** Folder that sources and results are resolved in; the working directory by default. */
  readonly sourceDir?: string;
  /** Other sizes of pages and shards than the defaults, for tests. */
  readonly limits?: Partial<Limits>;
}

/** One call through the proxy. */
export interface VendorCall extends Encoded {
  readonly keyId: string;
  readonly vendor: string;
  readonly method: string;
  /** As the vendor has it, `/v1/payment_intents`. */
  readonly path: string;
  /** For calls that are not idempotent by their method. */
  readonly idempotencyKey: string;
  readonly headers: Readonly<Record<string, string>>;
}

export interface VendorReply {
  readonly status: number;
  readonly headers: Readonly<Record<string, unknown>>;
  /** Parsed JSON of what is no success, whose body nobody reads; undefined when it is none. */
  readonly body: unknown;
  readonly refused?: Refused;
}

/** Above the proxy's own waits: budget 2 s, first call 20 s, vendor 25 s. */
export const ANSWER_TIMEOUT_MS = 90_000;
const CONNECTIONS = 256;

export class Runtime {
  readonly client: KeybrakeClient;
  readonly tokens: Tokens;
  readonly guards: Guards;
  readonly env: SourceEnv;
  readonly limits: Partial<Limits> | undefined;
  /** The proxy's address without a slash at its end. */
  readonly url: URL;
  readonly dispatcher = new Agent({
    connections: CONNECTIONS,
    headersTimeout: ANSWER_TIMEOUT_MS,
    bodyTimeout: ANSWER_TIMEOUT_MS,
  });

  constructor({ url, workerKey, sourceDir, limits }: KeybrakeActivitiesOptions) {
    this.url = new URL(url);
    this.client = new KeybrakeClient({ url, apiKey: workerKey });
    this.tokens = new Tokens(this.client);
    this.guards = new Guards(this.client);
    this.env = { sourceDir: resolve(sourceDir ?? process.cwd()), host: hostname(), blocks: new Blocks() };
    this.limits = limits;
  }

  /** The vendor's root at the proxy, `http://127.0.0.1:8787/stripe`. */
  baseUrl(vendor: string): string {
    return `${this.url.origin}${this.url.pathname.replace(/\/+$/, '')}/${vendor}`;
  }

  /**
   * Sends a call and waits for its answer, whatever becomes of the activity: a paid call that was sent is never
   * aborted. Throws when no answer came; whether the vendor saw the call is then for the next attempt to learn.
   */
  async call(call: VendorCall): Promise<VendorReply> {
    const reply = await this.#send(call);
    if (reply.refused?.code !== 'key_expired' || !(await revived(this.client, call.keyId))) return reply;
    return this.#send(call);
  }

  async #send({ keyId, vendor, method, path, query, body, idempotencyKey, headers }: VendorCall): Promise<VendorReply> {
    const url = new URL(`${this.baseUrl(vendor)}${path}${query === undefined ? '' : `?${query}`}`);
    const { vaultKey } = await this.tokens.get(keyId);
    const { status, ...answered } = await send(this.dispatcher, {
      origin: url.origin,
      path: `${url.pathname}${url.search}`,
      method: asMethod(method),
      headers: {
        authorization: `Bearer ${vaultKey}`,
        ...(body !== undefined && { 'content-type': body.contentType }),
        ...(method !== 'GET' && { [HEADERS.idempotencyKey]: idempotencyKey }),
        ...headers,
      },
      ...(body !== undefined && { body: body.text }),
    });
    const answer = status < 300 ? undefined : parse(answered.body);
    const refused = status >= 400 ? refusalIn(answer, answered.headers) : undefined;
    if (refused?.code === 'key_invalid') this.tokens.forget(keyId);
    return { status, headers: answered.headers, body: answer, ...(refused !== undefined && { refused }) };
  }
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return undefined;
  }
}

const METHODS = ['GET', 'POST', 'PUT', 'PATCH', 'DELETE'] as const;

function asMethod(method: string): (typeof METHODS)[number] {
  const known = METHODS.find((name) => name === method);
  assert(known !== undefined);
  return known;
}
