/** For tests of your own pipelines: the real proxy, a stand-in vendor, a Temporal dev server, and a leak scanner. */
import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startProxy } from '../../proxy';
import { KeybrakeClient } from '../../proxy/client';
import type { ProxyOptions, RunningProxy } from '../../proxy/options';
import { logPaths } from '../../proxy/stores/sqlite/log';
import { ledgerPath } from '../../proxy/stores/sqlite/place';
import { createLogger } from '../../proxy/log';
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
  /** The secret of the account `stripe`: what must not be found anywhere. */
  readonly secret: string;
  /** What must never show up anywhere: the secrets of all accounts, and both role keys. */
  readonly secrets: readonly string[];
  /** The SQLite file of the ledger that is made here; with `store` given, no file. */
  readonly dbPath: string;
  /** The files that hold the ledger now, while it is open: what was committed last is not in the first. None on Postgres. */
  ledgerFiles(): string[];
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
  const secrets = [...Object.values(accounts).map((account) => account.secret), apiKey, workerKey];
  const store = options.store ?? `sqlite:${dbPath}`;
  return {
    url: proxy.url,
    port: proxy.port,
    apiKey,
    workerKey,
    secret: accounts['stripe']?.secret ?? own.stripe.secret,
    secrets,
    dbPath,
    ledgerFiles: () => ledgerFiles(store),
    client,
    close,
  };
}

function ledgerFiles(store: string): string[] {
  if (!store.startsWith('sqlite:')) return [];
  const path = ledgerPath(store.slice('sqlite:'.length));
  return [path, `${path}-wal`, ...logPaths(path)].filter((file) => existsSync(file));
}

function pacedBy(accounts: ProxyOptions['accounts'], maxRps: number | undefined): ProxyOptions['accounts'] {
  if (maxRps === undefined) return accounts;
  return Object.fromEntries(Object.entries(accounts).map(([name, account]) => [name, { ...account, maxRps }]));
}
