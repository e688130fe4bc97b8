/** A stack for tests that kill: Temporal keeps its database in a file, and workers are processes of the built CLI. */
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import type { WorkflowHandle } from '@temporalio/client';
import { pino } from 'pino';
import type { RunReport } from '../../activities/contract/plan';
import { type Finding, scanFile, scanHistory, scanText } from '../../src/testing';
import { freePort, startTemporalDev, type TemporalDev } from '../../src/temporalDev';
import { statusQuery } from '../../workflows';
import { type Running, start } from './cli';
import { eventually, type RunHandle, type Stack, startStack } from './temporal';

export interface KillStack extends Stack {
  /** SIGKILL to the Temporal server; answers when it is gone. */
  killTemporal(): Promise<void>;
  /** Starts it again on the same database and port. */
  restartTemporal(): Promise<void>;
  /** A worker of the CLI, polling when this answers. Its log is kept, down to trace. */
  startWorker(taskQueue: string): Promise<Running>;
  /** What the proxy, down to trace, and the workers that have ended wrote. */
  logs(): Promise<Record<string, string>>;
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
      const ended = await Promise.all(workers.filter(({ child }) => hasEnded(child)).map(({ ended }) => ended));
      const texts = ended.map(({ stdout, stderr }, index) => [`worker ${index + 1}`, stdout + stderr]);
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
export const SCANNED = ['temporal.db', 'keybrake.db', 'keybrake.db-wal', 'log of proxy', 'log of worker 1'] as const;

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
  for (const path of [...(await filesOf(stack.databasePath)), ...(await filesOf(stack.proxy.dbPath))]) {
    found[basename(path)] = await scanFile(path, { secrets });
  }
  for (const [name, text] of Object.entries(await stack.logs())) {
    found[`log of ${name}`] = scanText(text, { secrets });
  }
  return found;
}

/** A database and its WAL. The ledger's master key lies beside it in a file of its own. */
async function filesOf(database: string): Promise<string[]> {
  const folder = dirname(database);
  const names = await readdir(folder);
  return names
    .filter((name) => name.startsWith(basename(database)) && !name.endsWith('.keys'))
    .map((name) => join(folder, name));
}
