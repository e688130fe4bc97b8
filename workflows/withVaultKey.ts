/**
 * `withVaultKey`: a vault key with a dollar cap around a part of your own workflow. The activities in it call the
 * vendor through `vault(recordId)`; when it ends, for whatever reason, the key is revoked.
 */
import {
  ApplicationFailure,
  CancellationScope,
  CancelledFailure,
  log,
  patched,
  setHandler,
  workflowInfo,
} from '@temporalio/workflow';
import type { KeyState, Spend } from '../proxy/contract';
import type { KeyRequest, VaultSpend } from '../activities/types';
import { runWithVault, type VaultContext } from './context';
import { reasonOf, vaultRevokeSignal, vaultStatusQuery, type VaultStatusView } from './definitions';
import { endingInFailure, rootFailure } from './failures';
import { type IssueOptions, RunKey } from './key';
import type { StopCode } from '../activities/contract/plan';
import { spentWords } from './stopWords';
import { until } from './waiting';

/** What the key may do. Durations are `"4h"` or seconds, caps US dollars. */
export interface VaultKeyOptions extends Omit<KeyRequest, 'jobId'> {
  /**
   * What must not be done twice, and whose cap it is. By default the workflow id and its first run id, so that retries,
   * resets and continue-as-new share one cap; the second key of a workflow run gets `/2` behind it, and so on. Ids that
   * would not do for a job id are hashed: `vault.jobId` tells.
   */
  readonly jobId?: string;
}

export interface VaultKeySettings {
  /** What a cap, a revocation or an expiry does once the function has settled; `'throw'` by default. */
  readonly onStop?: 'throw' | 'return';
}

export interface Vault {
  readonly keyId: string;
  readonly jobId: string;
  /** What the key has spent so far, as the proxy has it. */
  spend(): Promise<Spend>;
}

const SPEND_TIMEOUT_MS = 60_000;
/** Why a key is revoked whose function has ended without a stop. */
const ENDED = 'The function has ended.';
const opened: OpenVault[] = [];
/** Why the keys were revoked while none was open: the next one dies at once, since nothing may be paid any more. */
let revokedBetween: string | undefined;

/**
 * Issues a key, runs `fn` with it and revokes it. The cap, a revocation or the expiry cancels what `fn` has under way;
 * once `fn` has settled, whatever it swallowed, this throws an ApplicationFailure `keybrake.<code>` whose details hold
 * the spend. The workflow's own cancellation wins over that. Throws `keybrake.invalid_input` for wrong options.
 */
export async function withVaultKey<T>(
  options: VaultKeyOptions,
  fn: (vault: Vault) => Promise<T>,
  { onStop = 'throw' }: VaultKeySettings = {},
): Promise<T> {
  const { jobId = defaultJobId(), ...rest } = checked(options);
  const jobIdByDefault = options.jobId === undefined;
  const name = opened.length === 0 ? '' : String(opened.length + 1);
  const vault = new OpenVault(rest.label, jobId);
  opened.push(vault);
  // After the push: a signal that came before the handlers is handled within this call.
  if (opened.length === 1) setVaultHandlers();
  if (revokedBetween !== undefined) await vault.revoke(revokedBetween);
  await endingInFailure(() => vault.open({ ...rest, lease: rest.lease ?? '10m', jobId }, { name, jobIdByDefault }));
  const outcome = await vault.run(fn);
  const last = await vault.close();
  return conclude(vault, outcome, last, onStop);
}

/** Options may be a workflow's own input, which somebody left out: an error that is none of Temporal's would be retried for ever. */
function checked(options: VaultKeyOptions | null | undefined): VaultKeyOptions {
  if (typeof options === 'object' && options !== null) return options;
  const needed = 'withVaultKey needs options: {"vendor", "usdCap", "allowedEndpoints", "ttl", "label", …}';
  throw ApplicationFailure.nonRetryable(needed, 'keybrake.invalid_input');
}

type Settled<T> = { readonly value: T } | { readonly error: unknown };

/** A run from before was stopped by its own revocation, where its guard was quicker. */
const CLOSING = 'keybrake.closing';
/** A run from before took a key that was never issued for one to revoke, and forgot the revocation. */
const NEVER_ISSUED = 'keybrake.never-issued';
/** An activity of a run from before, whose dead key could not be replaced, failed with why not, and the run went on. */
const NOT_REPLACED = 'keybrake.not-replaced';

class OpenVault {
  readonly #label: string;
  readonly #jobId: string;
  /** What `fn` schedules. Made in the caller's scope, so that the workflow's cancellation reaches it. */
  readonly #scope = new CancellationScope();
  #key: RunKey | undefined;
  #stop: { readonly code: StopCode; readonly reason?: string } | undefined;
  #revokeAsked: { readonly reason: string; readonly outlivesIt: boolean } | undefined;
  /** The function has ended and its key is being revoked. */
  #closing = false;
  #ended = false;
  #neverIssued = false;
  readonly #context: VaultContext;

  constructor(label: string, jobId: string) {
    this.#label = label;
    this.#jobId = jobId;
    this.#context = {
      inFlight: 0,
      header: () => {
        const { id: keyId, jobId: ofKey } = this.#openKey();
        return { keyId, jobId: ofKey };
      },
      // Asked before the local activity that replaces: behind one, a replay may not have heard of the patch yet.
      refused: (code, keyId) => this.#refused(code, keyId, patched(NOT_REPLACED)),
    };
  }

  get stop(): { readonly code: StopCode; readonly reason?: string } | undefined {
    return this.#stop;
  }

  get cancelledByWorkflow(): boolean {
    return this.#scope.parent?.consideredCancelled ?? false;
  }

  get view(): VaultStatusView {
    const keyId = this.#key?.id ?? '';
    const ended = this.#ended || this.#neverIssued;
    const jobId = this.#key?.jobId ?? this.#jobId;
    return { label: this.#label, jobId, keyId, stop: this.#stop?.code ?? null, ended };
  }

  /** Has it, or will it have, a key that a revocation ends? */
  get revocable(): boolean {
    // Asked last: no other run has a marker of it.
    return !this.#ended && !(this.#neverIssued && patched(NEVER_ISSUED));
  }

  async open(request: KeyRequest, names: Omit<IssueOptions, 'stopped'>): Promise<void> {
    const stopped = (): boolean => this.cancelledByWorkflow || this.#revokeAsked !== undefined;
    const key = await this.#issue(request, { ...names, stopped });
    if (key === undefined) throw this.#stoppedUnissued();
    this.#key = key;
    this.#guard(key);
    if (this.#revokeAsked !== undefined) await this.revoke(this.#revokeAsked.reason);
  }

  async #issue(request: KeyRequest, options: IssueOptions): Promise<RunKey | undefined> {
    try {
      return await RunKey.issue(request, options);
    } catch (error) {
      this.#neverIssued = true;
      if (this.#revokeAsked?.outlivesIt) revokedBetween = this.#revokeAsked.reason;
      throw error;
    }
  }

  /** Whoever waited for the key hears why there is none: the revocation has had its effect. */
  #stoppedUnissued(): CancelledFailure | ApplicationFailure {
    this.#neverIssued = true;
    if (this.cancelledByWorkflow) return new CancelledFailure('Workflow cancelled');
    this.#stop = { code: 'key_revoked', reason: this.#revokeAsked?.reason ?? '' };
    return stopFailure(this.#stop, undefined);
  }

  async run<T>(fn: (vault: Vault) => Promise<T>): Promise<Settled<T>> {
    const key = this.#openKey();
    const vault: Vault = {
      get keyId() {
        return key.id;
      },
      jobId: key.jobId,
      spend: async () => (await key.spend(SPEND_TIMEOUT_MS)).spend,
    };
    try {
      return { value: await this.#scope.run(() => runWithVault(this.#context, () => fn(vault))) };
    } catch (error) {
      return { error };
    }
  }

  /** An operator's word: the key dies first, then what is under way is cancelled. */
  async revoke(reason: string): Promise<void> {
    const key = this.#key;
    this.#revokeAsked = {
      reason,
      outlivesIt: key === undefined && revokedBetween === undefined && patched(NEVER_ISSUED),
    };
    if (key === undefined || this.#ended || this.#stop !== undefined) return;
    this.#stop = { code: 'key_revoked', reason };
    await key.revoke(reason);
    this.#scope.cancel();
  }

  /** Revokes, drops what `fn` left behind and waits for what is in flight. Answers the last state before that. */
  close(): Promise<VaultSpend | undefined> {
    return CancellationScope.nonCancellable(async () => {
      const key = this.#openKey();
      // Read first: afterwards every key is revoked. A call may have met the cap without telling anyone.
      const before = await key.spend(SPEND_TIMEOUT_MS).catch(() => undefined);
      const seen = stopIn(before);
      // Seen again by a workflow task that is run anew after its time was over: it has revoked the key already.
      const mine = seen?.reason !== undefined && (seen.reason === ENDED || isStopCode(seen.reason));
      if (!mine) this.#stop ??= seen;
      else if (isStopCode(seen.reason)) this.#stop ??= { code: seen.reason };
      this.#closing = true;
      await key.revoke(this.#stop?.reason ?? this.#stop?.code ?? ENDED);
      this.#ended = true;
      key.unguard();
      this.#scope.cancel();
      await until(() => this.#context.inFlight === 0);
      return this.#stop === undefined && !mine
        ? before
        : ((await key.spend(SPEND_TIMEOUT_MS).catch(() => undefined)) ?? before);
    });
  }

  /** Nobody waits for what its news leads to, so that must not throw: it would fail the workflow task for ever. */
  #guard(key: RunKey): void {
    key.guard((code, keyId) => void this.#refused(code, keyId, true));
  }

  /** True: after a reset, another key of the job took the dead one's place. Throws only where not `survives`. */
  async #refused(code: StopCode, keyId: string, survives: boolean): Promise<boolean> {
    const key = this.#openKey();
    if (this.#stop !== undefined || this.#ended) return false;
    // The guard can see the key dead before the workflow hears that it has revoked it.
    if (this.#closing && patched(CLOSING)) return false;
    if (code !== 'cap_exhausted' && (await replaced(key, keyId, survives))) {
      this.#guard(key);
      return true;
    }
    this.#stop ??= { code };
    this.#scope.cancel();
    return false;
  }

  #openKey(): RunKey {
    if (this.#key !== undefined) return this.#key;
    throw ApplicationFailure.nonRetryable('The vault key has not been issued.', 'keybrake.internal');
  }
}

/** The proxy may refuse another key, where the key above is dead too, or not answer for long: then the dead one ends it. */
async function replaced(key: RunKey, keyId: string, survives: boolean): Promise<boolean> {
  try {
    return await key.replace(keyId);
  } catch (error) {
    if (!survives) throw error;
    log.warn('No other key in place of the dead one', { keyId, error: rootFailure(error).message });
    return false;
  }
}

function conclude<T>(
  vault: OpenVault,
  outcome: Settled<T>,
  last: VaultSpend | undefined,
  onStop: VaultKeySettings['onStop'],
): T {
  const { stop } = vault;
  if (stop !== undefined && vault.cancelledByWorkflow) {
    throw 'error' in outcome ? outcome.error : new CancelledFailure('Workflow cancelled');
  }
  if (stop !== undefined && (onStop === 'throw' || 'error' in outcome)) throw stopFailure(stop, last);
  if ('error' in outcome) throw outcome.error;
  return outcome.value;
}

function stopIn(spend: VaultSpend | undefined): { code: StopCode; reason?: string } | undefined {
  const code = spend === undefined ? null : STOP_OF[spend.state];
  if (code === null || spend === undefined) return undefined;
  return { code, ...(code === 'key_revoked' && spend.revokeReason !== null && { reason: spend.revokeReason }) };
}

const STOP_OF = {
  active: null,
  exhausted: 'cap_exhausted',
  expired: 'key_expired',
  revoked: 'key_revoked',
} as const satisfies Record<KeyState, StopCode | null>;

const WORDS = {
  cap_exhausted: 'the cap is spent',
  key_revoked: 'the key was revoked',
  key_expired: 'the time to live or the lease of the key has ended',
  key_invalid: 'the proxy does not know the key',
} as const satisfies Record<StopCode, string>;

function isStopCode(text: string | undefined): text is StopCode {
  return text !== undefined && Object.hasOwn(WORDS, text);
}

function stopFailure({ code, reason }: { code: StopCode; reason?: string }, last: VaultSpend | undefined) {
  return ApplicationFailure.create({
    type: `keybrake.${code}`,
    message: `${code}: ${WORDS[code]}${reason === undefined ? '' : ` (${reason})`}${spentWords(last)}.`,
    nonRetryable: true,
    details: [{ spend: last?.spend ?? null, jobSpend: last?.jobSpend ?? null }],
  });
}

/** Set once; both concern every key of the workflow. */
function setVaultHandlers(): void {
  setHandler(
    vaultRevokeSignal,
    async (argument) => {
      const reason = reasonOf(argument);
      const words = `Revoked by signal${reason === undefined ? '.' : `: ${reason}`}`;
      const alive = opened.filter(({ revocable }) => revocable);
      if (alive.length === 0) revokedBetween = words;
      await Promise.all(alive.map((vault) => vault.revoke(words)));
    },
    { description: 'Revokes the vault keys of this workflow. Nothing, a text, or {"reason": "…"}.' },
  );
  setHandler(vaultStatusQuery, () => opened.map((vault) => vault.view), {
    description: 'The vault keys of this workflow.',
  });
}

function defaultJobId(): string {
  const { workflowId, firstExecutionRunId } = workflowInfo();
  const nth = opened.length === 0 ? '' : `/${opened.length + 1}`;
  return `${workflowId}/${firstExecutionRunId}${nth}`;
}
