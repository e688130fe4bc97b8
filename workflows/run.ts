/** The state of one run, changed by its handlers, its calls and its guard, and shown by `status` and the details. */
import { CancellationScope, patched, setCurrentDetails } from '@temporalio/workflow';
import type { ApplicationFailure } from '@temporalio/workflow';
import type { TerminalRefusal } from '../proxy/contract';
import type { Counts, VaultSpend } from '../activities/types';
import type { Control, Phase, RunStatusView } from './definitions';
import { dayOf } from './day';
import { detailsOf } from './details';
import { rootFailure } from './failures';
import { Gate } from './gate';
import type { RunKey } from './key';
import type { LimitedPlan } from '../activities/contract/limits';
import { noOutcomes, type Outcome, type OutcomeCounts, type RunStatus } from '../activities/contract/plan';
import { stopWords } from './stopWords';
import { looksUpChunks, sizesInBytes } from './units';
import { sendsTogether } from './window';

/** Why the run ends before its records do. */
export interface Stop {
  readonly status: Exclude<RunStatus, 'completed'>;
  readonly reason: string;
  readonly failure?: ApplicationFailure;
}

const STATUS_OF = {
  cap_exhausted: 'cap_exhausted',
  key_revoked: 'revoked',
  key_expired: 'expired',
  key_invalid: 'failed',
} as const satisfies Record<TerminalRefusal, RunStatus>;

/** Histories from before it wait at a cap for a raise alone. */
const CAP_FREE = 'keybrake.cap-free';
/** A run from before kept its guard, which renews the lease, until its key was revoked, or could not be. */
const GUARD_FIRST = 'keybrake.guard-first';

/** A run that waits at a spent cap, `onCapExhausted: "pause"`. */
export interface Wait {
  readonly since: number;
  /** The proxy has said that the cap is latched: once it says that the key is active, it is free again. */
  latched: boolean;
  /** What the proxy last said was left, in dollars, of a cap that was not latched: money of unknown outcome can come back. */
  leftUsd?: number;
}

export class Run {
  /** Every activity and child that does the records' work runs in it. Only the run's end cancels it. */
  readonly work = new CancellationScope();
  /**
   * As {@link sendsTogether} answers at the very start. Behind a local activity it would depend on who asks for the
   * status: a query that is answered while one ends has its marker written a workflow task before the patch's, and then
   * a replay has not heard of the patch yet.
   */
  readonly together = sendsTogether();
  /** Does the run see by itself that the cap at which it waits is free again? Asked at the start, as `together`. */
  readonly #seesFreeCap = patched(CAP_FREE);
  /** Does the guard go before the key is revoked? Asked at the start, as `together`. */
  readonly guardFirst = patched(GUARD_FIRST);
  /** As {@link sizesInBytes} answers, asked at the start, as `together`. */
  readonly inBytes = sizesInBytes();
  /** Is what a chunk left unknown looked up at the end? Asked at the start, as `together`. */
  readonly looksUpChunks = looksUpChunks();
  /** Of the records that the root runs itself. */
  readonly counts: Record<Outcome, number> = noOutcomes();
  /** Of each shard, as last heard. */
  readonly shardCounts = new Map<number, Counts>();
  /** Shards that have told their last counts: others that come later were under way before. */
  readonly shardsEnded = new Set<number>();
  plan: LimitedPlan | undefined;
  key: RunKey | undefined;
  gate: Gate | undefined;
  spend: VaultSpend | undefined;
  inFlight = 0;
  /** A `pause` that came before there was a gate. */
  pausedEarly = false;
  /** Set while the run waits at its cap. */
  wait: Wait | undefined;
  /** Tells running shards what changed. */
  broadcast: (control: Control) => void = () => undefined;
  #ending = false;
  #ended = false;
  #showing = false;
  #stop: Stop | undefined;
  #capUsd: number | null = null;
  /** How many records had ended when the run last went on without knowing that its cap was free. */
  #triedAt: number | undefined;

  /** Which cap is spent may be learned after the first refusal. */
  get stop(): Stop | undefined {
    if (this.#stop?.status !== 'cap_exhausted') return this.#stop;
    return { ...this.#stop, reason: this.#wordsFor('cap_exhausted') };
  }

  get ending(): boolean {
    return this.#ending;
  }

  get capUsd(): number | null {
    return this.#capUsd;
  }

  /** The plan and its key are there: calls may go. */
  begin(plan: LimitedPlan, key: RunKey): Gate {
    this.plan = plan;
    this.key = key;
    this.#capUsd = key.capUsd;
    const gate = new Gate({ keyId: key.id, epoch: 0, paused: this.pausedEarly }, (code) => this.#onHeld(code));
    this.gate = gate;
    this.#guard(key);
    if (this.#stop !== undefined) gate.close();
    this.show();
    return gate;
  }

  /** Stops the run; the first reason counts. Later than its records, nothing is left to stop. */
  end(stop: Stop): void {
    if (this.#stop !== undefined || this.#ending) return;
    this.#stop = stop;
    this.gate?.close();
    this.show();
  }

  fail(error: unknown): void {
    const failure = rootFailure(error);
    this.end({ status: 'failed', reason: failure.message, failure });
  }

  /** The records are done or stopped: from here on the run only winds up. */
  windUp(): void {
    this.#ending = true;
    this.gate?.close();
    this.show();
  }

  finished(): void {
    this.#ended = true;
    this.show();
  }

  pause(paused: boolean): void {
    this.pausedEarly = paused;
    this.gate?.pause(paused);
    this.#tell();
  }

  /** The cap is now so many dollars: refused records go again. */
  raised(capUsd: number | null): void {
    this.#capUsd = capUsd;
    this.#release();
  }

  /** What the proxy says of the key. A cap that was raised elsewhere is news too. */
  learn(spend: VaultSpend, keyId: string): void {
    this.spend = spend;
    // An expired key may be one whose lease lapsed while no worker ran: the guard renews it.
    if (spend.state === 'revoked') void this.keyDied('key_revoked', keyId);
    const raised = spend.capUsd !== null && (this.#capUsd === null || spend.capUsd > this.#capUsd);
    if (raised && spend.state === 'active') this.raised(spend.capUsd);
    else if (this.#isFree(spend)) this.#release();
    this.show();
  }

  /** The daily cap at which the run waited is free again, that of a key above was raised, or money has come back. */
  #isFree({ state, spend }: VaultSpend): boolean {
    const { wait } = this;
    if (wait === undefined) return false;
    if (state === 'exhausted') wait.latched = true;
    if (state !== 'active') return false;
    const { leftUsd } = wait;
    wait.leftUsd = spend.remaining_usd ?? 0;
    if (wait.latched || dayOf(wait.since) !== dayOf(Date.now())) return true;
    return leftUsd === undefined ? this.#mayTry() : wait.leftUsd > leftUsd;
  }

  /** It may have become free between the refusal and the first reading: whether it has, one more refusal tells. */
  #mayTry(): boolean {
    const ended = Object.values(this.totals()).reduce((sum, count) => sum + count, 0);
    if (this.#triedAt === ended) return false;
    this.#triedAt = ended;
    return true;
  }

  /** A key that no further call can use: another one after a reset, else the end. */
  async keyDied(code: Exclude<TerminalRefusal, 'cap_exhausted'>, keyId: string): Promise<void> {
    const { key, gate } = this;
    if (key === undefined || gate === undefined || this.#stop !== undefined || this.#ending) return;
    try {
      if (await key.replace(keyId)) {
        if (gate.keyId === key.id) return;
        this.wait = undefined;
        gate.release(key.id);
        this.#guard(key);
        this.#tell();
        return;
      }
    } catch (error) {
      this.fail(error);
      return;
    }
    this.end({ status: STATUS_OF[code], reason: this.#wordsFor(code) });
  }

  show(): void {
    setCurrentDetails(detailsOf(this.view()));
  }

  /** Calls in flight. Of many that begin or end at once, the last is shown. */
  flying(inFlight: number): void {
    this.inFlight = inFlight;
    if (this.#showing) return;
    this.#showing = true;
    void Promise.resolve().then(() => {
      this.#showing = false;
      this.show();
    });
  }

  view(): RunStatusView {
    const { plan, key, spend } = this;
    return {
      phase: this.#phase(),
      label: plan?.label ?? null,
      jobId: plan?.jobId ?? null,
      keyId: key?.id ?? null,
      keyState: spend?.state ?? null,
      usdCap: this.#capUsd,
      spend: spend?.spend ?? null,
      records: { ...this.totals(), total: plan?.records ?? null },
      inFlight: this.inFlight,
      reason: this.stop?.reason ?? (this.gate?.held === undefined ? null : this.#wordsFor(this.gate.held)),
    };
  }

  totals(): OutcomeCounts {
    const totals = { ...this.counts };
    for (const counts of this.shardCounts.values()) {
      for (const [outcome, count] of Object.entries(counts)) totals[outcome as Outcome] += count;
    }
    return totals;
  }

  #phase(): Phase {
    if (this.#ended) return 'ended';
    if (this.#ending || this.#stop !== undefined) return 'ending';
    if (this.gate === undefined) return 'preparing';
    if (this.gate.held === 'cap_exhausted') return 'waiting_for_cap';
    return this.gate.paused ? 'paused' : 'running';
  }

  #guard(key: RunKey): void {
    key.guard((code, keyId) => {
      if (code !== 'cap_exhausted') void this.keyDied(code, keyId);
    });
  }

  #onHeld(code: TerminalRefusal): void {
    const waits = code === 'cap_exhausted' && this.plan?.onCapExhausted === 'pause';
    if (code !== 'cap_exhausted') void this.keyDied(code, this.gate?.keyId ?? '');
    else if (!waits) this.end({ status: 'cap_exhausted', reason: this.#wordsFor(code) });
    else if (this.#seesFreeCap) this.wait = { since: Date.now(), latched: false };
    this.show();
  }

  /** Refused records go again. */
  #release(): void {
    this.wait = undefined;
    this.gate?.release();
    this.#tell();
  }

  #tell(): void {
    if (this.gate !== undefined) this.broadcast(this.gate.control);
    this.show();
  }

  #wordsFor(code: TerminalRefusal): string {
    const { plan, key, spend } = this;
    return stopWords(code, {
      plan,
      keyId: key?.id,
      capUsd: this.#capUsd,
      exhaustedBy: spend?.exhaustedBy ?? null,
      unknownUsd: Math.max(spend?.spend.unknown_usd ?? 0, spend?.jobSpend?.unknown_usd ?? 0),
      seesFreeCap: this.#seesFreeCap,
    });
  }
}
