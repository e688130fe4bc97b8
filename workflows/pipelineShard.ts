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
import { limitsOf, type LimitedPlan } from '../activities/contract/limits';
import { noOutcomes, type ShardRange } from '../activities/contract/plan';
import { runRange } from './range';
import { readControl } from './signalShapes';
import { until } from './waiting';
import { sendsTogether } from './window';
import { looksUpChunks, sizesInBytes } from './units';

/** Carried over continue-as-new: change it only by adding optional fields. */
export interface ShardInput {
  readonly plan: LimitedPlan;
  readonly range: ShardRange;
  readonly position: Position;
  readonly control: Control;
  readonly concurrency: number;
  /** Of the runs before this one. */
  readonly counts: Counts;
  /** When the first run began, and when the root last heard of its counts: milliseconds. */
  readonly startedAt?: number;
  readonly reportedAt?: number;
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
  setHandler(
    controlSignal,
    (argument) => {
      const control = readControl(argument);
      if (control !== undefined) gate.follow(control);
    },
    { description: 'For the pack itself: from the root.' },
  );
  CancellationScope.current().cancelRequested.catch(end);
  return endingInFailure(() =>
    CancellationScope.nonCancellable(async () => {
      const report = reporter(root, input);
      const { counts, next, fatal } = await runPart(input, gate, work, report);
      if (next !== null && !cancelled && fatal === undefined) {
        const { control } = gate;
        const carried = { position: next, control, counts, startedAt: report.startedAt, reportedAt: report.reportedAt };
        return continueAsNew<typeof pipelineShard>({ ...input, ...carried });
      }
      return { counts, cancelled, ...(fatal !== undefined && { fatal }) };
    }),
  );
}

async function runPart(input: ShardInput, gate: Gate, work: CancellationScope, report: Reporter) {
  const { plan, range, position, concurrency } = input;
  const counts = { ...noOutcomes(), ...input.counts };
  report.start(counts);
  const { doubts, fatal, next } = await runRange({
    plan,
    range,
    position,
    concurrency,
    counts,
    gate,
    together: sendsTogether(),
    inBytes: sizesInBytes(),
    namesUnknown: looksUpChunks(),
    work,
    unitsMax: limitsOf(plan).unitsPerShardRun,
    inlineOffset: range.start,
    onFatal: () => work.cancel(),
  });
  report.stop();
  await lookUpDoubts(plan, gate.keyId, doubts, counts);
  return { counts, next, fatal: fatal && { type: fatal.type ?? 'keybrake.internal', message: fatal.message } };
}

/** The root's details show what its shards have done, ever more seldom, so that its history stays short. */
const REPORT_GAP_MS = 10_000;
const REPORT_AGE_PART = 8;

interface Reporter {
  readonly startedAt: number;
  readonly reportedAt: number;
  start(counts: Counts): void;
  stop(): void;
}

function reporter(root: string | undefined, { range, startedAt = Date.now(), reportedAt = startedAt }: ShardInput) {
  let stopped = false;
  let last = reportedAt;
  const run = async (counts: Counts): Promise<void> => {
    for (;;) {
      const gapMs = Math.max(REPORT_GAP_MS, (Date.now() - startedAt) / REPORT_AGE_PART);
      if (await until(() => stopped, Math.max(1, Math.round(last + gapMs - Date.now())))) return;
      last = Date.now();
      await tell(root, progressSignal, { shard: range.index, counts: { ...counts } });
    }
  };
  return {
    startedAt,
    get reportedAt() {
      return last;
    },
    start(counts: Counts) {
      // A root that is gone is found out where it matters: when the shard is held.
      run(counts).catch(() => undefined);
    },
    stop() {
      stopped = true;
    },
  } satisfies Reporter;
}

async function tell<T>(root: string | undefined, signal: SignalDefinition<[T]>, news: T): Promise<void> {
  if (root !== undefined) await getExternalWorkflowHandle(root).signal(signal, news);
}
