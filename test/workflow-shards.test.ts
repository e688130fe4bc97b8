import { raiseCapUpdate, revokeSignal, statusQuery } from '../workflows';
import { progressSignal } from '../workflows/definitions';
import type { Limits } from '../activities/contract/limits';
import {
  customers,
  eventsOf,
  eventually,
  failedTasks,
  inputFor,
  keyWith,
  run,
  type Stack,
  startRun,
  startStack,
  withWorker,
  type WorkerSetup,
  writeSource,
} from './support/temporal';

let stack: Stack;

beforeAll(async () => {
  stack = await startStack({ delayMs: 5 });
});

afterAll(() => stack.stop());

/** So small that a few records make shards, and each shard several runs. */
const SMALL: Partial<Limits> = {
  unitsPerPage: 10,
  activitiesInRoot: 20,
  unitsPerShardRun: 20,
  recordsPerShard: 35,
  shardsRunning: 2,
};
const small: WorkerSetup = { plugin: { limits: SMALL } };

function chargesOf(prefix: string): number {
  return stack.sandbox.charges().filter(({ customer }) => customer?.startsWith(`${prefix}_`)).length;
}

/** Every run of a shard: continue-as-new makes several. */
async function shardRuns(workflowId: string): Promise<string[]> {
  const runs: string[] = [];
  const query = `WorkflowType = 'pipelineShard' AND WorkflowId STARTS_WITH '${workflowId}/'`;
  for await (const { status } of stack.client.workflow.list({ query })) runs.push(status.name);
  return runs;
}

describe('shards', () => {
  test('continue as new, and lose no record and no count', async () => {
    const path = await writeSource(stack, customers(100, 100, 'can'));
    await withWorker(
      stack,
      async (taskQueue) => {
        const handle = await startRun(stack, taskQueue, inputFor(path, { results: { path: 'can.ndjson' } }));
        const report = await handle.result();
        expect(report).toMatchObject({
          status: 'completed',
          records: { succeeded: 100, total: 100 },
          spend: { settled_usd: 100 },
        });
        expect(chargesOf('can')).toBe(100);
        await eventually(async () => (await shardRuns(handle.workflowId)).length === 6);
        expect((await shardRuns(handle.workflowId)).filter((status) => status === 'CONTINUED_AS_NEW')).toHaveLength(3);
        expect(await failedTasks(handle)).toEqual([]);
      },
      small,
    );
  });

  test.each([992, 993, 1_000])('of a root whose id has %d bytes have ids that Temporal takes', async (bytes) => {
    const path = await writeSource(stack, customers(70, 100, `long${bytes}`));
    await withWorker(
      stack,
      async (taskQueue) => {
        const options = { workflowId: 'é'.repeat(bytes / 2).padEnd(bytes - Math.floor(bytes / 2), 'x') };
        const handle = await startRun(stack, taskQueue, inputFor(path), {
          ...options,
          workflowExecutionTimeout: '30s',
        });
        expect((await handle.result()).records).toMatchObject({ succeeded: 70, total: 70 });
        expect(await failedTasks(handle)).toEqual([]);
      },
      small,
    );
  });

  test('count as they ended, though news of their progress comes later', async () => {
    const path = await writeSource(stack, customers(70, 100, 'news'));
    await withWorker(
      stack,
      async (taskQueue) => {
        const handle = await startRun(stack, taskQueue, inputFor(path, { concurrency: 1 }));
        await eventually(async () => (await handle.query(statusQuery)).records.succeeded === 35);
        await handle.signal(progressSignal, { shard: 0, counts: { succeeded: 12 } });
        expect((await handle.result()).records).toMatchObject({ succeeded: 70, not_started: 0 });
      },
      small,
    );
  });

  test('stop at the cap together, with exact counts', async () => {
    const path = await writeSource(stack, customers(100, 1_000, 'shardcap'));
    await withWorker(
      stack,
      async (taskQueue) => {
        const report = await run(stack, taskQueue, inputFor(path, { key: keyWith({ usdCap: 400 }) }));
        expect(report).toMatchObject({ status: 'cap_exhausted', spend: { settled_usd: 400, held_usd: 0 } });
        expect(report.records.succeeded).toBe(40);
        expect(Object.values(report.records).reduce<number>((sum, count) => sum + (count ?? 0), 0)).toBe(200);
        expect(chargesOf('shardcap')).toBe(40);
      },
      small,
    );
  });

  test('wait at the cap and go on after raiseCap', async () => {
    const path = await writeSource(stack, customers(60, 1_000, 'shardraise'));
    await withWorker(
      stack,
      async (taskQueue) => {
        const input = inputFor(path, { key: keyWith({ usdCap: 200 }), onCapExhausted: 'pause' });
        const handle = await startRun(stack, taskQueue, input);
        await eventually(async () => (await handle.query(statusQuery)).phase === 'waiting_for_cap');
        await handle.executeUpdate(raiseCapUpdate, { args: [1_000] });
        const report = await handle.result();
        expect(report).toMatchObject({ status: 'completed', records: { succeeded: 60, refused: 0, not_started: 0 } });
        expect(chargesOf('shardraise')).toBe(60);
      },
      small,
    );
  });

  test('are cancelled by a revocation and still tell their counts', async () => {
    const path = await writeSource(stack, customers(400, 1_000, 'shardrevoke'));
    await withWorker(
      stack,
      async (taskQueue) => {
        const handle = await startRun(stack, taskQueue, inputFor(path, { concurrency: 4 }));
        await eventually(() => chargesOf('shardrevoke') > 5);
        await handle.signal(revokeSignal, 'enough');
        const report = await handle.result();
        expect(report.status).toBe('revoked');
        expect(report.records.succeeded).toBe(chargesOf('shardrevoke'));
        expect(Object.values(report.records).reduce<number>((sum, count) => sum + (count ?? 0), 0)).toBe(800);
        await eventually(async () => !(await shardRuns(handle.workflowId)).includes('RUNNING'));
      },
      small,
    );
  });

  test('end with a root that is terminated, and the key dies', async () => {
    const path = await writeSource(stack, customers(400, 1_000, 'shardkill'));
    await withWorker(
      stack,
      async (taskQueue) => {
        const handle = await startRun(stack, taskQueue, inputFor(path, { concurrency: 4 }));
        await eventually(async () => (await shardRuns(handle.workflowId)).includes('CONTINUED_AS_NEW'));
        const { keyId } = await handle.query(statusQuery);
        await handle.terminate();
        await eventually(async () => (await stack.proxy.client.getKey(keyId!)).state === 'revoked');
        await eventually(async () => !(await shardRuns(handle.workflowId)).includes('RUNNING'));
        const { spend } = await stack.proxy.client.getKey(keyId!);
        expect(spend.settled_usd).toBe(chargesOf('shardkill') * 10);
        expect(chargesOf('shardkill')).toBeLessThan(400);
      },
      small,
    );
  });

  test('of inline records carry each its own part', async () => {
    await withWorker(
      stack,
      async (taskQueue) => {
        const source = { kind: 'inline', records: customers(75, 100, 'shardinline') };
        const handle = await startRun(stack, taskQueue, inputFor('', { source }));
        expect((await handle.result()).records).toMatchObject({ succeeded: 75, total: 75 });
        expect(chargesOf('shardinline')).toBe(75);
      },
      small,
    );
  });
});

describe('chunks of records', () => {
  test('go many to an activity, each record with its own key', async () => {
    const path = await writeSource(stack, [...customers(95, 100, 'chunk'), { id: 'chunk_1', amount_cents: 100 }]);
    await withWorker(stack, async (taskQueue) => {
      const handle = await startRun(stack, taskQueue, inputFor(path, { recordsPerActivity: 20, concurrency: 40 }));
      const report = await handle.result();
      expect(report.records).toMatchObject({ succeeded: 95, duplicate: 1, total: 96 });
      expect(chargesOf('chunk')).toBe(95);
      const scheduled = eventsOf(await handle.fetchHistory()).flatMap(
        ({ activityTaskScheduledEventAttributes: event }) => event?.activityType?.name ?? [],
      );
      expect(scheduled.filter((name) => name === 'keybrake.callChunk')).toHaveLength(5);
    });
  });

  test('stop at the cap, and go on from there after raiseCap', async () => {
    const path = await writeSource(stack, customers(100, 1_000, 'chunkcap'));
    await withWorker(stack, async (taskQueue) => {
      const input = inputFor(path, {
        recordsPerActivity: 25,
        concurrency: 20,
        key: keyWith({ usdCap: 330 }),
        onCapExhausted: 'pause',
      });
      const handle = await startRun(stack, taskQueue, input);
      await eventually(async () => (await handle.query(statusQuery)).phase === 'waiting_for_cap');
      await handle.executeUpdate(raiseCapUpdate, { args: [2_000] });
      const report = await handle.result();
      expect(report).toMatchObject({ status: 'completed', records: { succeeded: 100, refused: 0, not_started: 0 } });
      expect(report.spend?.settled_usd).toBe(1_000);
      expect(chargesOf('chunkcap')).toBe(100);
    });
  });

  test('at the cap, count what was done, refused and not started', async () => {
    const path = await writeSource(stack, customers(100, 1_000, 'chunkstop'));
    await withWorker(stack, async (taskQueue) => {
      const input = inputFor(path, { recordsPerActivity: 25, concurrency: 20, key: keyWith({ usdCap: 330 }) });
      const report = await run(stack, taskQueue, input);
      expect(report).toMatchObject({ status: 'cap_exhausted', spend: { settled_usd: 330 } });
      expect(report.records.succeeded).toBe(33);
      expect(Object.values(report.records).reduce<number>((sum, count) => sum + (count ?? 0), 0)).toBe(200);
    });
  });

  test('of inline records', async () => {
    await withWorker(stack, async (taskQueue) => {
      const source = { kind: 'inline', records: customers(33, 100, 'chunkinline') };
      const report = await run(stack, taskQueue, inputFor('', { source, recordsPerActivity: 10 }));
      expect(report.records).toMatchObject({ succeeded: 33, total: 33 });
    });
  });

  test('are cancelled with what was sent finished and counted', async () => {
    const path = await writeSource(stack, customers(500, 1_000, 'chunkrevoke'));
    await withWorker(stack, async (taskQueue) => {
      const handle = await startRun(stack, taskQueue, inputFor(path, { recordsPerActivity: 100, concurrency: 3 }));
      await eventually(() => chargesOf('chunkrevoke') > 5);
      await handle.signal(revokeSignal);
      const report = await handle.result();
      expect(report.status).toBe('revoked');
      expect(report.records.succeeded).toBe(chargesOf('chunkrevoke'));
      expect(Object.values(report.records).reduce<number>((sum, count) => sum + (count ?? 0), 0)).toBe(1_000);
    });
  });
});
