/** Runs the records of one range through the window: in the root for small inputs, in each shard for its part. */
import type { CancellationScope } from '@temporalio/workflow';
import type { Position } from '../activities/types';
import type { Gate } from './gate';
import { limitsOf, type LimitedPlan } from '../activities/contract/limits';
import type { Outcome, ShardRange } from '../activities/contract/plan';
import { Pages } from './pages';
import { unitMaker } from './units';
import { runWindow, sendsTogether, type WindowEnd, type WindowOptions } from './window';

export interface RangeOptions {
  readonly plan: LimitedPlan;
  readonly range: ShardRange;
  readonly position: Position;
  /** Records in flight. */
  readonly concurrency: number;
  readonly counts: Record<Outcome, number>;
  readonly gate: Gate;
  readonly work: CancellationScope;
  /** Units after which no further page is read. */
  readonly unitsMax: number;
  readonly inlineOffset?: number;
  readonly onFlight?: WindowOptions['onFlight'];
  readonly onFatal: WindowOptions['onFatal'];
}

/** `next`: where to go on, when the range has not come to its end. */
export async function runRange(options: RangeOptions): Promise<WindowEnd & { readonly next: Position | null }> {
  const { plan, range, position, gate, work, unitsMax, inlineOffset } = options;
  const { activitiesInFlight, bytesPerTask } = limitsOf(plan);
  const together = sendsTogether();
  const { width, inside } = shape(plan, options.concurrency, together ? sideBySide(plan, range) : null);
  const pages = new Pages({
    plan,
    range,
    position,
    unitsMax,
    units: unitMaker(plan, inside),
    keyId: () => gate.keyId,
    within: (read) => work.run(read),
    ...(inlineOffset !== undefined && { inlineOffset }),
  });
  const { counts, onFlight, onFatal } = options;
  const end = await runWindow({
    pages,
    gate,
    work,
    together,
    width: Math.min(width, activitiesInFlight),
    bytesPerTask,
    counts,
    onFatal,
    ...(onFlight !== undefined && { onFlight }),
  });
  return { ...end, next: pages.next };
}

interface Shape {
  /** Activities in flight. */
  readonly width: number;
  /** Records in flight inside each. */
  readonly inside: number;
}

/** `chunks`: so many are to run side by side; null: as few as can be, as before {@link sendsTogether}. */
function shape(plan: LimitedPlan, concurrency: number, chunks: number | null): Shape {
  if (plan.call.kind !== 'endpoint' || plan.recordsPerActivity === 1) return { width: concurrency, inside: 1 };
  const share = chunks === null ? concurrency : Math.max(RECORDS_INSIDE.min, Math.floor(concurrency / chunks));
  const inside = Math.min(plan.recordsPerActivity, concurrency, share, RECORDS_INSIDE.max);
  return { width: Math.max(1, Math.floor(concurrency / inside)), inside };
}

/** Records in flight inside one chunk: several chunks side by side share them out over the workers. */
const RECORDS_INSIDE = { min: 5, max: 25 };
/**
 * From the end of one chunk to the begin of the next, Temporal needs some time in which fewer records are in flight, by
 * those of one chunk: the more chunks run side by side, the less that is. Each takes one of a worker's slots, though.
 */
const CHUNKS_SIDE_BY_SIDE = 10;

/** A range of few chunks has no more. The records of a reader are not known beforehand. */
function sideBySide({ recordsPerActivity }: LimitedPlan, { records }: ShardRange): number {
  const chunks = records === 0 ? CHUNKS_SIDE_BY_SIDE : Math.ceil(records / recordsPerActivity);
  return Math.min(CHUNKS_SIDE_BY_SIDE, chunks);
}
