/** Several proxy processes on one Postgres, and the vendor that they call. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { KeybrakeClient } from '../../proxy/client';
import type { AccountOptions } from '../../proxy/options';
import { type Sandbox, startSandbox } from '../../src/sandbox';
import type { Cluster } from './postgres';
import { type Caller, callerOf } from './rig';
import { postgresOptions } from './store';

const ADMIN = 'kb_admin_0123456789abcdef';
const SECRET = 'sk_test_replicas_0123456789';
/** Short, so that the calls of a killed process become unknown within a test. */
const UPSTREAM_TIMEOUT_MS = 2_000;

export interface Replica {
  readonly url: string;
  readonly client: KeybrakeClient;
  readonly call: Caller;
  readonly spool: string;
  /** What it logged. */
  readonly log: () => string;
  /** Answers its exit code. */
  signal(signal: 'SIGTERM' | 'SIGKILL'): Promise<number | null>;
  /** Stands still, or goes on. */
  pause(): void;
  resume(): void;
}

export interface ReplicaRig {
  readonly sandbox: Sandbox;
  readonly database: string;
  readonly replicas: readonly Replica[];
  start(spool?: string): Promise<Replica>;
  close(): Promise<void>;
}

export async function startReplicas(
  cluster: Cluster,
  count: number,
  delayMs = 20,
  account: Partial<AccountOptions> = {},
): Promise<ReplicaRig> {
  const sandbox = await startSandbox({ secretKey: SECRET, delayMs });
  const database = await cluster.newDatabase();
  const closes: (() => Promise<void>)[] = [];

  const start = async (spool?: string): Promise<Replica> => {
    const options = {
      ...postgresOptions(database),
      ...(spool !== undefined && { spool }),
      port: 0,
      apiKey: ADMIN,
      accounts: { stripe: { vendor: 'stripe', secret: SECRET, upstream: sandbox.url, ...account } },
      upstreamTimeoutMs: UPSTREAM_TIMEOUT_MS,
    };
    const child = spawn(process.execPath, [join(__dirname, 'replica.mjs'), JSON.stringify(options)], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let log = '';
    child.stderr.on('data', (chunk) => (log += String(chunk)));
    const url = await urlOf(child, () => log);
    const client = new KeybrakeClient({ url, apiKey: ADMIN });
    const caller = callerOf(url);
    closes.push(async () => {
      await caller.close();
      await client.close();
      if (child.exitCode !== null || child.signalCode !== null) return;
      const ended = once(child, 'exit');
      child.kill('SIGKILL');
      await ended;
    });
    return {
      url,
      client,
      call: caller.call,
      spool: options.spool,
      log: () => log,
      async signal(signal) {
        const ended = once(child, 'exit');
        child.kill(signal);
        await ended;
        return child.exitCode;
      },
      pause: () => void child.kill('SIGSTOP'),
      resume: () => void child.kill('SIGCONT'),
    };
  };

  const close = async (): Promise<void> => {
    await Promise.all(closes.splice(0).map((end) => end()));
    await sandbox.stop();
  };
  try {
    const replicas = await Promise.all(Array.from({ length: count }, () => start()));
    return { sandbox, database, replicas, start, close };
  } catch (error) {
    await close();
    throw error;
  }
}

async function urlOf(child: ChildProcess, log: () => string): Promise<string> {
  return new Promise((resolve, reject) => {
    child.stdout?.on('data', (chunk) => {
      const url = /proxy on (\S+)/.exec(String(chunk))?.[1];
      if (url !== undefined) resolve(url);
    });
    child.once('exit', (code) => reject(new Error(`The proxy ended (${code}): ${log()}`)));
  });
}
