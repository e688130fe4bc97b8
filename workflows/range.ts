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
  const { width, inside } = shape(plan, options.concurrency);
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
    width: Math.min(width, activitiesInFlight),
    bytesPerTask,
    counts,
    onFatal,
    ...(onFlight !== undefined && { onFlight }),
  });
  return { ...end, next: pages.next };
}

/** So many activities in flight, with so many records in flight inside each. */
function shape(plan: LimitedPlan, concurrency: number): { readonly width: number; readonly inside: number } {
  const chunked = plan.call.kind === 'endpoint' && plan.recordsPerActivity > 1;
  const inside = chunked ? Math.min(plan.recordsPerActivity, concurrency, RECORDS_INSIDE_MAX) : 1;
  return { width: Math.max(1, Math.floor(concurrency / inside)), inside };
}

/** Records in flight inside one chunk: a few chunks side by side share them out over the workers. */
const RECORDS_INSIDE_MAX = 25;
