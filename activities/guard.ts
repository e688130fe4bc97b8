/**
 * The guards of a worker: one for each run that it looks after. A guard renews the lease of the run's key, and when it
 * learns that the run was terminated or timed out, which skips the workflow's own clean-up, it revokes the key.
 *
 * The activity completes asynchronously (https://docs.temporal.io/activity-execution#asynchronous-activity-completion),
 * because it lives as long as its run: as many runs as the worker has slots would leave none for their calls.
 */
import { CompleteAsyncError, Context } from '@temporalio/activity';
import {
  ActivityCancelledError,
  ActivityNotFoundError,
  ActivityPausedError,
  ActivityResetError,
  type Client,
} from '@temporalio/client';
import { ApplicationFailure } from '@temporalio/common';
import { setTimeout as sleep } from 'node:timers/promises';
import type { KeybrakeClient } from '../proxy/client';
import { deadCodeOf, revived, whyDead } from './tokens';
import type { GuardInput, GuardOutput } from './types';

/** A guard of a short run ends soon after it; that of a long run costs few heartbeats. */
const BEAT_MS = { min: 1_000, max: 5_000 };
const AGE_PART = 10;
const STATE_CHECK_MS = 5_000;
const RETRY_MS = 1_000;
const DESCRIBE_TRIES = 10;

interface Guarded extends GuardInput {
  readonly temporal: Client;
  readonly taskToken: Uint8Array;
  readonly workflowId: string;
  readonly runId: string;
}

export class Guards {
  readonly #proxy: KeybrakeClient;
  readonly #running = new Map<AbortController, Promise<void>>();

  constructor(proxy: KeybrakeClient) {
    this.#proxy = proxy;
  }

  /** The activity. Throws CompleteAsyncError: the guard goes on beside the worker's slots. */
  async start(input: GuardInput): Promise<GuardOutput> {
    const { info, client } = Context.current();
    const execution = info.workflowExecution;
    if (execution === undefined) throw ApplicationFailure.nonRetryable('A guard belongs to a workflow.');
    const stop = await this.#renew(input);
    if (stop !== undefined) return stop;
    const stopping = new AbortController();
    const guarded: Guarded = { ...input, ...execution, temporal: client, taskToken: info.taskToken };
    const watching = this.#watch(guarded, stopping.signal)
      .catch(() => undefined)
      .then(() => void this.#running.delete(stopping));
    this.#running.set(stopping, watching);
    throw new CompleteAsyncError();
  }

  /**
   * Hands every guard over to other workers: their activities fail and are tried again there. A guard whose run is
   * closed cannot be handed over: it tries to revoke once more, and leaves the rest to the lease.
   */
  async stop(): Promise<void> {
    for (const stopping of this.#running.keys()) stopping.abort();
    await Promise.all(this.#running.values());
  }

  async #watch(guarded: Guarded, stopping: AbortSignal): Promise<void> {
    const { temporal, taskToken, leaseMs } = guarded;
    const startedAt = Date.now();
    let renewAt = startedAt + leaseMs / 3;
    let checkAt = startedAt + STATE_CHECK_MS;
    for (;;) {
      await pause(beatMs(Date.now() - startedAt), stopping);
      if (stopping.aborted) {
        const handOver = ApplicationFailure.retryable('The worker is shutting down.', 'keybrake.worker_stopped');
        return temporal.activity.fail(taskToken, handOver);
      }
      if (await this.#gone(guarded, stopping)) return;
      const now = Date.now();
      if (now < renewAt && now < checkAt) continue;
      const stop = await this.#state(guarded, now >= renewAt);
      if (stop === 'unreachable') continue;
      if (stop !== undefined) return temporal.activity.complete(taskToken, stop);
      checkAt = now + STATE_CHECK_MS;
      if (now >= renewAt) renewAt = now + leaseMs / 3;
    }
  }

  /** Beats. True: the guard is not needed any more, and what that calls for is done. */
  async #gone(guarded: Guarded, stopping: AbortSignal): Promise<boolean> {
    const { temporal, taskToken } = guarded;
    try {
      await temporal.activity.heartbeat(taskToken);
      return false;
    } catch (error) {
      if (error instanceof ActivityCancelledError) {
        await temporal.activity.reportCancellation(taskToken).catch(() => undefined);
        // The run revokes its key itself, but its worker may not reach the proxy.
        await this.#revoke(guarded, 'The run has ended.', stopping);
        return true;
      }
      if (error instanceof ActivityPausedError || error instanceof ActivityResetError) {
        await temporal.activity.fail(taskToken, ApplicationFailure.retryable('Paused.', 'keybrake.guard_paused'));
        return true;
      }
      // Temporal does not answer: the run may well be open.
      if (!(error instanceof ActivityNotFoundError)) return false;
    }
    const why = await whyClosed(guarded);
    if (why !== undefined) await this.#revoke(guarded, why, stopping);
    return true;
  }

  async #state(guarded: Guarded, renew: boolean): Promise<GuardOutput | 'unreachable' | undefined> {
    try {
      if (renew) return await this.#renew(guarded);
      const stop = deadCodeOf((await this.#proxy.getKey(guarded.keyId)).state);
      // A lease that lapsed while no guard ran comes back.
      return stop === undefined ? undefined : await this.#renew(guarded);
    } catch {
      return 'unreachable';
    }
  }

  async #renew({ keyId }: GuardInput): Promise<GuardOutput | undefined> {
    if (await revived(this.#proxy, keyId)) return undefined;
    const stop = await whyDead(this.#proxy, keyId);
    return stop === undefined ? undefined : { stop };
  }

  /** Tried until the lease has ended the key anyway. A worker that stops does not wait that long. */
  async #revoke({ keyId, leaseMs }: Guarded, why: string, stopping: AbortSignal): Promise<void> {
    for (const until = Date.now() + leaseMs; Date.now() < until;) {
      const last = stopping.aborted;
      try {
        // A run that ended by itself has revoked its key.
        if ((await whyDead(this.#proxy, keyId)) === undefined) await this.#proxy.revokeKey(keyId, why);
        return;
      } catch {
        if (last) return;
        await pause(RETRY_MS, stopping);
      }
    }
  }
}

/**
 * Why the run is closed; undefined when it is open (the guard runs elsewhere), or when it was reset and its successor
 * runs with the same key.
 */
async function whyClosed({ temporal, workflowId, runId }: Guarded): Promise<string | undefined> {
  for (let attempt = 1; attempt <= DESCRIBE_TRIES; attempt += 1) {
    try {
      const { status, raw } = await temporal.workflow.getHandle(workflowId, runId).describe();
      if (status.name === 'RUNNING') return undefined;
      const successor = raw.workflowExtendedInfo?.resetRunId;
      if (successor && (await isRunning(temporal, workflowId, successor))) return undefined;
      return `The workflow run is ${status.name}.`;
    } catch (error) {
      if (error instanceof Error && error.name === 'WorkflowNotFoundError') return 'The workflow run is gone.';
      await pause(RETRY_MS);
    }
  }
  return undefined;
}

async function isRunning(temporal: Client, workflowId: string, runId: string): Promise<boolean> {
  return (await temporal.workflow.getHandle(workflowId, runId).describe()).status.name === 'RUNNING';
}

function beatMs(ageMs: number): number {
  return Math.min(BEAT_MS.max, Math.max(BEAT_MS.min, ageMs / AGE_PART));
}

/** Waits without keeping the process alive; at most until `stopping`. */
async function pause(ms: number, stopping?: AbortSignal): Promise<void> {
  await sleep(ms, undefined, { ref: false, ...(stopping !== undefined && { signal: stopping }) }).catch(
    () => undefined,
  );
}
