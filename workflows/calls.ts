/**
 * How workflow code calls the pack's activities: time-outs, retries and ids in one place.
 * Every activity waits for its cancellation to complete, because the SDK's real default, TRY_CANCEL, would forget a
 * paid call that is under way; and none is dispatched eagerly, because that goes around the task queue's rate limit.
 */
import {
  CancellationScope,
  type ActivityOptions,
  defaultPayloadConverter,
  proxyLocalActivities,
  scheduleActivity,
} from '@temporalio/workflow';
import type { KeybrakeActivities } from '../activities/types';
import type { ACTIVITIES } from '../activities/contract/plan';
import { takeTurn } from './waiting';

type Name = keyof KeybrakeActivities;
type Answer<N extends Name> = Awaited<ReturnType<KeybrakeActivities[N]>>;
type Input<N extends Name> = Parameters<KeybrakeActivities[N]>[0];

/** Of every activity of the pack. */
export const SAFE = { cancellationType: 'WAIT_CANCELLATION_COMPLETED', allowEagerDispatch: false } as const;

/**
 * A worker that stops may leave a task that it was given but never began; the activities beat in the background, so that
 * it is tried again so soon.
 */
export const HEARTBEAT_MS = 30_000;

/** A proxy that is restarted answers again within minutes; longer than that, the run reports it. */
const CONTROL_TIMEOUT_MS = 10 * 60_000;

/**
 * The id of an activity that is not a record's. Record ids are activity ids too, so these hold a character that no
 * record's id can: two pending activities with one id would wedge the workflow.
 */
export function controlId(...parts: readonly (string | number)[]): string {
  return ['keybrake', ...parts].join('·');
}

/** Of a value that a history is to carry: a letter may be several bytes. */
export function bytesOf(value: unknown): number {
  return defaultPayloadConverter.toPayload(value).data?.length ?? 0;
}

/** Schedules an activity of the pack. `activityId` must be unique among those pending. */
export function callActivity<N extends Name>(
  name: N,
  input: Input<N>,
  options: ActivityOptions & { readonly activityId: string; readonly summary: string },
): Promise<Answer<N>> {
  return scheduleActivity<Answer<N>>(name, [input], { ...SAFE, ...options });
}

/** Options of an activity that is neither a vendor call nor long: high priority, so that it passes the calls. */
export const CONTROL: ActivityOptions = {
  startToCloseTimeout: 30_000,
  scheduleToCloseTimeout: CONTROL_TIMEOUT_MS,
  retry: { initialInterval: 500, maximumInterval: 15_000 },
  priority: { priorityKey: 1 },
};

/** Options of one record's vendor call. The activity itself decides when it has tried enough. */
export function vendorCall(ttlMs: number): ActivityOptions {
  return {
    // The proxy waits up to 2 s for budget, 20 s for a first call and 25 s for the vendor.
    startToCloseTimeout: 120_000,
    scheduleToCloseTimeout: ttlMs + CONTROL_TIMEOUT_MS,
    heartbeatTimeout: HEARTBEAT_MS,
    retry: { initialInterval: 1_000, maximumInterval: 30_000, maximumAttempts: 60 },
  };
}

/** Options of the user's own activity for a record. The worker ends its own failures sooner than those of its calls. */
export function ownCall(ttlMs: number): ActivityOptions {
  return {
    startToCloseTimeout: 10 * 60_000,
    scheduleToCloseTimeout: ttlMs + CONTROL_TIMEOUT_MS,
    heartbeatTimeout: HEARTBEAT_MS,
    retry: { initialInterval: 1_000, maximumInterval: 30_000, maximumAttempts: 60 },
  };
}

/** Options of a chunk: it goes on from its heartbeat after a crash. */
export function chunkCall(ttlMs: number): ActivityOptions {
  return {
    startToCloseTimeout: ttlMs + CONTROL_TIMEOUT_MS,
    scheduleToCloseTimeout: ttlMs + CONTROL_TIMEOUT_MS,
    heartbeatTimeout: HEARTBEAT_MS,
    retry: { initialInterval: 1_000, maximumInterval: 30_000, maximumAttempts: 60 },
  };
}

type LocalName = typeof ACTIVITIES.issue | typeof ACTIVITIES.revoke | typeof ACTIVITIES.raise | typeof ACTIVITIES.spend;

interface LocalOptions {
  readonly summary: string;
  readonly timeoutMs?: number;
  /** As many as there is time for by default. */
  readonly attempts?: number;
}

/** How soon what the proxy did not answer is asked again. */
export const LOCAL_RETRY = { initialInterval: 250, maximumInterval: 15_000 } as const;

/**
 * Runs an activity of the control plane in the worker itself, so that it never queues behind vendor calls. It is short
 * and never cancelled: cancelling one local activity while another resolves fails the workflow task in SDK 1.24
 * ("Invalid transition in state machine").
 */
export function callLocal<N extends LocalName>(
  name: N,
  input: Input<N>,
  { summary, timeoutMs = CONTROL_TIMEOUT_MS, attempts }: LocalOptions,
): Promise<Answer<N>> {
  const activities = proxyLocalActivities({
    startToCloseTimeout: 20_000,
    scheduleToCloseTimeout: timeoutMs,
    retry: { ...LOCAL_RETRY, ...(attempts !== undefined && { maximumAttempts: attempts }) },
    // Longer waits become timers, so that the workflow task does not stay open.
    localRetryThreshold: 2_000,
    cancellationType: 'WAIT_CANCELLATION_COMPLETED',
    summary,
  });
  const answer: Promise<unknown> = CancellationScope.nonCancellable(async () => {
    try {
      return await activities[name]?.(input);
    } finally {
      await takeTurn();
    }
  });
  return answer as Promise<Answer<N>>;
}
