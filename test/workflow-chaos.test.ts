/** Operators, faults and shutdowns at random moments. Whatever happens: the books of run, proxy and vendor agree. */
import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { Context } from '@temporalio/activity';
import { WorkflowFailedError } from '@temporalio/client';
import { Worker, type WorkerInterceptors } from '@temporalio/worker';
import type { RunReport } from '../activities/contract/plan';
import { pauseSignal, raiseCapUpdate, resumeSignal, revokeSignal, statusQuery } from '../workflows';
import {
  customers,
  failedTasks,
  inputFor,
  keyWith,
  pluginFor,
  type RunHandle,
  type Stack,
  startRun,
  startStack,
  startWorker,
  writeSource,
} from './support/temporal';

let stack: Stack;

beforeAll(async () => {
  stack = await startStack({ delayMs: 15 });
});

afterAll(() => stack.stop());

/** A small generator of its own, so that a failure can be run again from its seed. */
function randomFrom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state * 1_664_525 + 1_013_904_223) % 2 ** 32;
    return state / 2 ** 32;
  };
}

const ACTS: readonly ((handle: RunHandle) => Promise<unknown>)[] = [
  (handle) => handle.signal(revokeSignal, { reason: 'chaos' }),
  (handle) => handle.cancel(),
  (handle) => handle.signal(pauseSignal).then(() => handle.signal(resumeSignal)),
  (handle) => handle.executeUpdate(raiseCapUpdate, { args: [2_000] }),
  (handle) => handle.query(statusQuery),
  async (handle) => stack.proxy.client.revokeKey((await handle.query(statusQuery)).keyId ?? 'none', 'chaos'),
];

/** Control activities answer when they like, also after their workflow task has begun to heartbeat. */
function lateControl(random: () => number): WorkerInterceptors {
  return {
    activity: [
      () => ({
        inbound: {
          async execute(input, next) {
            const { activityType } = Context.current().info;
            const late = /issue|revoke|spend|raise/.test(activityType) && random() < 0.5;
            if (late) await sleep(random() * 2_000);
            return next(input);
          },
        },
      }),
    ],
  };
}

const LIMITS = {
  unitsPerPage: 7,
  activitiesInRoot: 25,
  unitsPerShardRun: 12,
  recordsPerShard: 20,
  shardsRunning: 2,
  spendPollMs: 200,
};

/** The report, also of a run that was cancelled or failed. */
async function reportOf(handle: RunHandle): Promise<Partial<RunReport> | undefined> {
  try {
    return await handle.result();
  } catch (error) {
    expect(error).toBeInstanceOf(WorkflowFailedError);
    const { cause } = error as WorkflowFailedError;
    return (cause as { details?: unknown[] }).details?.[0] as RunReport | undefined;
  }
}

const SEEDS = (process.env['CHAOS_SEEDS'] ?? '1,2').split(',').map(Number);

test.each(SEEDS)(
  'the books agree, seed %d',
  async (seed) => {
    const random = randomFrom(seed);
    const taskQueue = `chaos-${randomUUID()}`;
    const setup = { plugin: { limits: LIMITS }, worker: { interceptors: lateControl(randomFrom(seed + 1_000)) } };
    let worker = await startWorker(stack, taskQueue, setup);
    stack.sandbox.setFaults({ dropAfter: 0.02, dropBefore: 0.02, error500After: 0.02, rate429: 0.02, seed });
    const handles = await Promise.all(
      Array.from({ length: 12 }, async (_, index) => {
        const prefix = `chaos-${seed}-${index}`;
        const count = index % 3 === 0 ? 45 : 22;
        const path = await writeSource(stack, customers(count, 1_000, prefix));
        const change = {
          concurrency: 1 + Math.floor(random() * 8),
          key: keyWith({ usdCap: random() < 0.4 ? 150 : 1_000 }),
          ...(index % 4 === 1 && { recordsPerActivity: 8 }),
        };
        return {
          prefix,
          count,
          // Short, so that tasks time out; not so short that a busy machine meets the SDK's fault of README's Limits.
          handle: await startRun(stack, taskQueue, inputFor(path, change), { workflowTaskTimeout: '3s' }),
        };
      }),
    );
    const acts = handles.map(async ({ handle }) => {
      await new Promise((resolve) => setTimeout(resolve, random() * 1_500));
      await ACTS[Math.floor(random() * ACTS.length)]?.(handle).catch(() => undefined);
    });
    await new Promise((resolve) => setTimeout(resolve, 600));
    await worker.stop();
    worker = await startWorker(stack, taskQueue, setup);
    await Promise.all(acts);
    for (const { handle, prefix, count } of handles) {
      const report = await reportOf(handle);
      const charged = stack.sandbox.charges().filter(({ customer }) => customer?.startsWith(`${prefix}_`));
      const { jobId, records } = await handle.query(statusQuery);
      expect(await failedTasks(handle)).toEqual([]);
      await Worker.runReplayHistory({ plugins: [pluginFor(stack)] }, await handle.fetchHistory(), handle.workflowId);
      if (jobId === null) continue;
      const { spend } = await stack.proxy.client.getJob(jobId);
      const executed = charged.length;
      const books = { prefix, status: report?.status ?? 'cancelled', executed, spend, records };
      const between = (sure: number, doubtful: number): boolean => sure <= executed && executed <= sure + doubtful;
      expect({ ...books, ok: spend.held_usd === 0 }).toEqual({ ...books, ok: true });
      expect({ ...books, ok: between(spend.settled_usd / 10, spend.unknown_usd / 10) }).toEqual({ ...books, ok: true });
      expect({ ...books, ok: between(records.succeeded, records.unknown) }).toEqual({ ...books, ok: true });
      expect(new Set(charged.map(({ customer }) => customer)).size).toBe(charged.length);
      if (report?.records) {
        const { total, ...counts } = report.records;
        expect(total).toBe(count);
        expect(Object.values(counts).reduce((sum, n) => sum + n, 0)).toBe(count);
      }
    }
    const open = (await stack.proxy.client.listKeys({ limit: 1_000 })).items.filter(({ state }) => state === 'active');
    expect(open).toEqual([]);
    await worker.stop();
  },
  120_000,
);
