/** For tests of your own pipelines: the real proxy, a stand-in vendor, a Temporal dev server, and a leak scanner. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startProxy } from '../../proxy';
import { KeybrakeClient } from '../../proxy/client';
import type { ProxyOptions, RunningProxy } from '../../proxy/options';
import { createLogger } from '../log';
import { sandboxAccounts } from '../sandboxAccounts';
import { randomSecret } from '../secrets';

export { type Finding, type ScanOptions, scanFile, scanHistory, scanText } from './scan';
export { type Sandbox, type SandboxOptions, type SandboxStats, startSandbox } from '../sandbox';
export { type TemporalDev, type TemporalDevOptions, startTemporalDev as startTemporal } from '../temporalDev';
export { resolveTemporalCli } from '../temporalCli';
export { type DevStack, type DevStackOptions, startDevStack } from '../devStack';

export interface TestProxyOptions extends Partial<ProxyOptions> {
  /** The vendor's stand-in, e.g. `sandbox.url`. */
  readonly upstream: string;
  /** Stripe's secret there; random by default, as those of Twilio and Resend are. */
  readonly secret?: string;
  /** Calls a second that the proxy lets each account make there; any number by default. */
  readonly maxRps?: number;
}

export interface TestProxy extends RunningProxy {
  readonly apiKey: string;
  readonly workerKey: string;
  /** Stripe's secret: what must not be found anywhere. */
  readonly secret: string;
  /** The secrets of all accounts. */
  readonly secrets: readonly string[];
  /** The SQLite file of the ledger. */
  readonly dbPath: string;
  /** The control plane, as admin. */
  readonly client: KeybrakeClient;
}

/**
 * Starts a proxy on any free port of loopback with a ledger in a temporary folder; `close` removes it. It has an account
 * of Stripe, of Twilio and of Resend at `upstream`, unless `accounts` are given.
 */
export async function startProxyForTests({
  upstream,
  secret,
  maxRps,
  ...options
}: TestProxyOptions): Promise<TestProxy> {
  const folder = await mkdtemp(join(tmpdir(), 'keybrake-test-'));
  const dbPath = join(folder, 'keybrake.db');
  const own = sandboxAccounts(secret === undefined ? {} : { secretKey: secret }).at(upstream);
  const accounts = options.accounts ?? pacedBy(own, maxRps);
  const apiKey = options.apiKey ?? randomSecret('kb_admin_');
  const workerKey = options.workerKey ?? randomSecret('kb_worker_');
  const proxy = await startProxy({
    port: 0,
    store: `sqlite:${dbPath}`,
    logger: createLogger({ level: 'silent' }),
    ...options,
    accounts,
    apiKey,
    workerKey,
  });
  const client = new KeybrakeClient({ url: proxy.url, apiKey });
  const close = async (): Promise<void> => {
    await client.close();
    await proxy.close();
    await rm(folder, { recursive: true, force: true });
  };
  const secrets = Object.values(accounts).map((account) => account.secret);
  return {
    url: proxy.url,
    port: proxy.port,
    apiKey,
    workerKey,
    secret: own.stripe.secret,
    secrets,
    dbPath,
    client,
    close,
  };
}

function pacedBy(accounts: ProxyOptions['accounts'], maxRps: number | undefined): ProxyOptions['accounts'] {
  if (maxRps === undefined) return accounts;
  return Object.fromEntries(Object.entries(accounts).map(([name, account]) => [name, { ...account, maxRps }]));
}
