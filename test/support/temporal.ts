/**
 * A stack for tests of the Temporal pack: one Temporal dev server, sandbox vendor and proxy for each test file, and as
 * many workers as a test likes. Everything is real and on loopback.
 */
import { randomUUID } from 'node:crypto';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Client, Connection, type WorkflowHandle } from '@temporalio/client';
import type { History } from '@temporalio/common/lib/proto-utils';
import { DefaultLogger, NativeConnection, Runtime, Worker, type WorkerOptions } from '@temporalio/worker';
import { KeybrakePlugin, type KeybrakePluginOptions } from '../../src/plugin';
import { type Sandbox, startSandbox, type TestProxyOptions } from '../../src/testing';
import { startTestProxy, type StoredProxy } from './proxy';
import { startTemporalDev, type TemporalDev, type TemporalDevOptions } from '../../src/temporalDev';
import type { pipelineRun } from '../../workflows';
import type { RunReport } from '../../activities/contract/plan';

export interface Stack {
  readonly temporal: TemporalDev;
  readonly sandbox: Sandbox;
  readonly proxy: StoredProxy;
  readonly client: Client;
  readonly sourceDir: string;
  stop(): Promise<void>;
}

export interface StackOptions {
  readonly delayMs?: number;
  /** Calls that the stand-in takes in a second. */
  readonly limitPerSecond?: number;
  readonly proxy?: Partial<TestProxyOptions>;
  readonly temporal?: TemporalDevOptions;
}

let installed = false;

/** Starts the stack; call `stop` in `afterAll`. */
export async function startStack(options: StackOptions = {}): Promise<Stack> {
  const { delayMs, limitPerSecond, proxy: proxyOptions, temporal: temporalOptions } = options;
  if (!installed) Runtime.install({ logger: new DefaultLogger('ERROR'), shutdownSignals: [] });
  installed = true;
  const secretKey = `sk_test_${randomUUID().replaceAll('-', '')}`;
  const [temporal, sandbox] = await Promise.all([
    startTemporalDev(temporalOptions),
    startSandbox({
      secretKey,
      ...(delayMs !== undefined && { delayMs }),
      ...(limitPerSecond !== undefined && { limitPerSecond }),
    }),
  ]);
  const proxy = await startTestProxy({
    upstream: sandbox.url,
    secret: secretKey,
    ...proxyOptions,
  });
  const connection = await Connection.connect({ address: temporal.address });
  const sourceDir = await mkdtemp(join(tmpdir(), 'keybrake-sources-'));
  return {
    temporal,
    sandbox,
    proxy,
    sourceDir,
    client: new Client({ connection }),
    async stop() {
      await connection.close();
      await proxy.close();
      await sandbox.stop();
      await temporal.stop();
      await rm(sourceDir, { recursive: true, force: true });
    },
  };
}

export interface WorkerSetup {
  readonly plugin?: KeybrakePluginOptions;
  readonly worker?: Partial<WorkerOptions>;
}

/** Runs `work` while a worker polls a task queue of its own. */
export async function withWorker<T>(
  stack: Stack,
  work: (taskQueue: string) => Promise<T>,
  { plugin, worker: options }: WorkerSetup = {},
): Promise<T> {
  const taskQueue = options?.taskQueue ?? `test-${randomUUID()}`;
  const running = await startWorker(stack, taskQueue, {
    ...(plugin && { plugin }),
    ...(options && { worker: options }),
  });
  try {
    return await work(taskQueue);
  } finally {
    await running.stop();
  }
}

/** Starts a worker with the plugin; `stop` lets what is in flight end. */
export async function startWorker(stack: Stack, taskQueue: string, { plugin, worker: options }: WorkerSetup = {}) {
  const connection = await NativeConnection.connect({ address: stack.temporal.address });
  const worker = await Worker.create({
    connection,
    taskQueue,
    plugins: [pluginFor(stack, plugin)],
    ...options,
  });
  const done = worker.run();
  done.catch(() => undefined);
  return {
    worker,
    async stop() {
      if (worker.getState() === 'RUNNING') worker.shutdown();
      await done;
      await connection.close();
    },
  };
}

export function pluginFor({ proxy, sourceDir }: Stack, options: KeybrakePluginOptions = {}): KeybrakePlugin {
  return new KeybrakePlugin({ url: proxy.url, workerKey: proxy.workerKey, sourceDir, ...options });
}

export type RecordLine = Readonly<Record<string, unknown>>;

/** So many customers of so many cents, ids `cus_1`, `cus_2`, … */
export function customers(count: number, cents = 1_000, prefix = 'cus'): RecordLine[] {
  return Array.from({ length: count }, (_, index) => ({ id: `${prefix}_${index + 1}`, amount_cents: cents }));
}

/** Writes JSON lines into the source folder and answers the path to put into the input. */
export async function writeSource({ sourceDir }: Stack, records: readonly RecordLine[]): Promise<string> {
  const path = `in/${randomUUID()}.jsonl`;
  await mkdir(join(sourceDir, 'in'), { recursive: true });
  await writeFile(join(sourceDir, path), records.map((record) => `${JSON.stringify(record)}\n`).join(''));
  return path;
}

/** An input of `pipelineRun`; `change` is laid over it. */
export function inputFor(path: string, change: object = {}): Record<string, unknown> {
  return {
    label: 'test/run',
    source: { kind: 'jsonl', path },
    recordId: 'id',
    call: {
      endpoint: 'POST /v1/payment_intents',
      params: {
        amount: '{{amount_cents}}',
        currency: 'usd',
        customer: '{{id}}',
        payment_method: 'pm_card_visa',
        confirm: true,
      },
    },
    key: { vendor: 'stripe', usdCap: 1_000, allowedEndpoints: ['POST /v1/payment_intents'], ttl: '1h' },
    concurrency: 10,
    ...change,
  };
}

/** The same key with another cap. */
export function keyWith(change: object): object {
  return { vendor: 'stripe', usdCap: 1_000, allowedEndpoints: ['POST /v1/payment_intents'], ttl: '1h', ...change };
}

export type RunHandle = WorkflowHandle<typeof pipelineRun>;

export function startRun(
  { client }: Stack,
  taskQueue: string,
  input: unknown,
  options: object = {},
): Promise<RunHandle> {
  return client.workflow.start<typeof pipelineRun>('pipelineRun', {
    workflowId: `run-${randomUUID()}`,
    taskQueue,
    args: [input],
    workflowExecutionTimeout: '5 minutes',
    ...options,
  });
}

export async function run(stack: Stack, taskQueue: string, input: unknown, options: object = {}): Promise<RunReport> {
  return (await startRun(stack, taskQueue, input, options)).result();
}

/** Waits until `check` answers something but undefined or false; fails after `timeoutMs`. */
export async function eventually<T>(
  check: () => Promise<T | undefined | false> | T | undefined | false,
  timeoutMs = 20_000,
): Promise<T> {
  const deadline = Date.now() + timeoutMs;
  for (;;) {
    const value = await check();
    if (value !== undefined && value !== false) return value;
    if (Date.now() > deadline) throw new Error(`Not so within ${timeoutMs} ms: ${check.toString()}`);
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
}

/** Why workflow tasks of the run failed in a way that would be retried for ever. */
export async function failedTasks(handle: WorkflowHandle): Promise<string[]> {
  return eventsOf(await handle.fetchHistory()).flatMap(({ workflowTaskFailedEventAttributes: failed }) =>
    failed && !HARMLESS.has(failed.cause ?? 0) ? [failed.failure?.message ?? 'failed'] : [],
  );
}

/** `UNHANDLED_COMMAND`, when news came while the task was under way, and the mark of a `RESET_WORKFLOW`. */
const HARMLESS = new Set<number>([1, 20]);

export function eventsOf(history: History) {
  return history.events ?? [];
}
