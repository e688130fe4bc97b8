import { WorkflowFailedError, WorkflowUpdateFailedError } from '@temporalio/client';
import { ApplicationFailure, CancelledFailure, TerminatedFailure } from '@temporalio/common';
import type { KeyState } from '../proxy/contract';
import { pauseSignal, raiseCapUpdate, resumeSignal, revokeSignal, statusQuery } from '../workflows';
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
  withWorker,
  writeSource,
} from './support/temporal';

let stack: Stack;

beforeAll(async () => {
  stack = await startStack({ delayMs: 40 });
});

afterAll(() => stack.stop());

/** So slow that a test can act in the middle. */
async function slowRun(taskQueue: string, prefix: string, change: object = {}, count = 200): Promise<RunHandle> {
  const path = await writeSource(stack, customers(count, 1_000, prefix));
  const handle = await startRun(stack, taskQueue, inputFor(path, { concurrency: 4, ...change }));
  await eventually(() => stack.sandbox.charges().some(({ customer }) => customer?.startsWith(`${prefix}_`)));
  return handle;
}

async function keyState(keyId: string | null): Promise<KeyState> {
  return (await stack.proxy.client.getKey(keyId ?? '')).state;
}

function chargesOf(prefix: string): number {
  return stack.sandbox.charges().filter(({ customer }) => customer?.startsWith(`${prefix}_`)).length;
}

/** The failure that ended a workflow. */
async function failureOf(handle: RunHandle): Promise<Error | undefined> {
  const error = await handle.result().then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  expect(error).toBeInstanceOf(WorkflowFailedError);
  return (error as WorkflowFailedError).cause;
}

describe('the signal revoke', () => {
  test.each([
    { name: 'nothing', args: [], reason: 'Revoked by signal.' },
    { name: 'a text', args: ['wrong file'], reason: 'Revoked by signal: wrong file' },
    { name: 'a reason', args: [{ reason: 'wrong prices' }], reason: 'Revoked by signal: wrong prices' },
    { name: 'garbage', args: [[1, { reason: 5 }]], reason: 'Revoked by signal.' },
    { name: 'null', args: [null], reason: 'Revoked by signal.' },
    { name: 'two lines', args: ['wrong\tfile\nof'], reason: 'Revoked by signal: wrong\tfile\nof' },
  ])('with $name ends the run with its report and a dead key', async ({ name, args, reason }) => {
    const prefix = `revoke-${name.replace(' ', '-')}`;
    await withWorker(stack, async (taskQueue) => {
      const handle = await slowRun(taskQueue, prefix);
      await handle.signal(revokeSignal, ...(args as [unknown?]));
      const report = await handle.result();
      expect(report).toMatchObject({ status: 'revoked', reason });
      expect(await keyState(report.keyId)).toBe('revoked');
      const { records } = report;
      expect(records.succeeded).toBe(chargesOf(prefix));
      expect(records.succeeded).toBeLessThan(200);
      expect(records.succeeded + records.refused + records.not_started).toBe(200);
      expect(await failedTasks(handle)).toEqual([]);
    });
  });

  test('from outside, at the proxy, ends the run as revoked too', async () => {
    await withWorker(stack, async (taskQueue) => {
      const handle = await slowRun(taskQueue, 'outside');
      const { keyId } = await handle.query(statusQuery);
      await stack.proxy.client.revokeKey(keyId!, 'operator');
      const report = await handle.result();
      expect(report).toMatchObject({ status: 'revoked' });
      expect(report.records.succeeded).toBe(chargesOf('outside'));
    });
  });
});

test('pause starts no further call, and resume goes on', async () => {
  await withWorker(stack, async (taskQueue) => {
    const handle = await slowRun(taskQueue, 'pause', {}, 30);
    await handle.signal(pauseSignal);
    await eventually(async () => {
      const { phase, inFlight } = await handle.query(statusQuery);
      return phase === 'paused' && inFlight === 0;
    });
    const before = chargesOf('pause');
    await new Promise((resolve) => setTimeout(resolve, 400));
    expect(chargesOf('pause')).toBe(before);
    expect(before).toBeLessThan(30);
    await handle.signal(resumeSignal);
    expect((await handle.result()).records.succeeded).toBe(30);
  });
});

describe('the update raiseCap', () => {
  test.each([
    { cap: 50, words: /above the present cap of \$50\.00, e\.g\. 75/ },
    { cap: 10, words: /above the present cap of \$50\.00/ },
    { cap: -1, words: /needs a number of dollars/ },
    { cap: 'much', words: /needs a number of dollars/ },
    { cap: null, words: /needs a number of dollars/ },
    { cap: { usd: '75' }, words: /needs a number of dollars/ },
    { cap: 60.1234567, words: /needs a number of dollars/ },
  ])('refuses $cap and says what would be right', async ({ cap, words }) => {
    await withWorker(stack, async (taskQueue) => {
      const prefix = `bad-cap-${JSON.stringify(cap)}`;
      const handle = await slowRun(taskQueue, prefix, { key: keyWith({ usdCap: 50 }), onCapExhausted: 'pause' });
      const error = await handle.executeUpdate(raiseCapUpdate, { args: [cap] }).catch((thrown: unknown) => thrown);
      expect(error).toBeInstanceOf(WorkflowUpdateFailedError);
      expect((error as WorkflowUpdateFailedError).cause?.message).toMatch(words);
      await handle.signal(revokeSignal);
      expect((await handle.result()).status).toBe('revoked');
      expect(await failedTasks(handle)).toEqual([]);
    });
  });

  test('lets a run that waits at its cap send what was refused, each record once', async () => {
    await withWorker(stack, async (taskQueue) => {
      const handle = await slowRun(taskQueue, 'raise', { key: keyWith({ usdCap: 50 }), onCapExhausted: 'pause' }, 20);
      await eventually(async () => (await handle.query(statusQuery)).phase === 'waiting_for_cap');
      expect(chargesOf('raise')).toBe(5);
      expect(await handle.executeUpdate(raiseCapUpdate, { args: [{ usd: 120 }] })).toEqual({ usdCap: 120 });
      await eventually(() => chargesOf('raise') === 12);
      await eventually(async () => (await handle.query(statusQuery)).phase === 'waiting_for_cap');
      expect(await handle.executeUpdate(raiseCapUpdate, { args: [500] })).toEqual({ usdCap: 500 });
      const report = await handle.result();
      expect(report).toMatchObject({
        status: 'completed',
        records: { succeeded: 20, refused: 0, not_started: 0 },
        spend: { settled_usd: 200 },
      });
      expect(chargesOf('raise')).toBe(20);
    });
  });

  test('a cap raised at the proxy is noticed', async () => {
    const setup = { plugin: { limits: { spendPollMs: 300 } } };
    await withWorker(
      stack,
      async (taskQueue) => {
        const handle = await slowRun(taskQueue, 'api', { key: keyWith({ usdCap: 50 }), onCapExhausted: 'pause' }, 10);
        const { jobId } = await eventually(async () => {
          const view = await handle.query(statusQuery);
          return view.phase === 'waiting_for_cap' && view;
        });
        await stack.proxy.client.patchJob(jobId!, { usd_cap: 300 });
        expect((await handle.result()).records.succeeded).toBe(10);
      },
      setup,
    );
  });
});

test('a cancelled run ends Cancelled with its key revoked and what was sent finished', async () => {
  await withWorker(stack, async (taskQueue) => {
    const handle = await slowRun(taskQueue, 'cancel');
    const { keyId } = await handle.query(statusQuery);
    await handle.cancel();
    expect(await failureOf(handle)).toBeInstanceOf(CancelledFailure);
    expect((await handle.describe()).status.name).toBe('CANCELLED');
    expect(await keyState(keyId)).toBe('revoked');
    const { spend } = await stack.proxy.client.getKey(keyId!);
    expect(spend).toMatchObject({ settled_usd: chargesOf('cancel') * 10, held_usd: 0, unknown_usd: 0 });
    const view = await handle.query(statusQuery);
    expect(view.records.succeeded).toBe(chargesOf('cancel'));
    expect(await failedTasks(handle)).toEqual([]);
  });
});

test('the guard revokes the key of a terminated run', async () => {
  await withWorker(stack, async (taskQueue) => {
    const handle = await slowRun(taskQueue, 'terminate');
    const { keyId } = await handle.query(statusQuery);
    await handle.terminate('test');
    expect(await failureOf(handle)).toBeInstanceOf(TerminatedFailure);
    await eventually(async () => (await keyState(keyId)) === 'revoked', 10_000);
    expect((await stack.proxy.client.getKey(keyId!)).revoke_reason).toContain('TERMINATED');
  });
});

test('the guard revokes the key of a run that timed out', async () => {
  const path = await writeSource(stack, customers(400, 1_000, 'timeout'));
  await withWorker(stack, async (taskQueue) => {
    const input = inputFor(path, { concurrency: 2 });
    const handle = await startRun(stack, taskQueue, input, { workflowExecutionTimeout: '3 seconds' });
    const keyId = await eventually(async () => (await handle.query(statusQuery)).keyId ?? undefined);
    await failureOf(handle);
    await eventually(async () => (await keyState(keyId)) === 'revoked', 12_000);
  });
});

test('a source that changes fails the run and revokes its key', async () => {
  await withWorker(stack, async (taskQueue) => {
    const path = await writeSource(stack, customers(300, 1_000, 'changed'));
    const handle = await startRun(stack, taskQueue, inputFor(path, { concurrency: 2 }));
    const { keyId } = await eventually(async () => {
      const view = await handle.query(statusQuery);
      return view.records.succeeded > 0 && view;
    });
    const { appendFile } = await import('node:fs/promises');
    await appendFile(`${stack.sourceDir}/${path}`, '{"id":"late","amount_cents":1}\n');
    const failure = await failureOf(handle);
    expect(failure).toBeInstanceOf(ApplicationFailure);
    expect((failure as ApplicationFailure).type).toBe('keybrake.source_changed');
    expect((failure as ApplicationFailure).details?.[0]).toMatchObject({ status: 'failed', keyId });
    expect(await keyState(keyId)).toBe('revoked');
  });
});

test('the reason of a run that was revoked before it had a key reads as sentences', async () => {
  await withWorker(stack, async (taskQueue) => {
    const handle = await startRun(stack, taskQueue, inputFor('in/nowhere.jsonl'));
    await handle.signal(revokeSignal, 'wrong file');
    expect((await handle.result()).reason).toBe('Revoked by signal: wrong file. No key was issued.');
  });
});
