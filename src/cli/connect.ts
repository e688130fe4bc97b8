/** Ways to the two servers that commands talk to: the proxy and Temporal. */
import { Client, Connection } from '@temporalio/client';
import { loadClientConnectConfig } from '@temporalio/envconfig';
import type { Command } from 'commander';
import { KeybrakeClient } from '../../proxy/client';
import { DEFAULT_TASK_QUEUE } from '../../activities/contract/plan';
import { clientOptionsFromEnv } from '../config';
import { codeOf } from './errorCode';
import { CliError, explain } from './errors';

export interface TemporalFlags {
  readonly temporalAddress?: string;
  readonly namespace?: string;
  readonly taskQueue?: string;
}

/** Where Temporal is: flags first, then the standard environment and TOML profile, then localhost. */
export interface TemporalPlace {
  readonly connectionOptions: ReturnType<typeof loadClientConnectConfig>['connectionOptions'];
  readonly address: string;
  readonly namespace: string;
  readonly taskQueue: string;
}

export const CONNECT_TIMEOUT_MS = 5_000;
const DEFAULT_ADDRESS = '127.0.0.1:7233';

/** Adds `--temporal-address`, `--namespace` and, where asked for, `--task-queue`. */
export function temporalFlags(command: Command, { taskQueue = false } = {}): Command {
  command
    .option('--temporal-address <host:port>', 'Temporal server (default: TEMPORAL_ADDRESS or the profile)')
    .option('--namespace <name>', 'Temporal namespace (default: TEMPORAL_NAMESPACE or the profile)');
  return taskQueue ? command.option('--task-queue <name>', 'task queue', DEFAULT_TASK_QUEUE) : command;
}

export function temporalPlace(flags: TemporalFlags): TemporalPlace {
  const { connectionOptions, namespace = 'default' } = loadProfile();
  const address = flags.temporalAddress ?? connectionOptions.address ?? DEFAULT_ADDRESS;
  return {
    connectionOptions: { ...connectionOptions, address },
    address,
    namespace: flags.namespace ?? namespace,
    taskQueue: flags.taskQueue ?? DEFAULT_TASK_QUEUE,
  };
}

function loadProfile(): ReturnType<typeof loadClientConnectConfig> {
  try {
    return loadClientConnectConfig();
  } catch (error) {
    const where = process.env['TEMPORAL_CONFIG_FILE'] ?? 'the Temporal profile (temporal.toml)';
    throw new CliError(`${where} cannot be used: ${explain(error)}. Correct it, or see TEMPORAL_CONFIG_FILE.`, {
      cause: error,
    });
  }
}

/** Runs `work` with a Temporal client and closes its connection. */
export async function withTemporal<T>(
  flags: TemporalFlags,
  work: (client: Client, place: TemporalPlace) => Promise<T>,
): Promise<T> {
  const place = temporalPlace(flags);
  const connection = await connect(place);
  try {
    return await work(new Client({ connection, namespace: place.namespace }), place);
  } finally {
    await connection.close();
  }
}

async function connect(place: TemporalPlace): Promise<Connection> {
  try {
    return await Connection.connect({ ...place.connectionOptions, connectTimeout: CONNECT_TIMEOUT_MS });
  } catch (error) {
    throw noTemporal(place, error);
  }
}

/** As the client has it, and as the worker's core does. */
const REFUSED = /unauthenticated|permission_denied|valid authentication credentials|not have permission/i;

/** Why there is no connection to Temporal, and what to do about it. */
export function noTemporal({ address }: TemporalPlace, error: unknown): CliError {
  const why = explain(error).replace(/\.$/, '');
  const refused = REFUSED.test(`${codeOf(error)} ${why}`);
  const text = refused
    ? `Temporal at ${address} refuses: ${why}. Correct TEMPORAL_API_KEY, TEMPORAL_TLS_… or the profile.`
    : `No answer from Temporal at ${address} (${why}). Is it running (keybrake dev)? ` +
      'Say where it is with --temporal-address or TEMPORAL_ADDRESS.';
  return new CliError(text, { cause: error, code: refused ? 'temporal_refused' : 'temporal_unreachable' });
}

/** Runs `work` with a control-plane client made from the environment. */
export async function withProxy<T>(work: (client: KeybrakeClient) => Promise<T>): Promise<T> {
  const client = new KeybrakeClient(clientOptionsFromEnv(process.env));
  try {
    return await work(client);
  } finally {
    await client.close();
  }
}
