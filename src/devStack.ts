/** Temporal, sandbox vendors, the proxy and a worker in one process, on loopback: for `keybrake dev` and the demo. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Logger } from 'pino';
import { startProxy } from '../proxy';
import { KeybrakeClient } from '../proxy/client';
import { createLogger } from '../proxy/log';
import type { ProxyOptions, RunningProxy } from '../proxy/options';
import { type Sandbox, type SandboxOptions, startSandbox } from './sandbox';
import { sandboxAccounts } from './sandboxAccounts';
import { randomSecret } from './secrets';
import { type TemporalDev, type TemporalDevOptions, startTemporalDev } from './temporalDev';
import { type RunningWorker, startWorker } from './worker';

export interface DevStackOptions {
  /** Of the proxy; silent by default. */
  readonly logger?: Logger;
  /** Folder that sources and results are resolved in; the working directory by default. */
  readonly sourceDir?: string;
  /** The ledger, e.g. `sqlite:/tmp/x/keybrake.db`; by default in a temporary folder, which ends with the stack. */
  readonly store?: string;
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
  /** The stand-ins of Stripe, Twilio and Resend; null where real accounts are used. */
  readonly sandbox: Sandbox | null;
  readonly proxy: RunningProxy;
  readonly worker: RunningWorker;
  /** The control plane, as admin. */
  readonly client: KeybrakeClient;
  readonly apiKey: string;
  readonly workerKey: string;
  /** What must never show up anywhere: the vendors' secrets and both role keys. */
  readonly secrets: readonly string[];
  /** Ends all in the order in which nothing is lost: worker, proxy, vendor, Temporal. */
  stop(): Promise<void>;
}

/** Starts all of it. What had started is stopped again when a later part fails. */
export async function startDevStack(options: DevStackOptions = {}): Promise<DevStack> {
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
    const vendors = await startVendors(options);
    keep(() => vendors?.sandbox.stop());
    const store = options.store ?? (await temporaryStore(keep));
    const { proxy, ...roles } = await startProxyOf({ ...options, store }, vendors);
    keep(() => proxy.close());
    const client = new KeybrakeClient({ url: proxy.url, apiKey: roles.apiKey });
    keep(() => client.close());
    const worker = await startWorker({
      url: proxy.url,
      workerKey: roles.workerKey,
      address: temporal.address,
      ...(options.sourceDir !== undefined && { sourceDir: options.sourceDir }),
      ...(options.taskQueue !== undefined && { taskQueue: options.taskQueue }),
    });
    keep(() => worker.stop());
    return { temporal, sandbox: vendors?.sandbox ?? null, proxy, worker, client, ...roles, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

interface Vendors {
  readonly sandbox: Sandbox;
  readonly accounts: ProxyOptions['accounts'];
}

async function startVendors({ proxy, sandbox: options }: DevStackOptions): Promise<Vendors | undefined> {
  if (proxy?.accounts !== undefined) return undefined;
  const { sandbox, at } = sandboxAccounts(options);
  const running = await startSandbox(sandbox);
  return { sandbox: running, accounts: at(running.url) };
}

async function temporaryStore(keep: (stop: () => Promise<void>) => void): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'keybrake-stack-'));
  keep(() => rm(folder, { recursive: true, force: true }));
  return `sqlite:${join(folder, 'keybrake.db')}`;
}

async function startProxyOf(options: DevStackOptions & { readonly store: string }, vendors: Vendors | undefined) {
  const apiKey = options.apiKey ?? randomSecret('kb_admin_');
  const workerKey = options.workerKey ?? randomSecret('kb_worker_');
  const accounts = options.proxy?.accounts ?? vendors?.accounts ?? {};
  const proxy = await startProxy({
    port: options.proxyPort ?? 0,
    store: options.store,
    apiKey,
    workerKey,
    logger: options.logger ?? createLogger({ level: 'silent' }),
    ...options.proxy,
    accounts,
  });
  const secrets = Object.values(accounts).map(({ secret }) => secret);
  return { proxy, apiKey, workerKey, secrets: [...secrets, apiKey, workerKey] };
}
