import { randomUUID } from 'node:crypto';
import type { WorkflowHandle } from '@temporalio/client';
import { Worker } from '@temporalio/worker';
import { statusQuery } from '../workflows';
import {
  customers,
  eventsOf,
  eventually,
  failedTasks,
  inputFor,
  pluginFor,
  type RunHandle,
  type Stack,
  startRun,
  startStack,
  withWorker,
  type WorkerSetup,
  writeSource,
} from './support/temporal';

let stack: Stack;

beforeAll(async () => {
  stack = await startStack({ delayMs: 20 });
});

afterAll(() => stack.stop());

function chargesOf(prefix: string): number {
  return stack.sandbox.charges().filter(({ customer }) => customer?.startsWith(`${prefix}_`)).length;
}

/** Resets to the n-th completed workflow task (negative: from the end) and answers the new run. */
async function reset(handle: WorkflowHandle, nth: number): Promise<RunHandle> {
  const tasks = eventsOf(await handle.fetchHistory()).filter(({ workflowTaskCompletedEventAttributes: done }) => done);
  const { runId } = await stack.client.workflowService.resetWorkflowExecution({
    namespace: 'default',
    workflowExecution: { workflowId: handle.workflowId },
    workflowTaskFinishEventId: tasks.at(nth)!.eventId!,
    requestId: randomUUID(),
    reason: 'test',
  });
  return stack.client.workflow.getHandle(handle.workflowId, runId);
}

describe('a reset', () => {
  test('in the middle of a run goes on with its key and charges nothing twice', async () => {
    const path = await writeSource(stack, customers(60, 1_000, 'mid'));
    await withWorker(stack, async (taskQueue) => {
      const handle = await startRun(stack, taskQueue, inputFor(path, { concurrency: 3 }));
      await eventually(() => chargesOf('mid') > 10);
      const { keyId } = await handle.query(statusQuery);
      const successor = await reset(handle, -4);
      const report = await successor.result();
      expect(report).toMatchObject({
        status: 'completed',
        keyId,
        records: { succeeded: 60, duplicate: 0, unknown: 0 },
      });
      expect(chargesOf('mid')).toBe(60);
      expect(report.spend?.settled_usd).toBe(600);
      expect(await failedTasks(successor)).toEqual([]);
    });
  });

  test('of a run whose key is dead gives the job another key within the same cap', async () => {
    const path = await writeSource(stack, customers(30, 1_000, 'dead'));
    await withWorker(stack, async (taskQueue) => {
      const handle = await startRun(stack, taskQueue, inputFor(path, { concurrency: 3 }));
      const first = await handle.result();
      const successor = await reset(handle, 8);
      const report = await successor.result();
      expect(report.status).toBe('completed');
      expect(report.keyId).not.toBe(first.keyId);
      expect(report.jobId).toBe(first.jobId);
      expect(report.records.succeeded + report.records.replayed).toBe(30);
      expect(report.jobSpend?.settled_usd).toBe(300);
      expect(chargesOf('dead')).toBe(30);
      expect((await stack.proxy.client.getKey(report.keyId!)).state).toBe('revoked');
      expect(await failedTasks(successor)).toEqual([]);
    });
  });

  test('to the very beginning replays all, under the same job', async () => {
    const path = await writeSource(stack, customers(20, 1_000, 'begin'));
    await withWorker(stack, async (taskQueue) => {
      const handle = await startRun(stack, taskQueue, inputFor(path));
      const first = await handle.result();
      const report = await (await reset(handle, 0)).result();
      expect(report).toMatchObject({ status: 'completed', jobId: first.jobId, records: { replayed: 20 } });
      expect(chargesOf('begin')).toBe(20);
    });
  });

  test('of a run in shards waits for those from before, and loses none', async () => {
    const path = await writeSource(stack, customers(120, 500, 'shard'));
    const limits = {
      unitsPerPage: 10,
      activitiesInRoot: 20,
      unitsPerShardRun: 20,
      recordsPerShard: 40,
      shardsRunning: 2,
    };
    await withWorker(
      stack,
      async (taskQueue) => {
        const handle = await startRun(stack, taskQueue, inputFor(path, { concurrency: 4 }));
        await eventually(() => chargesOf('shard') > 15);
        const successor = await reset(handle, 2);
        const report = await successor.result();
        expect(report.status).toBe('completed');
        expect(report.records.succeeded + report.records.replayed).toBe(120);
        expect(chargesOf('shard')).toBe(120);
        expect(await failedTasks(successor)).toEqual([]);
      },
      { plugin: { limits } },
    );
  });
});

describe('a reset of withVaultKey', () => {
  const worker = { workflowsPath: require.resolve('./support/userWorkflows') };

  test('that is given no other key, since the one above is dead too, ends by that', async () => {
    const above = await stack.proxy.client.issueKey({
      vendor: 'stripe',
      usd_cap: 100,
      allowed_endpoints: ['POST /v1/payment_intents'],
      expires_in: '1h',
      agent_run_label: 'above',
    });
    await withWorker(
      stack,
      async (taskQueue) => {
        const workflowId = `under-${randomUUID()}`;
        const handle = await stack.client.workflow.start('waitUnder', { taskQueue, workflowId, args: [above.key_id] });
        await eventually(() => keyOf(handle));
        await stack.proxy.client.revokeKey(above.key_id, 'test');
        const ended = { cause: { type: 'keybrake.key_revoked', nonRetryable: true } };
        await expect(handle.result()).rejects.toMatchObject(ended);

        // To where the guard's news came.
        const successor = await reset(handle, 1);
        const outcome = successor.result().catch((error: unknown) => error);
        await eventually(async () => (await failedTasks(successor)).length > 0 || (await isClosed(successor)));
        expect(await failedTasks(successor)).toEqual([]);
        expect(await outcome).toMatchObject(ended);
      },
      { worker },
    );
  });
});

async function isClosed(handle: WorkflowHandle): Promise<boolean> {
  return (await handle.describe()).status.name !== 'RUNNING';
}

describe('replay', () => {
  test('a worker without a cache charges each record once', async () => {
    const uncached: WorkerSetup = { worker: { maxCachedWorkflows: 0 } };
    const path = await writeSource(stack, customers(25, 1_000, 'nocache'));
    await withWorker(
      stack,
      async (taskQueue) => {
        const handle = await startRun(stack, taskQueue, inputFor(path));
        expect((await handle.result()).records.succeeded).toBe(25);
        expect(chargesOf('nocache')).toBe(25);
        expect(await failedTasks(handle)).toEqual([]);
        await Worker.runReplayHistory({ plugins: [pluginFor(stack)] }, await handle.fetchHistory(), handle.workflowId);
      },
      uncached,
    );
  });

  test('a run goes on at another worker, and lets the first finish what it sent', async () => {
    const path = await writeSource(stack, customers(60, 1_000, 'move'));
    const taskQueue = `move-${randomUUID()}`;
    const handle = await withWorker(
      stack,
      async () => {
        const started = await startRun(stack, taskQueue, inputFor(path, { concurrency: 3 }));
        await eventually(() => chargesOf('move') > 10);
        return started;
      },
      { worker: { taskQueue } },
    );
    expect(chargesOf('move')).toBeLessThan(60);
    const before = (await stack.proxy.client.getKey((await keyOf(handle))!)).spend;
    expect(before.held_usd).toBe(0);
    await withWorker(stack, () => handle.result().then(({ records }) => expect(records.succeeded).toBe(60)), {
      worker: { taskQueue },
    });
    expect(chargesOf('move')).toBe(60);
  });
});

/** The key's id, out of the marker of the local activity that issued it. */
async function keyOf(handle: Pick<WorkflowHandle, 'workflowId'>): Promise<string | undefined> {
  const { items } = await stack.proxy.client.listKeys({ limit: 1_000 });
  return items.find(({ job_id: jobId }) => jobId?.startsWith(`${handle.workflowId}/`))?.key_id;
}
