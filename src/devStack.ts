/** Temporal, a sandbox vendor, the proxy and a worker in one process, on loopback: for `keybrake dev` and the demo. */
import { randomBytes } from 'node:crypto';
import type { Logger } from 'pino';
import { startProxy } from '../proxy';
import { KeybrakeClient } from '../proxy/client';
import type { ProxyOptions, RunningProxy } from '../proxy/options';
import { type Sandbox, type SandboxOptions, startSandbox } from './sandbox';
import { type TemporalDev, type TemporalDevOptions, startTemporalDev } from './temporalDev';
import { type RunningWorker, startWorker } from './worker';

export interface DevStackOptions {
  readonly logger: Logger;
  /** Folder that sources and results are resolved in. */
  readonly sourceDir: string;
  /** The ledger, e.g. `sqlite:/tmp/x/keybrake.db`. */
  readonly store: string;
  readonly temporal?: TemporalDevOptions;
  /** A real account instead of the sandbox. */
  readonly stripeSecret?: string;
  readonly sandbox?: SandboxOptions;
  /** Random by default. */
  readonly apiKey?: string;
  readonly workerKey?: string;
  /** Any free port by default. */
  readonly proxyPort?: number;
  readonly taskQueue?: string;
  /** Further options of the proxy. */
  readonly proxy?: Partial<ProxyOptions>;
}

export interface DevStack {
  readonly temporal: TemporalDev;
  /** Null where a real account is used. */
  readonly sandbox: Sandbox | null;
  readonly proxy: RunningProxy;
  readonly worker: RunningWorker;
  /** The control plane, as admin. */
  readonly client: KeybrakeClient;
  readonly apiKey: string;
  readonly workerKey: string;
  /** What must never show up anywhere: the vendor's secret and both role keys. */
  readonly secrets: readonly string[];
  /** Ends all in the order in which nothing is lost: worker, proxy, vendor, Temporal. */
  stop(): Promise<void>;
}

/** A key for a role, or a vendor's secret in a sandbox. */
export function randomSecret(prefix: string): string {
  return `${prefix}${randomBytes(24).toString('hex')}`;
}

/** Starts all of it. What had started is stopped again when a later part fails. */
export async function startDevStack(options: DevStackOptions): Promise<DevStack> {
  const stops: (() => Promise<unknown>)[] = [];
  const keep = <T>(part: T, stop: () => Promise<unknown>): T => {
    stops.unshift(stop);
    return part;
  };
  const stop = async (): Promise<void> => {
    const errors: unknown[] = [];
    // One part that does not end well must not keep the rest alive.
    for (const next of stops.splice(0)) await next().catch((error: unknown) => errors.push(error));
    if (errors.length > 0) throw errors.length === 1 ? errors[0] : new AggregateError(errors, 'Several parts failed.');
  };
  try {
    const [temporal, sandbox] = await Promise.all([
      startTemporalDev(options.temporal).then((part) => keep(part, () => part.stop())),
      startVendor(options, keep),
    ]);
    const { proxy, ...roles } = await startProxyOf(options, sandbox);
    keep(proxy, () => proxy.close());
    const client = new KeybrakeClient({ url: proxy.url, apiKey: roles.apiKey });
    keep(client, () => client.close());
    const worker = await startWorker({
      url: proxy.url,
      workerKey: roles.workerKey,
      sourceDir: options.sourceDir,
      address: temporal.address,
      ...(options.taskQueue !== undefined && { taskQueue: options.taskQueue }),
    });
    keep(worker, () => worker.stop());
    return { temporal, sandbox: sandbox?.running ?? null, proxy, worker, client, ...roles, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

interface Vendor {
  readonly running: Sandbox;
  readonly secret: string;
}

async function startVendor(
  { stripeSecret, sandbox }: DevStackOptions,
  keep: (part: Sandbox, stop: () => Promise<unknown>) => Sandbox,
): Promise<Vendor | undefined> {
  if (stripeSecret !== undefined) return undefined;
  const secret = sandbox?.secretKey ?? randomSecret('sk_test_');
  const running = await startSandbox({ ...sandbox, secretKey: secret });
  return { running: keep(running, () => running.stop()), secret };
}

async function startProxyOf(options: DevStackOptions, vendor: Vendor | undefined) {
  const apiKey = options.apiKey ?? randomSecret('kb_admin_');
  const workerKey = options.workerKey ?? randomSecret('kb_worker_');
  const secret = vendor?.secret ?? options.stripeSecret ?? '';
  const proxy = await startProxy({
    port: options.proxyPort ?? 0,
    store: options.store,
    apiKey,
    workerKey,
    accounts: { stripe: { vendor: 'stripe', secret, ...(vendor && { upstream: vendor.running.url }) } },
    logger: options.logger,
    ...options.proxy,
  });
  return { proxy, apiKey, workerKey, secrets: [secret, apiKey, workerKey] };
}
