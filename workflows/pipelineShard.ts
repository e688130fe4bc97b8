/** One shard of a run: a child that runs its part of the records, and continues as new before its history is long. */
import {
  CancellationScope,
  continueAsNew,
  getExternalWorkflowHandle,
  setHandler,
  type SignalDefinition,
  workflowInfo,
} from '@temporalio/workflow';
import type { Counts, Position } from '../activities/types';
import { type Control, controlSignal, heldSignal, progressSignal } from './definitions';
import { lookUpDoubts } from './doubts';
import { endingInFailure } from './failures';
import { Gate } from './gate';
import { limitsOf, type LimitedPlan } from './limits';
import { noOutcomes, type ShardRange } from './plan';
import { runRange } from './range';

/** Carried over continue-as-new: change it only by adding optional fields. */
export interface ShardInput {
  readonly plan: LimitedPlan;
  readonly range: ShardRange;
  readonly position: Position;
  readonly control: Control;
  readonly concurrency: number;
  /** Of the runs before this one. */
  readonly counts: Counts;
}

export interface ShardResult {
  readonly counts: Counts;
  readonly cancelled: boolean;
  /** Why the run cannot go on. */
  readonly fatal?: { readonly type: string; readonly message: string };
}

/**
 * Started by `pipelineRun` alone. When it is cancelled it still completes, so that its counts are not lost.
 */
export async function pipelineShard(input: ShardInput): Promise<ShardResult> {
  const { range } = input;
  const root = workflowInfo().parent?.workflowId;
  const work = new CancellationScope();
  let cancelled = false;
  const end = (): void => {
    cancelled = true;
    gate.close();
  };
  const gate = new Gate(input.control, (code, epoch) => {
    // A root that is gone has nobody to tell: its shards end with it.
    tell(root, heldSignal, { shard: range.index, code, epoch }).catch(() => {
      end();
      work.cancel();
    });
  });
  setHandler(controlSignal, (control) => gate.follow(control), { description: 'For the pack itself: from the root.' });
  CancellationScope.current().cancelRequested.catch(end);
  return endingInFailure(() =>
    CancellationScope.nonCancellable(async () => {
      const { counts, next, fatal } = await runPart(input, gate, work);
      if (next !== null && !cancelled && fatal === undefined) {
        await tell(root, progressSignal, { shard: range.index, counts }).catch(() => undefined);
        if (!cancelled)
          return continueAsNew<typeof pipelineShard>({ ...input, position: next, control: gate.control, counts });
      }
      return { counts, cancelled, ...(fatal !== undefined && { fatal }) };
    }),
  );
}

async function runPart(input: ShardInput, gate: Gate, work: CancellationScope) {
  const { plan, range, position, concurrency } = input;
  const counts = { ...noOutcomes(), ...input.counts };
  const { doubts, fatal, next } = await runRange({
    plan,
    range,
    position,
    concurrency,
    counts,
    gate,
    work,
    unitsMax: limitsOf(plan).unitsPerShardRun,
    inlineOffset: range.start,
    onFatal: () => work.cancel(),
  });
  await lookUpDoubts(plan, gate.keyId, doubts, counts);
  return { counts, next, fatal: fatal && { type: fatal.type ?? 'keybrake.internal', message: fatal.message } };
}

async function tell<T>(root: string | undefined, signal: SignalDefinition<[T]>, news: T): Promise<void> {
  if (root !== undefined) await getExternalWorkflowHandle(root).signal(signal, news);
}
