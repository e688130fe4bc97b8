/** What commands say while no worker answers, and how a second `dev` in one folder is told its own way out. */
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { keybrake, start } from './support/cli';
import { useCliStack } from './support/cliStack';

describe('where no worker is up', () => {
  const at = useCliStack();
  const ID = 'of-no-worker';

  test('run says once that it waits for one, and status says what it waits for before it gives up', async () => {
    writeFileSync(join(at.folder, 'c.jsonl'), '{"id":"a"}');
    const flags = ['--source', 'c.jsonl', '--endpoint', 'POST /v1/payment_intents', '--cap', '5', '--workflow-id', ID];
    const running = start(['run', ...flags, '--task-queue', 'nope'], { env: at.env, cwd: at.folder });
    await running.said(
      /^Not going on: no worker polls task queue nope, and the run waits for one\. .*keybrake worker/m,
    );
    const status = start(['status', ID], { env: at.env });
    await status.said(/^Waiting for a worker: of-no-worker is running/m);
    expect(status.child.exitCode).toBeNull();
    running.child.kill('SIGTERM');
    const { stderr } = await running.ended;
    expect(stderr.match(/no worker/g)).toHaveLength(1);
    status.child.kill();
    await status.ended;
  }, 60_000);
});

describe('dev', () => {
  const PORTS = ['--port', '0', '--temporal-port', '0', '--ui-port', '0'];

  test('a second dev in one folder is told of --dir, which it takes, not of a setting that it does not', async () => {
    const cwd = mkdtempSync(join(tmpdir(), 'keybrake-twice-'));
    const first = start(['dev', ...PORTS], { cwd });
    await first.said(/Ctrl-C ends everything/);
    const { code, stderr } = await keybrake(['dev', ...PORTS], { cwd });
    first.child.kill('SIGINT');
    expect(stderr).toMatch(/is open in another process: end that one, or name another folder with --dir\.$/m);
    expect(stderr).not.toContain('KEYBRAKE_STORE');
    expect(code).toBe(1);
    await first.ended;
  }, 60_000);

  test('a folder that cannot be made is told with the way out', async () => {
    const cwd = mkdtempSync(join(tmpdir(), 'keybrake-file-'));
    writeFileSync(join(cwd, 'file'), '');
    const { code, stderr } = await keybrake(['dev', ...PORTS, '--dir', 'file/below'], { cwd });
    expect(stderr).toMatch(/^keybrake: file\/below cannot be used \(ENOTDIR.*\): name a folder that can .* --dir\.$/m);
    expect(code).toBe(1);
  });
});
