/** A worker that runs `pipelineRun`: the workflows, the activities and the connection to the proxy in one call. */
import { DefaultLogger, NativeConnection, Runtime, Worker, type WorkerOptions } from '@temporalio/worker';
import type { Logger } from 'pino';
import { DEFAULT_TASK_QUEUE } from '../activities/contract/plan';
import { KeybrakePlugin } from './plugin';

export interface StartWorkerOptions {
  /** Where the proxy is, e.g. `http://127.0.0.1:8787`. */
  readonly url: string;
  /** `KEYBRAKE_WORKER_KEY`. */
  readonly workerKey: string;
  /** Folder that sources and results are resolved in; the working directory by default. */
  readonly sourceDir?: string;
  /** An open connection, which the caller closes; else one is opened to `address`. */
  readonly connection?: NativeConnection;
  /** `127.0.0.1:7233` by default. */
  readonly address?: string;
  /** `default` by default. */
  readonly namespace?: string;
  /** `keybrake` by default. */
  readonly taskQueue?: string;
  /** Your own activities, for runs whose call is an activity. */
  readonly activities?: object;
  /** Your own workflows; they must `export * from 'keybrake-temporal/workflows'`. */
  readonly workflowsPath?: string;
  /** Further options of the Temporal worker. */
  readonly workerOptions?: Partial<WorkerOptions>;
}

export interface RunningWorker {
  readonly worker: Worker;
  /** Resolves when the worker has ended; rejects when it broke. */
  readonly done: Promise<void>;
  /** Takes no new work, lets calls in flight end, then resolves. Safe to call twice. */
  stop(): Promise<void>;
}

/** Starts a worker; it polls when the promise resolves. */
export async function startWorker(options: StartWorkerOptions): Promise<RunningWorker> {
  const { url, workerKey, sourceDir = process.cwd() } = options;
  const own = options.connection === undefined;
  const connection =
    options.connection ?? (await NativeConnection.connect({ address: options.address ?? DEFAULT_ADDRESS }));
  try {
    const worker = await Worker.create({
      ...options.workerOptions,
      connection,
      namespace: options.namespace ?? 'default',
      taskQueue: options.taskQueue ?? DEFAULT_TASK_QUEUE,
      ...(options.workflowsPath !== undefined && { workflowsPath: options.workflowsPath }),
      ...(options.activities !== undefined && { activities: options.activities }),
      plugins: [...(options.workerOptions?.plugins ?? []), new KeybrakePlugin({ url, workerKey, sourceDir })],
    });
    return run(worker, own ? connection : undefined);
  } catch (error) {
    if (own) await connection.close();
    throw error;
  }
}

const DEFAULT_ADDRESS = '127.0.0.1:7233';

function run(worker: Worker, connection: NativeConnection | undefined): RunningWorker {
  const done = runToEnd(worker, connection);
  // Whoever awaits `done` or `stop` hears of it; until then it must not end the process.
  done.catch(() => undefined);
  return {
    worker,
    done,
    stop: () => {
      if (worker.getState() === 'RUNNING') worker.shutdown();
      return done;
    },
  };
}

async function runToEnd(worker: Worker, connection: NativeConnection | undefined): Promise<void> {
  try {
    await worker.run();
  } finally {
    await connection?.close();
  }
}

/**
 * Sends the log of Temporal's SDK to ours, and leaves signals to the program. Once per process, before any worker or
 * native connection.
 */
export function installTemporalRuntime(logger: Logger): void {
  const level = logger.isLevelEnabled('info') ? 'INFO' : 'WARN';
  Runtime.install({
    logger: new DefaultLogger(level, ({ level: at, message, meta }) => {
      const name =
        at === 'TRACE' ? 'trace' : at === 'DEBUG' ? 'debug' : at === 'INFO' ? 'info' : at === 'WARN' ? 'warn' : 'error';
      // pino writes an Error only under `err`; nested it would be `{}`.
      const { error, ...temporal } = meta ?? {};
      logger[name]({ temporal, ...(error instanceof Error && { err: error }) }, message);
    }),
    telemetryOptions: { logging: { forward: {}, filter: { core: 'WARN', other: 'ERROR' } } },
    shutdownSignals: [],
  });
}
