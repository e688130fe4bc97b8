/** A stack for tests that kill: Temporal keeps its database in a file, and workers are processes of the built CLI. */
import { randomUUID } from 'node:crypto';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import type { WorkflowHandle } from '@temporalio/client';
import { type Logger, pino } from 'pino';
import type { RunReport } from '../../activities/contract/plan';
import { type Finding, scanFile, scanHistory, scanText } from '../../src/testing';
import { freePort, startTemporalDev, type TemporalDev } from '../../src/temporalDev';
import { statusQuery } from '../../workflows';
import { type Running, start } from './cli';
import { chosenStore } from './store';
import {
  customers,
  eventually,
  inputFor,
  keyWith,
  type RunHandle,
  type Stack,
  startRun,
  startStack,
  writeSource,
} from './temporal';

export interface KillStack extends Stack {
  /** SIGKILL to the Temporal server; answers when it is gone. */
  killTemporal(): Promise<void>;
  /** Starts it again on the same database and port. */
  restartTemporal(): Promise<void>;
  /** A worker of the CLI, polling when this answers. Its log is kept, down to trace. */
  startWorker(taskQueue: string): Promise<Running>;
  /** What the proxy, down to trace, and the workers that have ended wrote. */
  logs(): Promise<Record<string, string>>;
  /** The proxy's logger. */
  readonly logger: Logger;
  readonly databasePath: string;
}

export async function startKillStack({ delayMs }: { readonly delayMs: number }): Promise<KillStack> {
  const folder = await mkdtemp(join(tmpdir(), 'keybrake-kill-'));
  const databasePath = join(folder, 'temporal.db');
  const temporalOptions = { port: await freePort(), dbFilename: databasePath };
  const proxyLog: string[] = [];
  const logger = pino({ level: 'trace' }, { write: (line: string) => void proxyLog.push(line) });
  const stack = await startStack({ delayMs, proxy: { logger }, temporal: temporalOptions });
  const workers: Running[] = [];
  let temporal: TemporalDev = stack.temporal;
  return {
    ...stack,
    logger,
    databasePath,
    async killTemporal() {
      process.kill(temporal.pid, 'SIGKILL');
      // Nothing is left to stop: this waits for its end.
      await temporal.stop();
    },
    async restartTemporal() {
      temporal = await startTemporalDev(temporalOptions);
    },
    async startWorker(taskQueue) {
      const where = ['--temporal-address', temporal.address, '--task-queue', taskQueue];
      const worker = start(['worker', ...where, '--source-dir', stack.sourceDir], {
        env: {
          KEYBRAKE_URL: stack.proxy.url,
          KEYBRAKE_WORKER_KEY: stack.proxy.workerKey,
          KEYBRAKE_LOG_LEVEL: 'trace',
        },
      });
      workers.push(worker);
      await worker.said(/worker on task queue/);
      return worker;
    },
    async logs() {
      const finished = workers.filter(({ child }) => hasEnded(child));
      const outputs = await Promise.all(finished.map(({ ended }) => ended));
      const texts = outputs.map(({ stdout, stderr }, index) => [`worker ${index + 1}`, stdout + stderr]);
      return { proxy: proxyLog.join(''), ...Object.fromEntries(texts) };
    },
    async stop() {
      for (const worker of workers) await kill(worker);
      await stack.stop();
      await temporal.stop();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

function hasEnded({ exitCode, signalCode }: Running['child']): boolean {
  return exitCode !== null || signalCode !== null;
}

/** `kill -9`; answers when the process is gone. */
export async function kill({ child, ended }: Running): Promise<void> {
  child.kill('SIGKILL');
  await ended;
}

/** Lets a worker end by itself, with what it has in flight. Answers its exit code. */
export async function quit({ child, ended }: Running): Promise<number | null> {
  child.kill('SIGTERM');
  return (await ended).code;
}

/** The key of a run that has one. */
export function keyOf(handle: RunHandle): Promise<string> {
  return eventually(async () => (await handle.query(statusQuery)).keyId ?? undefined);
}

/** Calls at the vendor that have no answer yet, of customers with this prefix. */
export function underWay({ sandbox }: Stack, prefix: string): number {
  return sandbox.requests().filter(({ status, body }) => status === null && body.includes(`customer=${prefix}_`))
    .length;
}

export function chargesOf({ sandbox }: Stack, prefix: string) {
  return sandbox.charges().filter(({ customer }) => customer?.startsWith(`${prefix}_`));
}

/** What the report, the ledger and the vendor say of a run of so many records of $10. */
export async function booksOf(stack: Stack, prefix: string, { keyId, status, records }: RunReport): Promise<object> {
  const charges = chargesOf(stack, prefix);
  const { state, spend } = await stack.proxy.client.getKey(keyId ?? '');
  return {
    status,
    succeeded: records.succeeded,
    total: records.total,
    otherwise:
      Object.values(records).reduce<number>((sum, n) => sum + (n ?? 0), 0) - records.succeeded - (records.total ?? 0),
    executed: charges.filter(({ executed }) => executed).length,
    customers: new Set(charges.map(({ customer }) => customer)).size,
    vendorUsd: charges.reduce((sum, { chargedMinor }) => sum + chargedMinor, 0) / 100,
    settledUsd: spend.settled_usd,
    heldUsd: spend.held_usd,
    unknownUsd: spend.unknown_usd,
    keyState: state,
  };
}

/** The books of a run in which every record was executed once. */
export function balancedBooks(records: number): object {
  return {
    status: 'completed',
    succeeded: records,
    total: records,
    otherwise: 0,
    executed: records,
    customers: records,
    vendorUsd: records * 10,
    settledUsd: records * 10,
    heldUsd: 0,
    unknownUsd: 0,
    keyState: 'revoked',
  };
}

/** Places that {@link scanAll} looks at, beside the histories. */
export const SCANNED: readonly string[] = [
  'temporal.db',
  ...(chosenStore().name === 'postgres'
    ? ['keys', 'calls', 'events']
    : ['keybrake.db', 'keybrake.db-wal', 'keybrake.db-log.0']),
  'log of proxy',
  'log of worker 1',
];

/** Where the secrets were looked for, and what was found there. */
export async function scanAll(
  stack: KillStack,
  handles: readonly WorkflowHandle[],
  secrets: readonly string[],
): Promise<Record<string, readonly Finding[]>> {
  const found: Record<string, readonly Finding[]> = {};
  for (const handle of handles) {
    found[`history of ${handle.workflowId}`] = scanHistory(await handle.fetchHistory(), { secrets });
  }
  for (const path of await filesOf(stack.databasePath)) found[basename(path)] = await scanFile(path, { secrets });
  for (const [name, text] of await stack.proxy.ledgerTexts()) found[name] = scanText(text, { secrets });
  for (const [name, text] of Object.entries(await stack.logs())) {
    found[`log of ${name}`] = scanText(text, { secrets });
  }
  return found;
}

/** A database and its WAL. */
async function filesOf(database: string): Promise<string[]> {
  const folder = dirname(database);
  const names = await readdir(folder);
  return names.filter((name) => name.startsWith(basename(database))).map((name) => join(folder, name));
}

/** The ways a run goes about its records. */
export const KINDS = [
  { kind: 'record by record', count: 150, change: { concurrency: 6 } },
  { kind: 'in chunks', count: 150, change: { concurrency: 6, recordsPerActivity: 15 } },
  { kind: 'in a shard', count: 1_100, change: { concurrency: 60 } },
  { kind: 'with the shortest lease', count: 150, change: { concurrency: 6 }, key: { lease: '10s' } },
] as const;

export interface MidRun {
  readonly kind: string;
  readonly prefix: string;
  readonly count: number;
  readonly handle: RunHandle;
  readonly keyId: string;
  readonly vaultKey: string;
  /** When all were in the middle: charges made, and calls under way. */
  readonly charged: number;
  readonly flying: number;
}

/** Starts one run of each kind; answers when each has got answers and has calls under way. */
export async function runsInTheMiddle(stack: KillStack, taskQueue: string): Promise<MidRun[]> {
  const runs = await Promise.all(
    KINDS.map(async ({ kind, count, change, ...more }) => {
      const prefix = `k${randomUUID().slice(0, 8)}`;
      const path = await writeSource(stack, customers(count, 1_000, prefix));
      const key = keyWith({ usdCap: 20_000, ...('key' in more && more.key) });
      const handle = await startRun(stack, taskQueue, inputFor(path, { ...change, key }));
      const keyId = await keyOf(handle);
      const { vault_key: vaultKey } = await stack.proxy.client.tokenFor(keyId);
      return { kind, prefix, count, handle, keyId, vaultKey };
    }),
  );
  return eventually(() => {
    const now = runs.map((run) => ({
      ...run,
      charged: chargesOf(stack, run.prefix).length,
      flying: underWay(stack, run.prefix),
    }));
    return now.every(({ charged, flying }) => charged >= 6 && flying > 0) && now;
  });
}

export async function reportsOf(runs: readonly MidRun[]): Promise<ReadonlyMap<string, RunReport>> {
  return new Map(await Promise.all(runs.map(async ({ kind, handle }) => [kind, await handle.result()] as const)));
}
