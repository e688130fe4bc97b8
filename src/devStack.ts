/** Temporal, a sandbox vendor, the proxy and a worker in one process, on loopback: for `keybrake dev` and the demo. */
import type { Logger } from 'pino';
import { startProxy } from '../proxy';
import { KeybrakeClient } from '../proxy/client';
import type { ProxyOptions, RunningProxy } from '../proxy/options';
import { randomSecret } from './secrets';
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
  readonly sandbox?: SandboxOptions;
  /** Random by default. */
  readonly apiKey?: string;
  readonly workerKey?: string;
  /** Any free port by default. */
  readonly proxyPort?: number;
  readonly taskQueue?: string;
  /** Further options of the proxy. With `accounts`, those are called and no sandbox is started. */
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

/** Starts all of it. What had started is stopped again when a later part fails. */
export async function startDevStack(options: DevStackOptions): Promise<DevStack> {
  const stops: (() => Promise<void> | undefined)[] = [];
  const keep = (stop: () => Promise<void> | undefined): void => void stops.unshift(stop);
  const stop = async (): Promise<void> => {
    const errors: unknown[] = [];
    // One part that does not end well must not keep the rest alive.
    for (const next of stops.splice(0)) await next()?.catch((error: unknown) => errors.push(error));
    if (errors.length > 0) throw errors.length === 1 ? errors[0] : new AggregateError(errors, 'Several parts failed.');
  };
  try {
    const temporal = await startTemporalDev(options.temporal);
    keep(() => temporal.stop());
    const vendor = await startVendor(options);
    keep(() => vendor?.sandbox.stop());
    const { proxy, ...roles } = await startProxyOf(options, vendor);
    keep(() => proxy.close());
    const client = new KeybrakeClient({ url: proxy.url, apiKey: roles.apiKey });
    keep(() => client.close());
    const worker = await startWorker({
      url: proxy.url,
      workerKey: roles.workerKey,
      sourceDir: options.sourceDir,
      address: temporal.address,
      ...(options.taskQueue !== undefined && { taskQueue: options.taskQueue }),
    });
    keep(() => worker.stop());
    return { temporal, sandbox: vendor?.sandbox ?? null, proxy, worker, client, ...roles, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

interface Vendor {
  readonly sandbox: Sandbox;
  readonly secret: string;
}

async function startVendor({ proxy, sandbox }: DevStackOptions): Promise<Vendor | undefined> {
  if (proxy?.accounts !== undefined) return undefined;
  const secret = sandbox?.secretKey ?? randomSecret('sk_test_');
  return { sandbox: await startSandbox({ ...sandbox, secretKey: secret }), secret };
}

async function startProxyOf(options: DevStackOptions, vendor: Vendor | undefined) {
  const apiKey = options.apiKey ?? randomSecret('kb_admin_');
  const workerKey = options.workerKey ?? randomSecret('kb_worker_');
  const accounts: ProxyOptions['accounts'] =
    vendor === undefined ? {} : { stripe: { vendor: 'stripe', secret: vendor.secret, upstream: vendor.sandbox.url } };
  const proxy = await startProxy({
    port: options.proxyPort ?? 0,
    store: options.store,
    apiKey,
    workerKey,
    accounts,
    logger: options.logger,
    ...options.proxy,
  });
  return { proxy, apiKey, workerKey, secrets: [...secretsOf(options.proxy?.accounts ?? accounts), apiKey, workerKey] };
}

function secretsOf(accounts: ProxyOptions['accounts']): string[] {
  return Object.values(accounts).map(({ secret }) => secret);
}
