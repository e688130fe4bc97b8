/** `keybrake worker`: a Temporal worker that serves `pipelineRun`. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { NativeConnection } from '@temporalio/worker';
import type { Command } from 'commander';
import { logLevelFromEnv, secretsFromEnv, workerOptionsFromEnv } from '../config';
import { createLogger } from '../../proxy/log';
import {
  CONNECT_TIMEOUT_MS,
  noTemporal,
  type TemporalFlags,
  type TemporalPlace,
  temporalFlags,
  temporalPlace,
} from './connect';
import { untilSignalled } from './lifetime';
import { print, printJson } from './output';
import { checkSourceDir, parseCount } from './parse';
import { environmentHelp } from './proxy';

interface Flags extends TemporalFlags {
  readonly sourceDir?: string;
  readonly concurrency?: number;
  readonly json?: boolean;
}

/** Adds `worker`. */
export function addWorker(program: Command): void {
  const command = program
    .command('worker')
    .description('Run a worker. The first SIGTERM, SIGINT or SIGHUP lets calls in flight end, the second one forces.')
    .option('--source-dir <path>', 'folder of input files (KEYBRAKE_SOURCE_DIR)')
    .option('--concurrency <n>', 'activities at one time (default: 100)', parseCount)
    .option('--json', 'print what it serves as JSON')
    .addHelpText('after', environmentHelp('worker'));
  temporalFlags(command, { taskQueue: true }).action(work);
}

async function work(flags: Flags): Promise<void> {
  if (flags.sourceDir !== undefined) checkSourceDir(flags.sourceDir);
  const env = {
    ...process.env,
    ...(flags.sourceDir !== undefined && { KEYBRAKE_SOURCE_DIR: flags.sourceDir }),
  };
  const settings = workerOptionsFromEnv(env);
  const logger = createLogger({ level: logLevelFromEnv(env), secrets: secretsFromEnv(env) });
  // Loaded when asked for: other commands start faster without.
  const { installTemporalRuntime, startWorker } = await import('../worker.js');
  installTemporalRuntime(logger);
  const place = temporalPlace(flags);
  const connection = await connect(place);
  try {
    const { namespace, taskQueue, address } = place;
    const workerOptions = {
      ...(flags.concurrency !== undefined && { maxConcurrentActivityTaskExecutions: flags.concurrency }),
    };
    const running = await startWorker({ ...settings, connection, namespace, taskQueue, workerOptions });
    const signalled = untilSignalled('no new work; calls in flight end first');
    if (flags.json === true) await printJson({ address, namespace, taskQueue, sourceDir: settings.sourceDir });
    else await print(`Keybrake worker on task queue ${taskQueue} of ${namespace} at ${address}`);
    await Promise.race([signalled, running.done]);
    await running.stop();
  } finally {
    await connection.close();
  }
}

async function connect(place: TemporalPlace): Promise<NativeConnection> {
  const { NativeConnection } = await import('@temporalio/worker');
  // It has no limit of its own: what takes a connection and never answers would be waited for without a word.
  const tooLate = sleep(2 * CONNECT_TIMEOUT_MS, undefined, { ref: false }).then(() => {
    throw new Error(`none within ${(2 * CONNECT_TIMEOUT_MS) / 1_000} s`);
  });
  try {
    return await Promise.race([NativeConnection.connect(place.connectionOptions), tooLate]);
  } catch (error) {
    throw noTemporal(place, error);
  }
}
