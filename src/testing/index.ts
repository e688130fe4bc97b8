/** For tests of your own pipelines: the real proxy, a stand-in vendor, a Temporal dev server, and a leak scanner. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startProxy } from '../../proxy';
import { KeybrakeClient } from '../../proxy/client';
import type { ProxyOptions, RunningProxy } from '../../proxy/options';
import { createLogger } from '../log';
import { randomSecret } from '../secrets';

export { type Finding, type ScanOptions, scanFile, scanHistory, scanText } from './scan';
export { type Sandbox, type SandboxOptions, type SandboxStats, startSandbox } from '../sandbox';
export { type TemporalDev, type TemporalDevOptions, startTemporalDev as startTemporal } from '../temporalDev';
export { resolveTemporalCli } from '../temporalCli';
export { type DevStack, type DevStackOptions, startDevStack } from '../devStack';

export interface TestProxyOptions extends Partial<ProxyOptions> {
  /** The vendor's stand-in, e.g. `sandbox.url`. */
  readonly upstream: string;
  /** The vendor secret to use there; random by default. */
  readonly secret?: string;
}

export interface TestProxy extends RunningProxy {
  readonly apiKey: string;
  readonly workerKey: string;
  /** The vendor secret: what must not be found anywhere. */
  readonly secret: string;
  /** The SQLite file of the ledger. */
  readonly dbPath: string;
  /** The control plane, as admin. */
  readonly client: KeybrakeClient;
}

/** Starts a proxy on any free port of loopback with a ledger in a temporary folder; `close` removes it. */
export async function startProxyForTests({ upstream, secret, ...options }: TestProxyOptions): Promise<TestProxy> {
  const folder = await mkdtemp(join(tmpdir(), 'keybrake-test-'));
  const dbPath = join(folder, 'keybrake.db');
  const vendorSecret = secret ?? randomSecret('sk_test_');
  const apiKey = options.apiKey ?? randomSecret('kb_admin_');
  const workerKey = options.workerKey ?? randomSecret('kb_worker_');
  const proxy = await startProxy({
    port: 0,
    store: `sqlite:${dbPath}`,
    accounts: { stripe: { vendor: 'stripe', secret: vendorSecret, upstream } },
    logger: createLogger({ level: 'silent' }),
    ...options,
    apiKey,
    workerKey,
  });
  const client = new KeybrakeClient({ url: proxy.url, apiKey });
  const close = async (): Promise<void> => {
    await client.close();
    await proxy.close();
    await rm(folder, { recursive: true, force: true });
  };
  return { url: proxy.url, port: proxy.port, apiKey, workerKey, secret: vendorSecret, dbPath, client, close };
}
