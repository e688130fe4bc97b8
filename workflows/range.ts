/** Runs the records of one range through the window: in the root for small inputs, in each shard for its part. */
import type { CancellationScope } from '@temporalio/workflow';
import type { Position } from '../activities/types';
import type { Gate } from './gate';
import { limitsOf, type LimitedPlan } from '../activities/contract/limits';
import type { Outcome, ShardRange } from '../activities/contract/plan';
import { Pages } from './pages';
import { unitMaker } from './units';
import { runWindow, type WindowEnd, type WindowOptions } from './window';

export interface RangeOptions {
  readonly plan: LimitedPlan;
  readonly range: ShardRange;
  readonly position: Position;
  /** Records in flight. */
  readonly concurrency: number;
  readonly counts: Record<Outcome, number>;
  readonly gate: Gate;
  /** As `sendsTogether` answered. */
  readonly together: boolean;
  /** As `sizesInBytes` answered. */
  readonly inBytes: boolean;
  /** As `looksUpChunks` answered. */
  readonly namesUnknown: boolean;
  readonly work: CancellationScope;
  /** Units after which no further page is read. */
  readonly unitsMax: number;
  readonly inlineOffset?: number;
  readonly onFlight?: WindowOptions['onFlight'];
  readonly onFatal: WindowOptions['onFatal'];
}

/** `next`: where to go on, when the range has not come to its end. */
export async function runRange(options: RangeOptions): Promise<WindowEnd & { readonly next: Position | null }> {
  const { plan, range, position, gate, together, inBytes, work, unitsMax, inlineOffset } = options;
  const { activitiesInFlight, bytesPerTask } = limitsOf(plan);
  const { width, inside } = shapeOf(plan, range, { concurrency: options.concurrency, together });
  const pages = new Pages({
    plan,
    range,
    position,
    unitsMax,
    continues: unitsMax < Number.MAX_SAFE_INTEGER,
    units: unitMaker(plan, { inside, inBytes, namesUnknown: options.namesUnknown }),
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

export interface Shape {
  /** Activities in flight. */
  readonly width: number;
  /** Records in flight inside each. */
  readonly inside: number;
}

/**
 * How the records in flight are divided over activities. From the end of one chunk to the begin of the next Temporal needs
 * some time, in which fewer records are in flight by those of one chunk: the more chunks run side by side, the less that
 * is. Each takes one of a worker's slots, though.
 */
export function shapeOf(
  { call, recordsPerActivity }: Pick<LimitedPlan, 'call' | 'recordsPerActivity'>,
  { records }: Pick<ShardRange, 'records'>,
  { concurrency, together }: { readonly concurrency: number; readonly together: boolean },
): Shape {
  if (call.kind !== 'endpoint' || recordsPerActivity === 1) return { width: concurrency, inside: 1 };
  // The records of a reader are not known beforehand.
  const chunks = records === 0 ? Number.POSITIVE_INFINITY : Math.ceil(records / recordsPerActivity);
  const share = Math.floor(concurrency / Math.min(chunks, CHUNKS_SIDE_BY_SIDE));
  // Before the patch, as few chunks as could be.
  const wanted = together ? Math.max(RECORDS_INSIDE.min, share) : concurrency;
  const inside = Math.min(recordsPerActivity, concurrency, wanted, RECORDS_INSIDE.max);
  return { width: Math.max(1, Math.floor(concurrency / inside)), inside };
}

/** Records in flight inside one chunk: several chunks side by side share them out over the workers. */
const RECORDS_INSIDE = { min: 5, max: 25 };
const CHUNKS_SIDE_BY_SIDE = 10;
