/** The vault key of one workflow run: issued once, guarded while the run is open, revoked at its end. */
import { ActivityFailure, ApplicationFailure, CancellationScope, log, workflowInfo } from '@temporalio/workflow';
import type { GuardOutput, IssuedVault, IssueInput, KeyRequest, VaultSpend } from '../activities/types';
import { callActivity, callLocal, controlId, HEARTBEAT_MS, LOCAL_RETRY } from './calls';
import { PluginMissing, rootFailure } from './failures';
import { ACTIVITIES, type StopCode } from '../activities/contract/plan';
import { until } from './waiting';

/** Above the lease: what a revocation that is not confirmed waits until the key is dead by itself. */
const LEASE_MARGIN_MS = 30_000;
const EXPIRY_MARGIN_MS = 10 * 60_000;

/**
 * How long the proxy is asked for a key. Less than the ten minutes of the one activity that did so before, by more than
 * an attempt and a wait: where that has failed in a history, this is over.
 */
const ISSUE_FOR_MS = 9 * 60_000;

export interface IssueOptions {
  /** Tells several keys of one run apart. */
  readonly name?: string;
  /** The request's job id is made of the workflow's ids. */
  readonly jobIdByDefault?: boolean;
  /** Is the key not wanted any more? Asked after each attempt that the proxy did not answer. */
  readonly stopped: () => boolean;
}

export class RunKey {
  readonly #asked: IssueInput;
  #issued: IssuedVault;
  #replacing: Promise<boolean> | undefined;
  #guard: CancellationScope | undefined;
  /** The key that has a guard: two guards of one key would be two pending activities with one id. */
  #guarded: string | undefined;

  private constructor(asked: IssueInput, issued: IssuedVault) {
    this.#asked = asked;
    this.#issued = issued;
  }

  /**
   * Issues a key. A retry, and a reset to before this point, get the same key back while it lives. Undefined: the run
   * was stopped before the proxy answered. A key that was issued all the same nobody has, and its lease ends it.
   */
  static async issue(
    request: KeyRequest,
    { name = '', jobIdByDefault = false, stopped }: IssueOptions,
  ): Promise<RunKey | undefined> {
    const { namespace, workflowId, originalExecutionRunId } = workflowInfo();
    const identity = ['issue', namespace, workflowId, originalExecutionRunId, ...(name === '' ? [] : [name])].join('/');
    const asked = { request, identity, ...(jobIdByDefault && { jobIdByDefault }) };
    const issued = await issueUnless(stopped, asked);
    return issued && new RunKey(asked, issued);
  }

  get jobId(): string {
    return this.#issued.jobId ?? this.#asked.request.jobId;
  }

  get id(): string {
    return this.#issued.keyId;
  }

  /** Dollars; null where only a daily cap binds. */
  get capUsd(): number | null {
    return this.#issued.capUsd;
  }

  /** Starts the activity that renews the lease and that revokes the key should the run be terminated or time out. */
  guard(onStop: (code: StopCode, keyId: string) => void): void {
    const { keyId } = this.#issued;
    if (this.#guarded === keyId) return;
    this.unguard();
    this.#guarded = keyId;
    // The guard outlives the run's own cancellation: it goes when the key is revoked.
    const guarded = CancellationScope.nonCancellable(async () => {
      const scope = new CancellationScope();
      this.#guard = scope;
      try {
        const { stop } = await scope.run(() => this.#watch());
        onStop(stop, keyId);
      } catch (error) {
        if (!scope.consideredCancelled) log.warn('The guard of the vault key ended', { keyId, error: String(error) });
      }
    });
    guarded.catch((error: unknown) => log.warn('The news of the guard was not taken', { error: String(error) }));
  }

  #watch(): Promise<GuardOutput> {
    const { keyId, leaseMs, expiresAt } = this.#issued;
    const untilExpiryMs = Math.max(Date.parse(expiresAt) - Date.now(), 0) + EXPIRY_MARGIN_MS;
    return callActivity(
      ACTIVITIES.guard,
      { keyId, jobId: this.jobId, leaseMs },
      {
        activityId: controlId('guard', keyId),
        summary: `guard of ${keyId}`,
        startToCloseTimeout: untilExpiryMs,
        heartbeatTimeout: HEARTBEAT_MS,
        retry: { initialInterval: 1_000, maximumInterval: 10_000 },
        priority: { priorityKey: 1 },
      },
    );
  }

  /** The run starts no more calls: the guard may go. It sees to it that the key dies. */
  unguard(): void {
    this.#guard?.cancel();
  }

  /**
   * Asks for another key in place of one that died. True only after a reset: then the dead key was the former run's,
   * and the new one spends what is left of the job's cap. Decided in an activity, so that a replay decides the same.
   */
  replace(keyId: string): Promise<boolean> {
    if (keyId !== this.id) return Promise.resolve(true);
    this.#replacing ??= this.#replace().finally(() => {
      this.#replacing = undefined;
    });
    return this.#replacing;
  }

  async #replace(): Promise<boolean> {
    const { keyId, issuedIn } = this.#issued;
    const input = { ...this.#asked, replaces: { keyId, issuedIn } };
    const issued = await callLocal(ACTIVITIES.issue, input, { summary: `is ${keyId} of a run before a reset?` });
    if (issued.fresh) this.#issued = issued;
    return issued.fresh;
  }

  /**
   * Revokes the key, retried until its lease has passed. Answers what to tell the user when it was not confirmed.
   * Runs even when the workflow is cancelled.
   */
  async revoke(reason: string): Promise<string | undefined> {
    const timeoutMs = this.#issued.leaseMs + LEASE_MARGIN_MS;
    const input = { keyId: this.id, reason };
    try {
      await callLocal(ACTIVITIES.revoke, input, { summary: `revoke ${this.id}`, timeoutMs });
      return undefined;
    } catch (error) {
      log.error('The vault key was not confirmed as revoked', { keyId: this.id, error: String(error) });
      const leaseS = Math.ceil(this.#issued.leaseMs / 1_000);
      const why = wasRefused(error) ? `: ${rootFailure(error).message}` : ` within ${timeoutMs / 1_000} s.`;
      return (
        `The proxy did not confirm that ${this.id} is revoked${why} Revoke it with "keybrake revoke ${this.id}"; ` +
        `nothing renews its lease once its guard and the calls under way have ended, which ends it within ${leaseS} s.`
      );
    }
  }

  /** Spend of the key and its job. Throws ActivityFailure when the proxy does not answer within `timeoutMs`. */
  spend(timeoutMs: number): Promise<VaultSpend> {
    const input = { keyId: this.id, jobId: this.jobId };
    return callLocal(ACTIVITIES.spend, input, { summary: 'spend', timeoutMs });
  }
}

/** Asks an attempt at a time: one that is under way is never cancelled, so that its key is known if it brings one. */
function issueUnless(stopped: () => boolean, asked: IssueInput): Promise<IssuedVault | undefined> {
  const options = { summary: `key for ${asked.request.label}`, attempts: 1 };
  const { initialInterval, maximumInterval } = LOCAL_RETRY;
  return CancellationScope.nonCancellable(async () => {
    const deadline = Date.now() + ISSUE_FOR_MS;
    for (let waitMs: number = initialInterval; ; waitMs = Math.min(2 * waitMs, maximumInterval)) {
      try {
        return await callLocal(ACTIVITIES.issue, asked, options);
      } catch (error) {
        // The SDK knows the worker's activities, and schedules none that is not there.
        if (error instanceof ReferenceError) throw new PluginMissing();
        if (wasRefused(error) || Date.now() + waitMs > deadline) throw error;
      }
      if (await until(stopped, waitMs)) return undefined;
    }
  });
}

/**
 * The proxy said no, and would again: nobody waited for the lease to pass. A local activity fails with its own failure,
 * or, when its time is over, with one around that.
 */
function wasRefused(error: unknown): boolean {
  if (error instanceof ApplicationFailure) return error.nonRetryable === true;
  return error instanceof ActivityFailure && wasRefused(error.cause);
}
