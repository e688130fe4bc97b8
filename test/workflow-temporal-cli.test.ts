/** A run in the hands of an operator who has nothing but the `temporal` command. */
import { execFile } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import type { RunReport } from '../activities/contract/plan';
import { resolveTemporalCli } from '../src/testing';
import { statusQuery } from '../workflows';
import {
  customers,
  eventually,
  failedTasks,
  inputFor,
  keyWith,
  type RunHandle,
  type Stack,
  startRun,
  startStack,
  startWorker,
  writeSource,
} from './support/temporal';

let stack: Stack;
let worker: Awaited<ReturnType<typeof startWorker>>;
let cli: string;
const taskQueue = `cli-${randomUUID()}`;

beforeAll(async () => {
  stack = await startStack({ delayMs: 40 });
  worker = await startWorker(stack, taskQueue);
  cli = await resolveTemporalCli();
});

afterAll(async () => {
  await worker.stop();
  await stack.stop();
});

interface Said {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs `temporal workflow …` and answers what it said. */
function temporal(...args: readonly string[]): Promise<Said> {
  const clean = Object.entries(process.env).filter(([name]) => !name.startsWith('TEMPORAL_'));
  const env = { ...Object.fromEntries(clean), TEMPORAL_CONFIG_FILE: '/nowhere/temporal.toml' };
  const all = ['workflow', ...args, '--address', stack.temporal.address, '--color', 'never'];
  return new Promise((resolve) => {
    execFile(cli, all, { env, timeout: 30_000 }, (error, stdout, stderr) => {
      resolve({ code: error === null ? 0 : Number(error.code ?? -1), stdout, stderr });
    });
  });
}

function prefixed(): string {
  return `c${randomUUID().slice(0, 8)}`;
}

/** A run in the middle of its calls. */
async function runInTheMiddle(prefix: string, change: object = {}, count = 200): Promise<RunHandle> {
  const path = await writeSource(stack, customers(count, 1_000, prefix));
  const handle = await startRun(stack, taskQueue, inputFor(path, { concurrency: 4, ...change }));
  await eventually(() => chargesOf(prefix) > 0);
  return handle;
}

function chargesOf(prefix: string): number {
  return stack.sandbox.charges().filter(({ customer }) => customer?.startsWith(`${prefix}_`)).length;
}

test.each([
  { what: 'nothing', input: [], reason: 'Revoked by signal.' },
  { what: 'a JSON string', input: ['--input', '"wrong file"'], reason: 'Revoked by signal: wrong file' },
  { what: 'JSON', input: ['--input', '{"reason": "wrong prices"}'], reason: 'Revoked by signal: wrong prices' },
  {
    what: 'JSON that calls itself protobuf, as the Temporal UI offers it',
    input: ['--input', '{"reason": "wrong day"}', '--input-meta', 'encoding=json/protobuf'],
    reason: 'Revoked by signal: wrong day',
  },
  { what: 'JSON of another kind', input: ['--input', '[17]'], reason: 'Revoked by signal.' },
])('`temporal workflow signal --name revoke` with $what ends the run, its key first', async ({ input, reason }) => {
  const prefix = prefixed();
  const handle = await runInTheMiddle(prefix);
  const signal = await temporal('signal', '--workflow-id', handle.workflowId, '--name', 'revoke', ...input);
  expect({ ...signal, stdout: '' }).toEqual({ code: 0, stdout: '', stderr: '' });
  const report = await handle.result();
  expect(report).toMatchObject({ status: 'revoked', reason });
  expect((await stack.proxy.client.getKey(report.keyId ?? '')).state).toBe('revoked');
  expect(report.records.succeeded).toBe(chargesOf(prefix));
  expect(report.records.succeeded).toBeLessThan(200);
  expect(await failedTasks(handle)).toEqual([]);
});

describe('`temporal workflow update execute --name raiseCap`', () => {
  const waiting = { key: keyWith({ usdCap: 50 }), onCapExhausted: 'pause' };

  function raiseCap({ workflowId }: RunHandle, ...input: readonly string[]): Promise<Said> {
    return temporal('update', 'execute', '--workflow-id', workflowId, '--name', 'raiseCap', ...input);
  }

  async function untilItWaits(handle: RunHandle): Promise<void> {
    await eventually(async () => (await handle.query(statusQuery)).phase === 'waiting_for_cap');
  }

  test('with a bad value, or none, fails and says what would be right; the run still waits', async () => {
    const prefix = prefixed();
    const handle = await runInTheMiddle(prefix, waiting, 20);
    await untilItWaits(handle);
    for (const value of ['50', '-1', '"much"', 'null', '{"usd": "75"}']) {
      const { code, stderr } = await raiseCap(handle, '--input', value);
      expect({ value, code, stderr }).toEqual({
        value,
        code: 1,
        stderr: expect.stringContaining('raiseCap needs a number of dollars above the present cap of $50.00, e.g. 75'),
      });
    }
    expect((await raiseCap(handle)).stderr).toContain('raiseCap needs a number of dollars');
    await untilItWaits(handle);
    expect(chargesOf(prefix)).toBe(5);
    expect((await temporal('signal', '--workflow-id', handle.workflowId, '--name', 'revoke')).code).toBe(0);
    expect((await handle.result()).records.succeeded).toBe(5);
    expect(await failedTasks(handle)).toEqual([]);
  });

  test.each(['200', '{"usd": 200}'])('with %s lets the run that waits go on to its end', async (value) => {
    const prefix = prefixed();
    const handle = await runInTheMiddle(prefix, waiting, 20);
    await untilItWaits(handle);
    expect(chargesOf(prefix)).toBe(5);
    const { code, stdout, stderr } = await raiseCap(handle, '--input', value);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(stdout).toMatch(/"?usdCap"?:\s*200/);
    expect(await handle.result()).toMatchObject({ status: 'completed', records: { succeeded: 20, refused: 0 } });
    expect(chargesOf(prefix)).toBe(20);
  });
});

test('`temporal workflow start` with plain JSON starts a run, `query` shows it, `signal` pauses and resumes it', async () => {
  const prefix = prefixed();
  const workflowId = `run-${randomUUID()}`;
  const id = ['--workflow-id', workflowId];
  const path = await writeSource(stack, customers(40, 1_000, prefix));
  const input = JSON.stringify(inputFor(path, { concurrency: 4 }));
  const started = await temporal('start', ...id, '--type', 'pipelineRun', '--task-queue', taskQueue, '--input', input);
  expect(started).toMatchObject({ code: 0, stderr: '' });
  await eventually(() => chargesOf(prefix) > 0);
  expect((await temporal('signal', ...id, '--name', 'pause')).code).toBe(0);
  const handle = stack.client.workflow.getHandle(workflowId);
  await eventually(async () => (await handle.query(statusQuery)).inFlight === 0);
  const { stdout } = await temporal('query', ...id, '--name', 'status', '--output', 'json');
  expect(JSON.parse(stdout)).toMatchObject({
    queryResult: [{ phase: 'paused', usdCap: 1_000, records: { total: 40, succeeded: chargesOf(prefix) } }],
  });
  expect(chargesOf(prefix)).toBeLessThan(40);
  expect((await temporal('signal', ...id, '--name', 'resume')).code).toBe(0);
  expect((await handle.result()) as RunReport).toMatchObject({ status: 'completed', records: { succeeded: 40 } });
  expect(chargesOf(prefix)).toBe(40);
});
