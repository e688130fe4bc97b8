/**
 * How fast the calls of one vendor account may leave. Slots are spaced evenly, first come first served whatever their
 * keys; a call that cannot have one in time is told when to come back. When the vendor says that there were too many,
 * the account pauses and goes on slower, then faster little by little (AIMD). Processes on one ledger have a share of
 * the account each: proxy/sharedPace.ts.
 */
import type { KeyFacts } from './ledger/facts';
import { Counter } from './paceCounter';

/** Leave to send one call. */
export interface Slot {
  readonly takenAt: number;
  /** Milliseconds that it has put off the next one. */
  readonly costMs: number;
}

export type Turn =
  | { readonly kind: 'slot'; readonly slot: Slot }
  /** No slot within the caller's time, or too many wait already. */
  | { readonly kind: 'full'; readonly retryAfterSeconds: number }
  /** The client has gone, or the key was revoked. */
  | { readonly kind: 'left' };

export interface Waiting {
  readonly waitMs: number;
  /** Whose call it is, for {@link Pacer.dismiss}; absent for the proxy's own reads. */
  readonly facts?: KeyFacts;
  /** Calls `leave` when the client goes; answers how to stop listening. */
  readonly onGone?: (leave: () => void) => () => void;
}

/** The vendor said that there were too many calls. */
export interface RateLimit {
  /** Its `Retry-After`; undefined where it gave none. */
  readonly retryAfterMs: number | undefined;
}

/** Milliseconds of any origin, and timers on them. */
export interface Clock {
  now(): number;
  after(ms: number, wake: () => void): () => void;
}

/** Hears what the metrics tell. */
export interface PaceObserver {
  queued(change: 1 | -1): void;
  waited(ms: number): void;
  limited(): void;
}

export interface PacerOptions {
  /** Calls a second; undefined: as many as the vendor takes. */
  readonly maxRps: number | undefined;
  /** Calls that may wait at one time. */
  readonly queueMax: number;
  readonly observer?: PaceObserver;
  readonly clock?: Clock;
}

/** A timer that fires late makes up for so much, so that the rate is reached, and no burst follows a long stall. */
const CATCH_UP_MS = 50;
/** Where the vendor does not say how long. */
const PAUSE_MS = 500;
/** A vendor that asks for more is asked again after so long. */
const PAUSE_MS_MAX = 60_000;
const SLOWER = 0.75;
const RPS_MIN = 1;
/** Seconds in which a rate without a maximum would double, and a maximum is reached from nothing. */
const RECOVERY_SECONDS = 20;
/** Without a maximum, a rate that has kept nobody waiting for so long is no limit any more. */
const FORGET_MS = 60_000;
const RETRY_AFTER_SECONDS_MAX = 30;

interface Waiter {
  readonly facts: KeyFacts | undefined;
  /** Without a turn: its time is over. */
  readonly end: (turn?: Turn) => void;
}

export class Pacer {
  readonly #accountRps: number;
  /** This process's part of it. */
  #maxRps: number;
  readonly #queueMax: number;
  readonly #observer: PaceObserver | undefined;
  readonly #clock: Clock;
  /** In order of their coming. */
  readonly #queue = new Set<Waiter>();
  #rps: number;
  /** When the next slot falls due. */
  #next = -Infinity;
  #pausedUntil = -Infinity;
  #slowedAt = -Infinity;
  #grownAt = -Infinity;
  #stepRps = 0;
  /** The rate is a count of answers, and those still under way belong to it. */
  #counting = false;
  /** When somebody had to wait last. */
  #waitedAt = -Infinity;
  /** What those were told who were sent away: each a slot of its own, or they would all come back at once. */
  #promised = -Infinity;
  /** Nothing leaves while it is not known which part of the account is free. */
  #held = false;
  #tell: (limit: RateLimit) => void = () => {};
  #cancelTimer: (() => void) | undefined;
  readonly #taken: Counter;

  constructor({ maxRps, queueMax, observer, clock = SYSTEM_CLOCK }: PacerOptions) {
    this.#accountRps = maxRps ?? Infinity;
    this.#maxRps = this.#accountRps;
    this.#rps = this.#maxRps;
    this.#queueMax = queueMax;
    this.#observer = observer;
    this.#clock = clock;
    this.#taken = new Counter(clock);
  }

  /** Calls a second now; Infinity: no limit is known. */
  get rps(): number {
    return this.#rps;
  }

  /** A slot, if one is free now and nobody waits for it. */
  take(): Slot | undefined {
    const now = this.#clock.now();
    if (this.#held || this.#queue.size > 0 || this.#dueMs(now) > 0) return undefined;
    return this.#issue(now, now);
  }

  /** Waits for a slot in turn. */
  wait({ waitMs, facts, onGone }: Waiting): Promise<Turn> {
    const slot = this.take();
    if (slot !== undefined) return Promise.resolve({ kind: 'slot', slot });
    if (this.#queue.size >= this.#queueMax || this.expectedMs() > waitMs) return Promise.resolve(this.#full());
    return new Promise((resolve) => {
      const started = this.#clock.now();
      const end = (turn?: Turn): void => {
        if (!this.#queue.delete(waiter)) return;
        if (this.#queue.size === 0) this.#arm();
        stop();
        stopListening?.();
        this.#waitedAt = this.#clock.now();
        this.#observer?.queued(-1);
        this.#observer?.waited(this.#waitedAt - started);
        resolve(turn ?? this.#full());
      };
      const waiter: Waiter = { facts, end };
      this.#queue.add(waiter);
      this.#observer?.queued(1);
      const stop = this.#clock.after(waitMs, end);
      const stopListening = onGone?.(() => end({ kind: 'left' }));
      this.#arm();
    });
  }

  /** For a call that did not leave after all: the slot is the next one's. */
  giveBack({ costMs }: Slot): void {
    this.#next -= costMs;
    this.#serve();
  }

  /** What the vendor answered to the call of a slot; `limit` when it was one too many. */
  answered(slot: Slot, limit: RateLimit | undefined): void {
    if (limit !== undefined) {
      this.#slowDown(slot, limit);
      return;
    }
    this.#taken.add();
    // A vendor says no sooner than it does what it is asked.
    if (this.#counting && slot.takenAt <= this.#slowedAt) this.#rps += SLOWER;
  }

  /** This process may use so much of the account from now on: 1 is all of it. */
  share(part: number): void {
    const before = this.#maxRps;
    this.#maxRps = this.#accountRps * part;
    if (before === this.#maxRps) return;
    const scale = this.#maxRps / before;
    // A slot that is promised falls due as much later, or sooner, as the next ones will.
    const now = this.#clock.now();
    if (this.#next > now) this.#next = Math.max(this.#pausedUntil, now + (this.#next - now) / scale);
    this.#rps *= scale;
    this.#stepRps *= scale;
    this.#serve();
  }

  /** Lets nothing leave until {@link release}, where the account has a maximum. */
  hold(): void {
    this.#held = this.#accountRps !== Infinity;
  }

  release(): void {
    this.#held = false;
    this.#serve();
  }

  /** `tell` hears of the vendor's limits, each once, so that other processes can slow down too. */
  onLimited(tell: (limit: RateLimit) => void): void {
    this.#tell = tell;
  }

  /** Another process heard from the vendor that there were too many. Whoever pauses already has heard of it himself. */
  limitedElsewhere({ retryAfterMs }: RateLimit): void {
    const now = this.#clock.now();
    this.#pause(now, retryAfterMs, now >= this.#pausedUntil);
  }

  /** Sends away those whose key is dead now. */
  dismiss(isDead: (facts: KeyFacts) => boolean): void {
    for (const { facts, end } of this.#queue) if (facts !== undefined && isDead(facts)) end({ kind: 'left' });
    this.#arm();
  }

  /** Milliseconds until one who comes now is likely to have a slot. */
  expectedMs(): number {
    return this.#dueMs(this.#clock.now()) + this.#queue.size * this.#intervalMs();
  }

  /** Whole seconds after which one who is sent away now is likely to have a slot. */
  retryAfterSeconds(): number {
    const now = this.#clock.now();
    const seconds = Math.ceil((Math.max(this.#promised, now + this.expectedMs()) - now) / 1_000);
    return Math.min(RETRY_AFTER_SECONDS_MAX, Math.max(1, seconds));
  }

  #full(): Turn {
    const turn: Turn = { kind: 'full', retryAfterSeconds: this.retryAfterSeconds() };
    const now = this.#clock.now();
    const last = now + RETRY_AFTER_SECONDS_MAX * 1_000;
    this.#promised = Math.min(last, Math.max(this.#promised, now + this.expectedMs()) + this.#intervalMs());
    return turn;
  }

  #intervalMs(): number {
    return 1_000 / this.#rps;
  }

  #dueMs(now: number): number {
    return Math.max(0, this.#pausedUntil - now, this.#rps === Infinity ? 0 : this.#next - now);
  }

  #issue(now: number, earliest: number): Slot {
    this.#recover(now);
    const costMs = this.#intervalMs();
    this.#next = Math.max(this.#next, earliest) + costMs;
    return { takenAt: now, costMs };
  }

  /** Gives out what is due, and sets the timer for what is not yet. */
  #serve(): void {
    for (const waiter of this.#queue) {
      const now = this.#clock.now();
      if (this.#held || this.#dueMs(now) > 0) break;
      waiter.end({ kind: 'slot', slot: this.#issue(now, now - CATCH_UP_MS) });
    }
    this.#arm();
  }

  #arm(): void {
    this.#cancelTimer?.();
    this.#cancelTimer = undefined;
    if (this.#queue.size === 0 || this.#held) return;
    this.#cancelTimer = this.#clock.after(this.#dueMs(this.#clock.now()), () => this.#serve());
  }

  /** All calls that left before the account slowed down are one burst: they slow it down once. */
  #slowDown(slot: Slot, limit: RateLimit): void {
    const now = this.#clock.now();
    this.#observer?.limited();
    const first = slot.takenAt > this.#slowedAt;
    const before = this.#pausedUntil;
    this.#pause(now, limit.retryAfterMs, first);
    if (first || this.#pausedUntil > before + PAUSE_MS) this.#tell(limit);
  }

  #pause(now: number, retryAfterMs: number | undefined, first: boolean): void {
    if (first || retryAfterMs !== undefined) {
      const pauseMs = Math.min(retryAfterMs ?? PAUSE_MS, PAUSE_MS_MAX);
      this.#pausedUntil = Math.max(this.#pausedUntil, now + pauseMs);
    }
    if (first) {
      this.#counting = this.#rps === Infinity;
      const base = this.#counting ? this.#taken.perSecond() : this.#rps;
      this.#rps = Math.min(this.#maxRps, Math.max(RPS_MIN, base * SLOWER));
      this.#stepRps =
        (this.#maxRps === Infinity ? Math.max(base, RECOVERY_SECONDS / 2) : this.#maxRps) / RECOVERY_SECONDS;
      this.#slowedAt = now;
      this.#waitedAt = now;
    }
    this.#grownAt = this.#pausedUntil;
    this.#next = Math.max(this.#next, this.#pausedUntil);
    this.#arm();
  }

  #recover(now: number): void {
    if (this.#rps >= this.#maxRps) return;
    if (this.#maxRps === Infinity && now - this.#waitedAt > FORGET_MS) {
      this.#rps = Infinity;
      return;
    }
    const seconds = Math.max(0, now - this.#grownAt) / 1_000;
    this.#rps = Math.min(this.#maxRps, this.#rps + this.#stepRps * seconds);
    this.#grownAt = Math.max(now, this.#grownAt);
  }
}

const SYSTEM_CLOCK: Clock = {
  now: () => performance.now(),
  after(ms, wake) {
    const timer = setTimeout(wake, Math.ceil(ms));
    return () => clearTimeout(timer);
  },
};
