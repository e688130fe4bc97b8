/** `keybrake dev` when the Temporal server that it has started ends by itself. */
import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { resolveTemporalCli } from '../src/temporalCli';
import { startTemporalDev } from '../src/temporalDev';
import { start } from './support/cli';

/** A Temporal CLI whose server writes its process id and a last word. */
async function tellingCli(folder: string): Promise<{ readonly path: string; readonly pid: () => number }> {
  const path = join(folder, 'temporal');
  const script = `[ "$1" = --version ] || { echo $$ > "$0.pid"; echo "panic: no disk" >&2; }`;
  writeFileSync(path, `#!/bin/sh\n${script}\nexec ${await resolveTemporalCli()} "$@"\n`, { mode: 0o755 });
  return { path, pid: () => Number(readFileSync(`${path}.pid`, 'utf8')) };
}

test('dev: the end of its Temporal server is told with its last words, all else is stopped, and it exits with 1', async () => {
  const cwd = mkdtempSync(join(tmpdir(), 'keybrake-dev-'));
  const cli = await tellingCli(cwd);
  const args = ['dev', '--port', '0', '--temporal-port', '0', '--ui-port', '0'];
  const dev = start(args, { cwd, env: { TEMPORAL_CLI_PATH: cli.path } });
  const [, url = ''] = await dev.said(/Proxy {9}(\S+)/);
  await dev.said(/Ctrl-C ends everything/);
  process.kill(cli.pid(), 'SIGKILL');
  const { code, stderr } = await dev.ended;
  expect(stderr).toMatch(
    /^keybrake: The Temporal dev server at 127\.0\.0\.1:\d+ has ended \(SIGKILL\)\. panic: no disk$/m,
  );
  expect(stderr.match(/dev server/g)).toHaveLength(1);
  expect(code).toBe(1);
  await expect(fetch(`${url}/healthz`)).rejects.toThrow(/fetch failed/);
}, 60_000);

test('a dev server that is stopped is done; one that ends by itself says how', async () => {
  const stopped = await startTemporalDev();
  await stopped.stop();
  expect(await stopped.done).toBeUndefined();
  const killed = await startTemporalDev();
  process.kill(killed.pid, 'SIGTERM');
  await expect(killed.done).rejects.toThrow(/^The Temporal dev server at \S+ has ended \((SIGTERM|exit code \d+)\)\./);
  await killed.stop();
}, 60_000);
