// oxlint-disable-next-line import/no-named-as-default
import Stripe from 'stripe';
import { Agent, request } from 'undici';
import { type Sandbox, startSandbox } from '../src/sandbox';

/** The only secret that the sandbox of these tests accepts. */
export const SECRET = 'sk_test_sandbox_0123456789';

/** When the clock of these tests starts. */
export const START_MS = 1_800_000_000_000;

/** The options of a call whose idempotency key the tests look for. */
export const KEYED = { idempotencyKey: 'job:record-1' };

/** A charge of five dollars. */
export const FIVE_DOLLARS = { amount: 500, currency: 'usd', confirm: true, customer: 'cus_1' } as const;

/** The same, as the SDK sends it. */
export const FIVE_DOLLARS_FORM = 'amount=500&currency=usd&confirm=true&customer=cus_1';

/** An answer of the sandbox, read. */
export interface Raw {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  // Whatever the vendor answers: a test reads what it needs.
  // oxlint-disable-next-line typescript/no-explicit-any
  readonly json: any;
}

/** A sandbox, a clock that the test sets, the official SDK, and plain HTTP. */
export interface Fixture {
  readonly sandbox: Sandbox;
  readonly stripe: Stripe;
  readonly clock: { nowMs: number };
  post(path: string, body: string, headers?: Record<string, string>): Promise<Raw>;
  call(method: 'GET' | 'POST', path: string, body?: string, headers?: Record<string, string>): Promise<Raw>;
  close(): Promise<void>;
}

/** Starts a sandbox with its callers. */
export async function startFixture(): Promise<Fixture> {
  const clock = { nowMs: START_MS };
  const sandbox = await startSandbox({ secretKey: SECRET, now: () => clock.nowMs });
  const agent = new Agent({ connections: 64 });
  const call: Fixture['call'] = async (method, path, body, headers = {}) => {
    const answer = await request(`${sandbox.url}${path}`, {
      method,
      headers: { authorization: `Bearer ${SECRET}`, ...headers },
      ...(body === undefined ? {} : { body }),
      dispatcher: agent,
    });
    return { status: answer.statusCode, headers: answer.headers, json: await answer.body.json() };
  };
  return {
    sandbox,
    clock,
    stripe: clientOf(sandbox),
    call,
    post: (path, body, headers) =>
      call('POST', path, body, { 'content-type': 'application/x-www-form-urlencoded', ...headers }),
    close: async () => {
      await agent.close();
      await sandbox.stop();
    },
  };
}

/** The official SDK, pointed at a sandbox; it does not retry by itself unless it is told to. */
export function clientOf(sandbox: Sandbox, secret = SECRET, maxNetworkRetries = 0): Stripe {
  return new Stripe(secret, { host: '127.0.0.1', port: sandbox.port, protocol: 'http', maxNetworkRetries });
}

/** The error that the SDK raises; fails when it raises none. */
export function errorOf(promise: Promise<unknown>): Promise<Stripe.errors.StripeError> {
  return promise.then(
    () => {
      throw new Error('expected a refusal');
    },
    (error: Stripe.errors.StripeError) => error,
  );
}

/** The id in a field that may be expanded. */
export function idOf(field: string | { readonly id: string } | null): string {
  return typeof field === 'string' ? field : (field?.id ?? '');
}
