/** The records of a large source: shard children, so many at a time, each with its part of the concurrency. */
import {
  CancellationScope,
  type ChildWorkflowHandle,
  type ExternalWorkflowHandle,
  getExternalWorkflowHandle,
  isCancellation,
  patched,
  sleep,
  startChild,
  workflowInfo,
} from '@temporalio/workflow';
import { ApplicationFailure, WorkflowExecutionAlreadyStartedError } from '@temporalio/common';
import { controlSignal } from './definitions';
import type { Gate } from './gate';
import { limitsOf, type LimitedPlan } from '../activities/contract/limits';
import type { ShardRange } from '../activities/contract/plan';
import type { pipelineShard, ShardInput } from './pipelineShard';
import type { Run } from './run';
import type { Doubt } from './units';
import { until } from './waiting';

type ShardHandle = ChildWorkflowHandle<typeof pipelineShard>;

/** Histories from before it do not ask what became of a reader's records. */
const READER_LOST = 'keybrake.reader-lost';

/** Sleeps between tries to start a shard whose id a child from before a reset still has. */
const OLD_CHILD_WAIT_MS = 1_000;

/** Runs every shard; resolves when all have ended. Answers what must be looked up. Never rejects for one shard. */
export async function runShards(run: Run, plan: LimitedPlan, gate: Gate): Promise<readonly Doubt[]> {
  const running = new Map<number, ShardHandle>();
  run.broadcast = (control) => {
    for (const index of running.keys()) {
      // A shard that has just ended needs no news.
      currentRun(index)
        .signal(controlSignal, control)
        .catch(() => undefined);
    }
  };
  run.work.cancelRequested.catch(() => {
    for (const index of running.keys()) cancelShard(index).catch(() => undefined);
  });
  const doubts: Doubt[] = [];
  const waiting = [...plan.shards];
  const shares = sharesOf(plan);
  await Promise.all(
    shares.map(async (concurrency) => {
      for (;;) {
        await until(() => gate.open || gate.closed);
        const range = waiting.shift();
        if (range === undefined || gate.closed) return;
        doubts.push(...(await runShard(run, plan, gate, { range, concurrency, running })));
      }
    }),
  );
  return doubts;
}

interface ShardJob {
  readonly range: ShardRange;
  readonly concurrency: number;
  readonly running: Map<number, ShardHandle>;
}

async function runShard(run: Run, plan: LimitedPlan, gate: Gate, job: ShardJob): Promise<readonly Doubt[]> {
  const { range, concurrency, running } = job;
  const { index, start, firstLine } = range;
  const input: ShardInput = {
    plan: partOf(plan, range),
    range,
    position: { offset: start, line: firstLine },
    control: gate.control,
    concurrency,
    counts: {},
  };
  try {
    const result = await run.work.run(async () => {
      const handle = await startShard(input);
      running.set(index, handle);
      // A cancellation that came while it was being started has missed it.
      if (run.work.consideredCancelled) cancelShard(index).catch(() => undefined);
      // So has news of the gate.
      if (input.control.version !== gate.control.version) run.broadcast(gate.control);
      return handle.result();
    });
    run.shardsEnded.add(index);
    run.shardCounts.set(index, result.counts);
    const { fatal, cancelled } = result;
    if (fatal !== undefined) run.fail(ApplicationFailure.nonRetryable(fatal.message, fatal.type));
    else if (cancelled) run.fail(ApplicationFailure.nonRetryable(`Shard ${index} was cancelled, not the run.`));
    run.show();
    return [];
  } catch (error) {
    if (isCancellation(error) && !running.has(index)) return [];
    run.shardsEnded.add(index);
    const told = run.shardCounts.get(index) ?? {};
    run.shardCounts.delete(index);
    if (!isCancellation(error)) run.fail(error);
    if (plan.source.kind !== 'activity') return [{ range, otherwise: 'not_started' }];
    return patched(READER_LOST) ? [{ range, otherwise: 'not_started', told }] : [];
  } finally {
    running.delete(index);
  }
}

/**
 * A shard by its workflow id alone. The cancellation that the SDK sends for a child goes to the run that was started,
 * and is lost once that has continued as new.
 */
function currentRun(index: number): ExternalWorkflowHandle {
  return getExternalWorkflowHandle(shardId(index));
}

function cancelShard(index: number): Promise<void> {
  return CancellationScope.nonCancellable(() => currentRun(index).cancel());
}

/** The same over resets. Beside a long id of the root's there is no room: then its first run id stands for that. */
function shardId(index: number): string {
  const { workflowId, firstExecutionRunId } = workflowInfo();
  const id = `${workflowId}/shard-${index}`;
  return new TextEncoder().encode(id).length <= ID_BYTES_MAX ? id : `${firstExecutionRunId}/shard-${index}`;
}

/** Temporal's: a task that starts a child of a longer one fails for ever. */
const ID_BYTES_MAX = 1_000;

/** After a reset, a child of the former run may still have the id: it is cancelled and waited for. */
async function startShard(input: ShardInput): Promise<ShardHandle> {
  const { index, records } = input.range;
  for (;;) {
    try {
      return await startChild<typeof pipelineShard>('pipelineShard', {
        workflowId: shardId(index),
        args: [input],
        cancellationType: 'WAIT_CANCELLATION_COMPLETED',
        parentClosePolicy: 'REQUEST_CANCEL',
        staticSummary: `shard ${index}${records > 0 ? `, ${records} records` : ''}`,
      });
    } catch (error) {
      if (!(error instanceof WorkflowExecutionAlreadyStartedError)) throw error;
      await cancelShard(index).catch(() => undefined);
      await sleep(OLD_CHILD_WAIT_MS);
    }
  }
}

/** The concurrency, divided over the shards that run at one time. */
function sharesOf(plan: LimitedPlan): number[] {
  const slots = Math.max(1, Math.min(limitsOf(plan).shardsRunning, plan.shards.length, plan.concurrency));
  return Array.from({ length: slots }, (_, slot) => {
    return Math.floor(plan.concurrency / slots) + (slot < plan.concurrency % slots ? 1 : 0);
  });
}

/** A shard needs neither the other shards nor their records. */
function partOf(plan: LimitedPlan, { start, end }: ShardRange): LimitedPlan {
  const { source } = plan;
  if (source.kind !== 'inline') return { ...plan, shards: [] };
  return { ...plan, shards: [], source: { kind: 'inline', records: source.records.slice(start, end) } };
}
