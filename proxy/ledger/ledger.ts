/**
 * Group commit over a store: what arrives while a commit is under way goes into the next one. Also where calls wait
 * for money that other calls hold.
 */
import type { Micros } from '../contract';
import type { Rows, Store } from '../stores/store';
import { isClosed, StoreError } from '../stores/store';
import type { BudgetRow } from '../stores/tables';
import { remainingMicros } from './budgets';
import { giveBack } from './finish';

type Operation<T> = (rows: Rows, now: number) => T;

interface Pending {
  readonly operation: Operation<unknown>;
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: unknown) => void;
  /** Must not be lost: is tried again until the store takes it. */
  readonly essential: boolean;
  /** The call whose money it holds. */
  readonly holdsFor: string | undefined;
}

/** What came of an operation: its value, or what it threw. */
interface Came {
  readonly failed: boolean;
  readonly value: unknown;
}

interface Waiter {
  readonly quoteMicros: Micros;
  readonly wake: () => void;
}

const BATCH_MAX = 512;
const RETRY_MS = 100;
/** Calls that may wait for budgets at one time; more are refused as `budget_busy` at once. */
const WAITERS_MAX = 2_000;
/** How often the budgets that calls wait for are looked at, where other processes may give money back. */
const LOOK_MS = 50;

export interface CommitObserver {
  (batchSize: number, milliseconds: number): void;
}

export class Ledger {
  readonly store: Store;
  readonly #observe: CommitObserver;
  readonly #onFailure: (error: unknown) => void;
  readonly #waiters = new Map<string, Set<Waiter>>();
  #waiting = 0;
  #looking = false;
  #queue: Pending[] = [];
  /** How many operations share a commit; fewer after one in which something fits nowhere, until that one is found. */
  #batchMax = BATCH_MAX;
  /** How many of them may be essential; fewer while commits fail, since all of them may be too much for one. */
  #essentialMax = BATCH_MAX;
  #committing = false;
  #scheduled = false;
  #ended = false;

  /** `onFailure` hears why a commit failed, and why holds are refused. */
  constructor(store: Store, observe: CommitObserver = () => {}, onFailure: (error: unknown) => void = () => {}) {
    this.store = store;
    this.#observe = observe;
    this.#onFailure = onFailure;
  }

  /**
   * Runs an operation in the next commit and resolves once that is durable. The operation is synchronous and pure but
   * for `rows`. Rejects with what the operation throws (then it changed nothing), or with {@link StoreError}.
   */
  submit<T>(operation: Operation<T>): Promise<T> {
    return this.#enqueue(operation, false);
  }

  /** What time it is by the store's clock, which every row goes by: milliseconds. */
  now(): Promise<number> {
    return this.submit((_, now) => now);
  }

  /**
   * Like {@link submit} for what has happened already: while the store cannot be written it is tried again, until the end.
   * Rejects with a {@link StoreError} that is `unfit` when no store will ever take it.
   */
  record<T>(operation: Operation<T>): Promise<T> {
    return this.#enqueue(operation, true);
  }

  /**
   * Like {@link submit} for what would hold new money: refused while the disk is nearly full. When nobody can say whether
   * it was held for the call, it is given back once the store can be written.
   */
  hold<T>(operation: Operation<T>, callId?: string): Promise<T> {
    if (this.store.acceptsHolds()) return this.#enqueue(operation, false, callId);
    return this.#refuseHold();
  }

  /** The store says why; where it has changed its mind by then, the next call may be held. */
  async #refuseHold(): Promise<never> {
    const why: unknown = await this.store.ping().catch((error: unknown) => error);
    const error = why instanceof StoreError ? why : new StoreError('The ledger took no holds a moment ago.');
    this.#onFailure(error);
    throw error;
  }

  /**
   * Resolves when a call of this size may fit the budget or can be refused for good, or after `timeoutMs`.
   * Answers false at once when too many wait already.
   */
  async waitFor(budgetId: string, quoteMicros: Micros, timeoutMs: number): Promise<boolean> {
    if (this.#waiting >= WAITERS_MAX) return false;
    const waiters = this.#waiters.get(budgetId) ?? new Set();
    this.#waiters.set(budgetId, waiters);
    this.#waiting += 1;
    if (!this.store.exclusive) void this.#look();
    await new Promise<void>((resolve) => {
      const timer = setTimeout(() => waiter.wake(), timeoutMs);
      const waiter: Waiter = {
        quoteMicros,
        wake: () => {
          clearTimeout(timer);
          waiters.delete(waiter);
          resolve();
        },
      };
      waiters.add(waiter);
    });
    this.#waiting -= 1;
    return true;
  }

  /** Tells those who wait for these budgets what is left of them now, first come first served. */
  changed(budgets: readonly BudgetRow[]): void {
    for (const budget of budgets) {
      const waiters = this.#waiters.get(budget.budget_id);
      if (waiters === undefined) continue;
      let left = remainingMicros(budget) ?? Number.MAX_SAFE_INTEGER;
      const hopeless =
        budget.cap_micros === null ? Infinity : budget.cap_micros - budget.settled_micros - budget.unknown_micros;
      for (const waiter of waiters) {
        const fits = waiter.quoteMicros <= left;
        if (!fits && waiter.quoteMicros <= hopeless && budget.latched === 0) continue;
        if (fits) left -= waiter.quoteMicros;
        waiters.delete(waiter);
        waiter.wake();
      }
      if (waiters.size === 0) this.#waiters.delete(budget.budget_id);
    }
  }

  /** Wakes all who wait for a budget: a cap rose, a key died, or the process is stopping. */
  wake(): void {
    const all = [...this.#waiters.values()];
    this.#waiters.clear();
    for (const waiters of all) for (const waiter of waiters) waiter.wake();
  }

  /** While calls wait, looks at what they wait for, once for all of them. */
  async #look(): Promise<void> {
    if (this.#looking) return;
    this.#looking = true;
    while (this.#waiting > 0) {
      await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
      const ids = [...this.#waiters.keys()];
      const budgets = await this.submit((rows) => ids.map((id) => rows.get('budgets', id))).catch(() => []);
      this.changed(budgets.flatMap((budget) => budget ?? []));
    }
    this.#looking = false;
  }

  /** Resolves when everything submitted so far is durable or has failed. */
  async idle(): Promise<void> {
    while (this.#committing || this.#queue.length > 0) await new Promise((resolve) => setTimeout(resolve, 5));
  }

  /** Before the store is closed: what it has not taken by now, and all that comes, fails with {@link StoreError}. */
  end(): void {
    this.#ended = true;
    for (const { reject } of this.#queue.splice(0)) reject(isClosed());
  }

  #enqueue<T>(operation: Operation<T>, essential: boolean, holdsFor?: string): Promise<T> {
    if (this.#ended) return Promise.reject(isClosed());
    return new Promise<T>((resolve, reject) => {
      this.#queue.push({ operation, resolve: resolve as (value: unknown) => void, reject, essential, holdsFor });
      this.#schedule();
    });
  }

  /** `setImmediate`: everything that the sockets brought in this turn of the event loop shares one commit. */
  #schedule(): void {
    if (this.#scheduled || this.#committing) return;
    this.#scheduled = true;
    setImmediate(() => {
      this.#scheduled = false;
      void this.#commit();
    });
  }

  async #commit(): Promise<void> {
    const batch = this.#take();
    if (batch.length === 0) return;
    this.#committing = true;
    const started = performance.now();
    let retryMs = 0;
    try {
      const came = await this.#write(batch);
      this.#batchMax = Math.min(this.#batchMax * 2, BATCH_MAX);
      this.#essentialMax = Math.min(this.#essentialMax * 2, BATCH_MAX);
      for (const [index, { resolve, reject }] of batch.entries()) {
        const answer = came[index];
        if (answer?.failed === true) reject(answer.value);
        else resolve(answer?.value);
      }
    } catch (error) {
      retryMs = this.#failed(batch, error);
    }
    this.#observe(batch.length, performance.now() - started);
    if (retryMs > 0) await new Promise((resolve) => setTimeout(resolve, retryMs));
    this.#committing = false;
    if (this.#queue.length > 0) this.#schedule();
  }

  /** What the next commit is for. In the order it came in, but for what is essential and must be tried with less. */
  #take(): readonly Pending[] {
    if (this.#essentialMax === BATCH_MAX) return this.#queue.splice(0, this.#batchMax);
    const [batch, rest]: [Pending[], Pending[]] = [[], []];
    let essentials = 0;
    for (const pending of this.#queue) {
      const fits = batch.length < this.#batchMax && (!pending.essential || essentials < this.#essentialMax);
      if (fits && pending.essential) essentials += 1;
      (fits ? batch : rest).push(pending);
    }
    this.#queue = rest;
    return batch;
  }

  /** One operation that throws fails alone. Nobody hears of success before the commit is durable. */
  async #write(batch: readonly Pending[]): Promise<readonly Came[]> {
    let came: readonly Came[] = [];
    await this.store.commit((rows, now) => {
      came = batch.map(({ operation }) => {
        try {
          return { failed: false, value: rows.attempt(operation, now) };
        } catch (error) {
          // A store that fails while it loads fails the whole commit, not this operation.
          if (error instanceof StoreError) throw error;
          return { failed: true, value: error };
        }
      });
    });
    return came;
  }

  /** Answers after how many milliseconds the next commit is tried. */
  #failed(batch: readonly Pending[], error: unknown): number {
    this.#onFailure(error);
    const unfit = error instanceof StoreError && error.unfit;
    if (unfit && batch.length > 1 && !this.#ended) {
      // Nobody else pays for the one that fits nowhere: in ever smaller commits it is alone in the end.
      this.#batchMax = Math.ceil(batch.length / 2);
      this.#queue.unshift(...batch);
      return 0;
    }
    const kept = this.#ended || unfit ? [] : batch.filter(({ essential }) => essential);
    if (kept.length > 0) this.#essentialMax = Math.ceil(kept.length / 2);
    this.#queue.unshift(...kept);
    for (const { essential, reject, holdsFor } of batch) {
      if (!essential || unfit || this.#ended) reject(error);
      if (holdsFor !== undefined && error instanceof StoreError && error.uncertain) this.#takeBack(holdsFor);
    }
    return kept.length > 0 ? RETRY_MS : 0;
  }

  /** Nothing was sent for the call; where there is no such hold, it fails and nobody minds. */
  #takeBack(callId: string): void {
    this.record((rows, now) => giveBack(rows, now, callId)).catch(() => undefined);
  }
}
