/** A Temporal dev server as a child process on loopback: for `keybrake dev`, the demo and tests. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { Connection } from '@temporalio/client';
import { resolveTemporalCli } from './temporalCli';

export interface TemporalDevOptions {
  /** gRPC port; any free one by default. */
  readonly port?: number;
  /** `true`: the web UI on any free port; a number: on that one; absent: none. */
  readonly ui?: boolean | number;
  /** Keeps workflows across restarts; in memory by default. */
  readonly dbFilename?: string;
  /** `error` by default. */
  readonly logLevel?: 'debug' | 'info' | 'warn' | 'error' | 'never';
  /** Further flags of `temporal server start-dev`. */
  readonly extraArgs?: readonly string[];
}

export interface TemporalDev {
  /** `127.0.0.1:7233`. */
  readonly address: string;
  readonly namespace: 'default';
  readonly uiUrl: string | null;
  readonly pid: number;
  /** Ends the server. Safe to call twice. */
  stop(): Promise<void>;
}

const START_TIMEOUT_MS = 60_000;
const STOP_TIMEOUT_MS = 10_000;
const PORT_TRIES = 3;

/** Starts a dev server and waits until its default namespace answers. */
export async function startTemporalDev(options: TemporalDevOptions = {}): Promise<TemporalDev> {
  const cli = await resolveTemporalCli();
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await startOnce(cli, options);
    } catch (error) {
      // A port that was free a moment ago may be taken by now; one that the caller chose stays taken.
      if (attempt >= PORT_TRIES || options.port || !/address already in use/i.test(String(error))) {
        throw error;
      }
    }
  }
}

async function startOnce(cli: string, options: TemporalDevOptions): Promise<TemporalDev> {
  const port = options.port ? await freePort(options.port) : await freePort();
  const uiPort = options.ui === true ? await freePort() : options.ui || undefined;
  const child = spawn(cli, serverArgs(options, port, uiPort), {
    stdio: ['ignore', 'ignore', 'pipe'],
    // Its own process group: a Ctrl-C in the terminal must reach us alone, so that we stop things in order.
    detached: true,
  });
  const killAtExit = (): void => void child.kill('SIGKILL');
  process.once('exit', killAtExit);
  const stop = async (): Promise<void> => {
    await stopChild(child);
    process.removeListener('exit', killAtExit);
  };
  const address = `127.0.0.1:${port}`;
  try {
    await Promise.race([serving(address), died(child)]);
  } catch (error) {
    await stop();
    throw error;
  }
  const uiUrl = uiPort === undefined ? null : `http://127.0.0.1:${uiPort}`;
  return { address, namespace: 'default', uiUrl, pid: child.pid ?? 0, stop };
}

function serverArgs(options: TemporalDevOptions, port: number, uiPort: number | undefined): string[] {
  return [
    'server',
    'start-dev',
    '--ip=127.0.0.1',
    `--port=${port}`,
    ...(uiPort === undefined ? ['--headless'] : [`--ui-port=${uiPort}`]),
    ...(options.dbFilename === undefined ? [] : [`--db-filename=${options.dbFilename}`]),
    `--log-level=${options.logLevel ?? 'error'}`,
    ...(options.extraArgs ?? []),
  ];
}

/** Rejects when the process ends, with the end of what it said. */
async function died(child: ChildProcess): Promise<never> {
  let said = '';
  child.stderr?.on('data', (chunk) => {
    said = (said + String(chunk)).slice(-2_000);
  });
  const [code] = (await Promise.race([once(child, 'exit'), once(child, 'error')])) as [unknown];
  throw new Error(`The Temporal dev server ended at its start (${String(code)}). ${said.trim()}`);
}

async function serving(address: string): Promise<void> {
  const deadline = Date.now() + START_TIMEOUT_MS;
  for (;;) {
    try {
      const connection = await Connection.connect({ address, connectTimeout: 2_000 });
      try {
        await connection.workflowService.describeNamespace({ namespace: 'default' });
        return;
      } finally {
        await connection.close();
      }
    } catch (error) {
      if (Date.now() > deadline)
        throw new Error(`The Temporal dev server at ${address} does not serve.`, { cause: error });
      await sleep(100);
    }
  }
}

async function stopChild(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) return;
  const ended = once(child, 'exit');
  child.kill('SIGTERM');
  const stopped = await Promise.race([ended.then(() => true), sleep(STOP_TIMEOUT_MS, false, { ref: false })]);
  if (stopped) return;
  child.kill('SIGKILL');
  await ended;
}

/**
 * A port on loopback that is free now; the given one, or an error. Temporal itself does not notice that its port is
 * taken: it shares it (SO_REUSEPORT), and each of the two servers gets some of the calls.
 */
export async function freePort(port = 0): Promise<number> {
  const server = createServer();
  server.listen(port, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  server.close();
  await once(server, 'close');
  if (address === null || typeof address === 'string') throw new Error('no port');
  return address.port;
}
