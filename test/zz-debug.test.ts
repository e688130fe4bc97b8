/** Operators, faults and shutdowns at random moments. Whatever happens: the books of run, proxy and vendor agree. */
import { randomUUID } from 'node:crypto';
import { WorkflowFailedError } from '@temporalio/client';
import type { RunReport } from '../activities/contract/plan';
import { pauseSignal, raiseCapUpdate, resumeSignal, revokeSignal, statusQuery } from '../workflows';
import {
  customers,
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

const LIMITS = { unitsPerPage: 7, activitiesInRoot: 25, unitsPerShardRun: 12, recordsPerShard: 20, shardsRunning: 2 };

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
    const setup = { plugin: { limits: LIMITS } };
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
        return { prefix, count, handle: await startRun(stack, taskQueue, inputFor(path, change)) };
      }),
    );
    const acts = handles.map(async ({ handle }) => {
      await new Promise((resolve) => setTimeout(resolve, random() * 1_500));
      await ACTS[Math.floor(random() * ACTS.length)]?.(handle).catch(() => undefined);
    });
    await new Promise((resolve) => setTimeout(resolve, 600));
    const t0 = Date.now(); await Promise.race([worker.stop(), new Promise((r) => setTimeout(r, 15000))]); if (Date.now() - t0 > 8000) console.log('stop took', Date.now() - t0, worker.worker.getState(), JSON.stringify(worker.worker.getStatus()));
    worker = await startWorker(stack, taskQueue, setup);
    await Promise.race([Promise.all(acts), new Promise((r) => setTimeout(() => {  r(0); }, 15000))]);
    await Promise.race([Promise.all(handles.map(({ handle }) => handle.result().catch(() => 0))), new Promise((r) => setTimeout(r, 60000))]);
    let stuck = false;
  for (const { handle, prefix } of handles) {
    for (const id of [handle.workflowId, ...[0, 1, 2].map((i) => `${handle.workflowId}/shard-${i}`)]) {
      const h = stack.client.workflow.getHandle(id);
      const d = await h.describe().catch(() => undefined);
      if (!d || d.status.name !== 'RUNNING') continue;
      stuck = true;
      const events = (await h.fetchHistory()).events ?? [];
      console.log(new Date().toISOString(), id, prefix, d.status.name, await failedTasks(h as never), JSON.stringify(d.raw.pendingActivities?.map((a) => [a.activityId, a.attempt, a.state, a.lastFailure?.message, a.scheduledTime])), events.slice(0,7).concat(events.slice(-30)).map((e) => { const k = Object.keys(e).find((x) => x.endsWith('Attributes'))!; const a = (e as never)[k] as any; return `${e.eventId} ${Number(e.eventTime!.seconds) % 1000}.${String(e.eventTime!.nanos).slice(0,3)} ${k.replace('EventAttributes', '')} ${a?.activityId ?? ''} ${a?.activityType?.name ?? ''} ${a?.signalName ?? ''} ${a?.workflowExecution?.workflowId ?? ''} ${a?.failure?.message ?? ''} ${a?.scheduledEventId ?? ''}`; }).join('\n'));
    }
  }
  if (stuck) throw new Error('stuck');

    for (const { handle, prefix, count } of handles) {
      const report = await reportOf(handle);
      const charged = stack.sandbox.charges().filter(({ customer }) => customer?.startsWith(`${prefix}_`));
      const { jobId, records } = await handle.query(statusQuery).catch(async (error) => {
        const events = (await handle.fetchHistory()).events ?? [];
        console.log(error.message, prefix, events.map((e) => { const k = Object.keys(e).find((x) => x.endsWith('Attributes'))!; const a = (e as never)[k] as any; return `${e.eventId} ${Number(e.eventTime!.seconds) % 1000}.${String(e.eventTime!.nanos).slice(0,3)} ${k.replace('EventAttributes', '')} ${a?.activityId ?? ''} ${a?.activityType?.name ?? ''} ${a?.signalName ?? ''} ${a?.workflowExecution?.workflowId ?? ''} ${a?.failure?.message ?? ''} ${a?.scheduledEventId ?? ''} ${a?.details?.data ? Buffer.from(a.details.data.payloads[0].data).toString().slice(0, 80) : ''}`; }).join('\n'));
        throw error;
      });
      expect(await failedTasks(handle)).toEqual([]);
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
