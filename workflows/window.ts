/**
 * The sliding window: as many calls in flight as allowed, one more for each that ends. The root uses it for small
 * inputs and every shard for its part. It starts nothing while the gate is shut, keeps what a cap or a dead key refused
 * to send it again should the run go on, and ends with every record counted.
 */
import {
  ActivityFailure,
  ApplicationFailure,
  type CancellationScope,
  isCancellation,
  sleep,
} from '@temporalio/workflow';
import type { Counts } from '../activities/types';
import { failureCode, rootFailure } from './failures';
import type { Gate } from './gate';
import type { Outcome } from '../activities/contract/plan';
import type { Pages } from './pages';
import type { Doubt, Unit, UnitResult } from './units';
import { isTerminalRefusal } from '../proxy/contract';
import { until } from './waiting';

export interface WindowOptions {
  readonly pages: Pages;
  readonly gate: Gate;
  /** Where calls are scheduled: cancelling it drops those that have not started. */
  readonly work: CancellationScope;
  /** Activities in flight. */
  readonly width: number;
  readonly bytesPerTask: number;
  /** Counted into, as records end. */
  readonly counts: Record<Outcome, number>;
  /** Told how many are in flight, for the status. */
  readonly onFlight?: (inFlight: number) => void;
  /** Told of a failure that concerns every record. */
  readonly onFatal: (failure: ApplicationFailure) => void;
}

export interface WindowEnd {
  /** Records whose outcome must be looked up. */
  readonly doubts: readonly Doubt[];
  /** Set when the run cannot go on: the source changed, say. */
  readonly fatal?: ApplicationFailure;
}

/** A unit that was refused, and its counts if it stays so. */
interface Kept {
  readonly unit: Unit;
  readonly refused: Counts;
  readonly doubt?: Doubt | undefined;
  readonly sent: Counts;
}

/** Failures that concern every record, so that trying the next is pointless. */
const FATAL = new Set([
  'source_changed',
  'source_missing',
  'invalid_input',
  'no_context',
  'unauthenticated',
  'forbidden',
]);

export async function runWindow(options: WindowOptions): Promise<WindowEnd> {
  const { gate, width, pages } = options;
  const window = new Window(options);
  for (;;) {
    await until(() => gate.closed || (gate.open && window.inFlight < width));
    if (gate.closed) break;
    const unit = window.takeKept() ?? (await window.guarded(() => pages.take()));
    if (unit !== undefined) await window.send(unit);
    else if (window.inFlight === 0 && window.nothingKept) break;
    else await until(() => gate.closed || window.inFlight === 0 || (gate.open && !window.nothingKept));
  }
  await until(() => window.inFlight === 0);
  return window.end();
}

class Window {
  readonly #options: WindowOptions;
  readonly #flying = new Set<string>();
  readonly #kept: Kept[] = [];
  readonly #doubts: Doubt[] = [];
  #bytes = 0;
  #fatal: ApplicationFailure | undefined;

  constructor(options: WindowOptions) {
    this.#options = options;
  }

  get inFlight(): number {
    return this.#flying.size;
  }

  get nothingKept(): boolean {
    return this.#kept.length === 0;
  }

  /** A unit to send again: what of it was settled before counts now. */
  takeKept(): Unit | undefined {
    const kept = this.#kept.shift();
    if (kept !== undefined) this.#add(kept.sent);
    return kept?.unit;
  }

  /** Runs the reading of a page; a failure that is not the run's own stopping is fatal. */
  async guarded<T>(read: () => Promise<T>): Promise<T | undefined> {
    try {
      return await read();
    } catch (error) {
      if (!(this.#options.gate.closed && isCancellation(error))) this.#fail(error);
      return undefined;
    }
  }

  /** Starts a unit, unless it must not be: a duplicate of one in flight, or one without a record id. */
  async send(unit: Unit): Promise<void> {
    const { gate, counts, bytesPerTask } = this.#options;
    if (unit.call === undefined) {
      counts.failed += 1;
      return;
    }
    // Two pending activities with one id would wedge the workflow.
    if (this.#flying.has(unit.activityId) || this.#kept.some(({ unit: kept }) => kept.activityId === unit.activityId)) {
      counts.duplicate += 1;
      return;
    }
    this.#bytes += unit.bytes;
    if (this.#bytes > bytesPerTask) {
      // A workflow task carries at most 4 MB of commands: a timer begins the next one.
      await sleep(1);
      this.#bytes = unit.bytes;
    }
    // While the page was read or the timer ran, the gate may have shut.
    if (gate.open) this.#fly(unit, unit.call);
    else this.#kept.push({ unit, refused: {}, sent: {} });
  }

  end(): WindowEnd {
    for (const { refused, doubt } of this.#kept) {
      this.#add(refused);
      if (doubt !== undefined) this.#doubts.push(doubt);
    }
    return { doubts: this.#doubts, ...(this.#fatal !== undefined && { fatal: this.#fatal }) };
  }

  #fly(unit: Unit, call: NonNullable<Unit['call']>): void {
    const { gate, work, onFlight } = this.#options;
    const { epoch, keyId } = gate;
    this.#flying.add(unit.activityId);
    onFlight?.(this.#flying.size);
    work
      .run(() => call(keyId))
      .then(
        (result) => this.#landed(unit, result, epoch),
        (error: unknown) => this.#lost(unit, error, epoch),
      )
      .finally(() => {
        this.#flying.delete(unit.activityId);
        onFlight?.(this.#flying.size);
      })
      .catch((error: unknown) => this.#fail(error));
  }

  #landed(unit: Unit, { counts, stop, rest, doubt }: UnitResult, epoch: number): void {
    if (stop === undefined) {
      if (doubt !== undefined) this.#doubts.push(doubt);
      this.#add(counts);
      return;
    }
    this.#kept.push({ unit: rest?.unit ?? unit, refused: counts, doubt, sent: rest?.counts ?? {} });
    this.#options.gate.refuse(stop, epoch);
  }

  /** The activity ended without an answer; whether its call was made is in the ledger. */
  #lost(unit: Unit, error: unknown, epoch: number): void {
    const code = failureCode(error);
    if (isTerminalRefusal(code)) {
      this.#landed(unit, { counts: { refused: 1 }, stop: code }, epoch);
      return;
    }
    const failed = error instanceof ActivityFailure && error.cause instanceof ApplicationFailure;
    this.#doubts.push(failed ? unit.lost : { ...unit.lost, otherwise: 'not_started' });
    if (code !== undefined && FATAL.has(code)) this.#fail(error);
    if (!(error instanceof ActivityFailure) && !isCancellation(error)) this.#fail(error);
  }

  #fail(error: unknown): void {
    const known = this.#fatal !== undefined;
    this.#fatal ??= rootFailure(error);
    this.#options.gate.close();
    if (!known) this.#options.onFatal(this.#fatal);
  }

  #add(counts: Counts): void {
    for (const [outcome, count] of Object.entries(counts)) this.#options.counts[outcome as Outcome] += count;
  }
}
