/** What commands say while no worker answers, and how a second `dev` in one folder is told its own way out. */
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Client, Connection } from '@temporalio/client';
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
    // Temporal itself would wait for half a minute, and say DEADLINE_EXCEEDED.
    const told = await Promise.race([status.ended, sleep(20_000)]);
    expect(told?.stderr).toMatch(/^keybrake: of-no-worker is running, but no worker answers\.\nTo start one: /m);
    running.child.kill('SIGTERM');
    const { stderr } = await running.ended;
    expect(stderr.match(/no worker/g)).toHaveLength(1);
  }, 60_000);

  test('what never was, has ended, or has run out of time is told in words, each with a code of its own', async () => {
    const queued = { taskQueue: 'nope', args: [{}] };
    const connection = await Connection.connect({ address: at.stack.temporal.address });
    const { workflow } = new Client({ connection });
    await (await workflow.start('pipelineRun', { ...queued, workflowId: 'over' })).terminate('wrong file');
    const late = { ...queued, workflowId: 'late', workflowExecutionTimeout: '1s' } as const;
    await expect(workflow.execute('pipelineRun', late)).rejects.toThrow('Workflow execution timed out');
    await connection.close();
    const cli = async (...args: string[]) => {
      const { stdout, stderr } = await keybrake([...args, '--json'], { env: at.env });
      return JSON.parse(stdout + stderr) as unknown;
    };
    const failed = (code: string, message: RegExp) => ({ error: { code, message: expect.stringMatching(message) } });
    expect(await cli('status', 'never')).toEqual(failed('not_found', /^There is no workflow never\. .*--namespace/));
    expect(await cli('revoke', 'over')).toEqual(failed('already_ended', /^over has ended .*keybrake status over$/));
    expect(await cli('status', 'over')).toMatchObject({
      status: 'terminated',
      error: 'The run was terminated: wrong file',
    });
    expect(await cli('status', 'late')).toMatchObject({
      status: 'timed_out',
      error: expect.stringMatching(/time limit of its start/),
    });
    const nowhere = /^Temporal has no namespace nope\. Correct --namespace/;
    expect(await cli('status', 'over', '--namespace', 'nope')).toEqual(failed('not_found', nowhere));
    const { stdout } = await keybrake(['doctor', '--namespace', 'nope'], { env: at.env });
    expect(stdout).toMatch(/^fail +temporal .*\n +-> Temporal has no namespace nope\. Correct --namespace/m);
  }, 60_000);
});

describe('where a run does not go on', () => {
  const at = useCliStack();

  test('status says why', async () => {
    writeFileSync(join(at.folder, 'none.json'), JSON.stringify({ label: 'x', recordId: 'id', source, call, key }));
    const flags = ['--workflow-id', 'stuck', '--detach'];
    await keybrake(['run', 'none.json', ...flags], { env: at.env, cwd: at.folder });
    let told = '';
    while (!told.includes('Not going on')) told = (await keybrake(['status', 'stuck'], { env: at.env })).stdout;
    expect(told).toMatch(/^ {2}Not going on: keybrake\.prepare failed \d+ times: .*no "none\.jsonl"/m);
  }, 60_000);

  const source = { kind: 'jsonl', path: 'none.jsonl' };
  const call = { endpoint: 'POST /v1/payment_intents' };
  const key = { vendor: 'stripe', usdCap: 5, allowedEndpoints: [call.endpoint], ttl: '1h' };
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
