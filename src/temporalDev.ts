/** A Temporal dev server as a child process on loopback: for `keybrake dev`, the demo and tests. */
import { type ChildProcess, type SpawnOptions, spawn } from 'node:child_process';
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
  /** Resolves when the server was stopped; rejects when it has ended by itself, with its last words. */
  readonly done: Promise<void>;
  /** Ends the server. Safe to call twice. */
  stop(): Promise<void>;
}

const START_TIMEOUT_MS = 60_000;
const STOP_TIMEOUT_MS = 10_000;
const PORT_TRIES = 3;
/** The server takes ports for its own services too, and panics where it gets none. */
const PORT_LOST = /address already in use|panic: .*port/i;
/** Of what a server said that ended: a panic says what is wrong first, an error last. */
const SAID_CHARS = 2_000;

/** Starts a dev server and waits until its default namespace answers. */
export async function startTemporalDev(options: TemporalDevOptions = {}): Promise<TemporalDev> {
  const cli = await resolveTemporalCli();
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await startOnce(cli, options);
    } catch (error) {
      // A port that was free a moment ago may be taken by now; one that the caller chose stays taken.
      if (attempt >= PORT_TRIES || options.port || !PORT_LOST.test(String(error))) {
        throw error;
      }
    }
  }
}

async function startOnce(cli: string, options: TemporalDevOptions): Promise<TemporalDev> {
  const port = options.port ? await freePort(options.port) : await freePort();
  const uiPort = options.ui === true ? await freePort() : options.ui || undefined;
  const child = spawnTied(cli, serverArgs(options, port, uiPort));
  const killAtExit = (): void => signalGroup(child, 'SIGKILL');
  process.once('exit', killAtExit);
  const end = endOf(child);
  let stopping = false;
  const stop = async (): Promise<void> => {
    stopping = true;
    await stopChild(child);
    process.removeListener('exit', killAtExit);
  };
  const address = `127.0.0.1:${port}`;
  const gaveUp = new AbortController();
  try {
    await Promise.race([serving(address, gaveUp.signal), end.then(endedAtStart)]);
  } catch (error) {
    gaveUp.abort();
    await stop();
    throw error;
  }
  const uiUrl = uiPort === undefined ? null : `http://127.0.0.1:${uiPort}`;
  const done = end.then(({ how, said }) => {
    if (!stopping) throw new Error(`The Temporal dev server at ${address} has ended (${how}). ${said}`.trim());
  });
  // Whoever awaits it hears of it; until then it must not end the process.
  done.catch(() => undefined);
  return { address, namespace: 'default', uiUrl, pid: child.pid ?? 0, done, stop };
}

/** Waits until we are gone, however that came (its input ends then), and ends the server, which alone has stderr. */
const WATCH = 'exec 3<&0; { read -r _ <&3; kill -TERM $$; } 2>&- & exec "$0" "$@" 3<&- </dev/null';

/**
 * In a process group of its own: a Ctrl-C in the terminal must reach us alone, so that we stop things in order. Tied to
 * us all the same: a test run that is killed leaves no server behind.
 */
function spawnTied(command: string, args: readonly string[]): ChildProcess {
  const options: SpawnOptions = { stdio: ['pipe', 'ignore', 'pipe'], detached: true };
  if (process.platform === 'win32') return spawn(command, args, options);
  return spawn('sh', ['-c', WATCH, command, ...args], options);
}

/** To the server and what watches it. */
function signalGroup({ pid }: ChildProcess, signal: NodeJS.Signals): void {
  if (pid === undefined) return;
  try {
    process.kill(process.platform === 'win32' ? pid : -pid, signal);
  } catch {
    // They have ended already.
  }
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

interface End {
  /** Its exit code, or the signal. */
  readonly how: string;
  /** The beginning and the end of what it said. */
  readonly said: string;
}

/** Resolves when the process has ended and all that it said is read. */
async function endOf(child: ChildProcess): Promise<End> {
  let said = '';
  child.stderr?.on('data', (chunk) => {
    said += String(chunk);
    if (said.length > 2 * SAID_CHARS) said = said.slice(0, SAID_CHARS) + said.slice(-SAID_CHARS);
  });
  const how = await once(child, 'close').then(([code, signal]) => String(signal ?? `exit code ${code}`), String);
  return { how, said: said.trim() };
}

function endedAtStart({ how, said }: End): never {
  throw new Error(`The Temporal dev server ended at its start (${how}). ${said}`);
}

async function serving(address: string, gaveUp: AbortSignal): Promise<void> {
  const deadline = Date.now() + START_TIMEOUT_MS;
  while (!(await serves(address))) {
    if (Date.now() > deadline) throw new Error(`The Temporal dev server at ${address} does not serve.`);
    await sleep(100, undefined, { signal: gaveUp });
  }
}

async function serves(address: string): Promise<boolean> {
  try {
    const connection = await Connection.connect({ address, connectTimeout: 2_000 });
    try {
      await connection.workflowService.describeNamespace({ namespace: 'default' });
      return true;
    } finally {
      await connection.close();
    }
  } catch {
    return false;
  }
}

async function stopChild(child: ChildProcess): Promise<void> {
  if (child.pid === undefined) return;
  const gone = child.exitCode !== null || child.signalCode !== null;
  const ended = gone ? Promise.resolve() : once(child, 'exit');
  signalGroup(child, 'SIGTERM');
  const stopped = await Promise.race([ended.then(() => true), sleep(STOP_TIMEOUT_MS, false, { ref: false })]);
  if (stopped) return;
  signalGroup(child, 'SIGKILL');
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
