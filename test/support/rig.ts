/** The real proxy between real callers and the vendor's stand-in, for tests that look at it from outside only. */
import { pino } from 'pino';
import { Agent, request } from 'undici';
import type { IssuedKey, IssueKeyBody } from '../../proxy/contract';
import { type Sandbox, type SandboxOptions, startSandbox } from '../../src/sandbox';
import type { TestProxyOptions } from '../../src/testing';
import { startTestProxy, type StoredProxy } from './proxy';

export { until } from './until';

/** What the proxy answered, read to its end. */
export interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly text: string;
  // A test reads what it needs of whatever was answered.
  // oxlint-disable-next-line typescript/no-explicit-any
  readonly json: any;
  /** `error.code`: the machine-readable code of a refusal. */
  readonly code: string | undefined;
}

export interface Call {
  readonly method?: 'GET' | 'POST';
  readonly path?: string;
  /** The body as it is sent; a form is declared unless `headers` say otherwise. */
  readonly body?: string;
  /** The Idempotency-Key. */
  readonly key?: string;
  readonly headers?: Readonly<Record<string, string>>;
}

export type Caller = (vaultKey: string | null, call?: Call) => Promise<Answer>;

export const FIVE_DOLLARS = 'amount=500&currency=usd&confirm=true';

/** A caller with its own connections to a proxy. */
export function callerOf(url: string, connections = 256): { call: Caller; close(): Promise<void> } {
  const agent = new Agent({ connections, pipelining: 1, headersTimeout: 60_000 });
  const call: Caller = async (vaultKey, { method = 'POST', path, body, key, headers } = {}) => {
    const form = method === 'GET' ? undefined : (body ?? FIVE_DOLLARS);
    const reply = await request(`${url}${path ?? '/stripe/v1/payment_intents'}`, {
      method,
      dispatcher: agent,
      headers: {
        ...(vaultKey !== null && { authorization: `Bearer ${vaultKey}` }),
        ...(form !== undefined && { 'content-type': 'application/x-www-form-urlencoded' }),
        ...(key !== undefined && { 'idempotency-key': key }),
        ...headers,
      },
      ...(form !== undefined && { body: form }),
    });
    const text = await reply.body.text();
    const json: unknown = text === '' ? null : JSON.parse(text);
    const code = (json as { error?: { code?: string } } | null)?.error?.code;
    return { status: reply.statusCode, headers: reply.headers, text, json, code };
  };
  return { call, close: () => agent.destroy() };
}

export interface Rig {
  readonly sandbox: Sandbox;
  readonly proxy: StoredProxy;
  readonly client: StoredProxy['client'];
  readonly call: Caller;
  /** Every answer that `call` got, and every line that the proxy logged at trace level, as text. */
  readonly heard: string[];
  readonly logged: string[];
  issue(body?: Partial<IssueKeyBody>): Promise<IssuedKey>;
  close(): Promise<void>;
}

export interface RigOptions {
  readonly sandbox?: SandboxOptions;
  readonly proxy?: Partial<TestProxyOptions>;
  readonly connections?: number;
}

export async function startRig({ sandbox: vendor, proxy: given, connections }: RigOptions = {}): Promise<Rig> {
  const sandbox = await startSandbox(vendor);
  const logged: string[] = [];
  const logger = pino({ level: 'trace' }, { write: (line: string) => void logged.push(line) });
  const proxy = await startTestProxy({ upstream: sandbox.url, logger, ...given });
  const caller = callerOf(proxy.url, connections);
  const heard: string[] = [];
  return {
    sandbox,
    proxy,
    client: proxy.client,
    heard,
    logged,
    async call(vaultKey, call) {
      const answer = await caller.call(vaultKey, call);
      heard.push(JSON.stringify(answer.headers), answer.text);
      return answer;
    },
    issue: (body = {}) => proxy.client.issueKey(keyBody(body)),
    async close() {
      await caller.close();
      await proxy.close();
      await sandbox.stop();
    },
  };
}

/** The shortest right body; tests say what differs. */
export function keyBody(body: Partial<IssueKeyBody>): IssueKeyBody {
  const allowed_endpoints = ['POST /v1/payment_intents'];
  return { vendor: 'stripe', allowed_endpoints, expires_in: '1h', agent_run_label: 'test', ...body };
}

/** Runs `work` for 0 to `count - 1`, `width` at a time, and answers in that order. */
export async function parallel<T>(count: number, width: number, work: (index: number) => Promise<T>): Promise<T[]> {
  const results: T[] = [];
  let next = 0;
  const worker = async (): Promise<void> => {
    for (let index = next++; index < count; index = next++) results[index] = await work(index);
  };
  await Promise.all(Array.from({ length: width }, worker));
  return results;
}

/** How many answers there were of each status and code: `{ "200": 50, "429 cap_exhausted": 350 }`. */
export function tally(answers: readonly Pick<Answer, 'status' | 'code'>[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const { status, code } of answers) {
    const name = code === undefined ? String(status) : `${status} ${code}`;
    counts[name] = (counts[name] ?? 0) + 1;
  }
  return counts;
}

/** What the vendor executed and what the ledger says about it; equal sums mean that no dollar is lost or made up. */
export async function books({ client, sandbox }: Pick<Rig, 'client' | 'sandbox'>, keyId: string) {
  const { spend } = await client.getKey(keyId);
  const { chargedUsd, openUsd, executedCharges, duplicates } = sandbox.stats().stripe;
  return {
    executedByVendor: executedCharges,
    executedTwice: [...duplicates.keys, ...duplicates.customers],
    vendorUsd: chargedUsd + openUsd,
    settledUsd: spend.settled_usd,
    heldUsd: spend.held_usd,
    unknownUsd: spend.unknown_usd,
  };
}

/** {@link books} when all is well: the vendor executed this much, and the ledger has settled exactly that. */
export function balanced(executed: number, usd: number): Awaited<ReturnType<typeof books>> {
  const sums = { vendorUsd: usd, settledUsd: usd, heldUsd: 0, unknownUsd: 0 };
  return { executedByVendor: executed, executedTwice: [], ...sums };
}
