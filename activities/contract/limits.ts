/** The sizes that shape a run's histories. Tests lower them through `createKeybrakeActivities({ limits })`. */
import type { Plan } from './plan';

export interface Limits {
  /** Units (records or chunks) that a page brings into a history at once. */
  readonly unitsPerPage: number;
  /** Units of a page of a user's own reader, who is not bound to the limit that it is told: at most 6 events each. */
  readonly unitsPerReaderPage: number;
  /** Activities up to which the root runs the records itself instead of starting shards. */
  readonly activitiesInRoot: number;
  /** Units after which a shard drains and continues as new: about 5,000 events. */
  readonly unitsPerShardRun: number;
  /** Records of a shard; null: as `prepare` has cut the source. */
  readonly recordsPerShard: number | null;
  /** Shards that run at one time. */
  readonly shardsRunning: number;
  /** Activities in flight in one workflow: Temporal's docs advise at most 500; 2,001 wedge a workflow. */
  readonly activitiesInFlight: number;
  /** Bytes of activity inputs in one workflow task, well below Temporal's 4 MB. */
  readonly bytesPerTask: number;
  /**
   * Of the history of one workflow run, which Temporal ends at 50 MB or 51,200 events and warns of from a fifth of that
   * on: beyond them a shard reads no further page and continues as new.
   */
  readonly historyBytes: number;
  readonly historyEvents: number;
  /** Milliseconds from one reading of the spend to the next at first; the gap grows with the run's age. */
  readonly spendPollMs: number;
}

export const LIMITS: Limits = {
  unitsPerPage: 200,
  unitsPerReaderPage: 2_000,
  activitiesInRoot: 1_000,
  unitsPerShardRun: 1_500,
  recordsPerShard: null,
  shardsRunning: 10,
  activitiesInFlight: 500,
  bytesPerTask: 1_000_000,
  historyBytes: 10_000_000,
  historyEvents: 10_000,
  spendPollMs: 5_000,
};

/**
 * Of anything that is carried in a history: Temporal takes 2 MiB, and what is made of a plan or a record has some ids and
 * numbers more.
 */
export const CARRIED_BYTES_MAX = 2_000_000;

/** A plan that carries limits other than {@link LIMITS}. */
export type LimitedPlan = Plan & { readonly limits?: Partial<Limits> };

export function limitsOf(plan: LimitedPlan): Limits {
  return { ...LIMITS, ...plan.limits };
}
