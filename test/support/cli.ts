/** Runs the built `keybrake` as a person would: a process, its output, its exit code. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

const MAIN = join(__dirname, '../../lib/src/cli/main.js');

export interface Ended {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface Running {
  readonly child: ChildProcess;
  /** Waits until stdout or stderr holds the text or pattern. */
  said(what: RegExp): Promise<RegExpExecArray>;
  readonly ended: Promise<Ended>;
}

interface Options {
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
  /** How many files it may open. */
  readonly filesMax?: number;
}

const children: ChildProcess[] = [];

// What a failed test has left running must not outlive it. What a command itself has started ends with it.
afterAll(() => {
  for (const child of children) if (child.exitCode === null) child.kill('SIGKILL');
});

/** No setting of the machine that the tests run on reaches the command. */
function cleanEnv(): Record<string, string | undefined> {
  const kept = Object.entries(process.env).filter(([name]) => !/^(KEYBRAKE|STRIPE|TEMPORAL_(?!CLI))/.test(name));
  return { ...Object.fromEntries(kept), TEMPORAL_CONFIG_FILE: '/nowhere/temporal.toml' };
}

export function start(args: readonly string[], { env = {}, cwd, filesMax }: Options = {}): Running {
  const command = [process.execPath, MAIN, ...args] as const;
  const limited = filesMax === undefined ? [] : ['sh', '-c', `ulimit -n ${filesMax} && exec "$0" "$@"`];
  const [program = '', ...given] = [...limited, ...command];
  const child = spawn(program, given, {
    env: { ...cleanEnv(), ...env },
    ...(cwd !== undefined && { cwd }),
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  children.push(child);
  let stdout = '';
  let stderr = '';
  child.stdout.on('data', (chunk) => (stdout += String(chunk)));
  child.stderr.on('data', (chunk) => (stderr += String(chunk)));
  const ended = once(child, 'close').then(() => ({ code: child.exitCode, stdout, stderr }));
  const said = async (what: RegExp): Promise<RegExpExecArray> => {
    for (;;) {
      const found = what.exec(stdout) ?? what.exec(stderr);
      if (found !== null) return found;
      if (child.exitCode !== null) throw new Error(`ended (${child.exitCode}) without ${what}: ${stdout}${stderr}`);
      await sleep(20);
    }
  };
  return { child, said, ended };
}

export function keybrake(args: readonly string[], options?: Options): Promise<Ended> {
  return start(args, options).ended;
}
