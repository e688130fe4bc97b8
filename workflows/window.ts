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
  patched,
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
  /** As {@link sendsTogether} answered. */
  readonly together: boolean;
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
  readonly doubts?: readonly Doubt[];
  readonly sent: Counts;
  readonly sentDoubts?: readonly Doubt[];
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

/** Histories from before it hold the commands of {@link sendOneByOne}. */
const TOGETHER = 'keybrake.send-together';

/** Is this run one whose window sends together? Its first answer holds for the whole run. */
export function sendsTogether(): boolean {
  return patched(TOGETHER);
}

export async function runWindow(options: WindowOptions): Promise<WindowEnd> {
  const window = new Window(options);
  await (options.together ? sendTogether(window, options) : sendOneByOne(window, options));
  await until(() => window.inFlight === 0);
  return window.end();
}

/**
 * Fills the window in one go each time it wakes. Temporal takes a stack trace for every promise of workflow code, which
 * is most of what a record costs there, so a record that is at hand is sent without one of its own.
 */
async function sendTogether(window: Window, { gate, width, pages, work }: WindowOptions): Promise<void> {
  for (;;) {
    await until(() => gate.closed || (gate.open && window.inFlight < width));
    if (gate.closed) return;
    const left = await work.run(async () => window.fill());
    // A workflow task carries at most 4 MB of commands: a timer begins the next one.
    if (left === 'task_full') await sleep(1);
    if (left !== 'no_unit' || (await window.guarded(() => pages.read())) === true) continue;
    if (window.inFlight === 0 && window.nothingKept) return;
    await until(() => gate.closed || window.inFlight === 0 || (gate.open && !window.nothingKept));
  }
}

/** The order of steps before {@link TOGETHER}. */
async function sendOneByOne(window: Window, { gate, width, pages }: WindowOptions): Promise<void> {
  for (;;) {
    await until(() => gate.closed || (gate.open && window.inFlight < width));
    if (gate.closed) return;
    const unit = window.takeKept() ?? (await window.guarded(() => pages.take()));
    if (unit !== undefined) await window.send(unit);
    else if (window.inFlight === 0 && window.nothingKept) return;
    else await until(() => gate.closed || window.inFlight === 0 || (gate.open && !window.nothingKept));
  }
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
    if (kept === undefined) return undefined;
    this.#add(kept.sent);
    this.#doubts.push(...(kept.sentDoubts ?? []));
    return kept.unit;
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

  /** Starts what is at hand, in the scope that it is called in, until something stands against it. */
  fill(): 'window_full' | 'task_full' | 'no_unit' {
    const { gate, width, pages, bytesPerTask } = this.#options;
    while (gate.open && this.inFlight < width) {
      if (this.#bytes > bytesPerTask) {
        this.#bytes = 0;
        return 'task_full';
      }
      const unit = this.takeKept() ?? pages.takeRead();
      if (unit === undefined) return 'no_unit';
      if (!this.#sendable(unit)) continue;
      this.#bytes += unit.bytes;
      this.#start(unit, unit.call);
    }
    return 'window_full';
  }

  /** Starts a unit, unless it must not be. */
  async send(unit: Unit): Promise<void> {
    const { gate, bytesPerTask } = this.#options;
    if (!this.#sendable(unit)) return;
    this.#bytes += unit.bytes;
    if (this.#bytes > bytesPerTask) {
      await sleep(1);
      this.#bytes = unit.bytes;
    }
    // While the page was read or the timer ran, the gate may have shut.
    if (gate.open) this.#fly(unit, unit.call);
    else this.#kept.push({ unit, refused: {}, sent: {} });
  }

  /** False, and counted: a duplicate of one in flight, or one without a record id. */
  #sendable(unit: Unit): unit is Unit & Required<Pick<Unit, 'call'>> {
    const { counts } = this.#options;
    if (unit.call === undefined) {
      counts.failed += 1;
      return false;
    }
    // Two pending activities with one id would wedge the workflow.
    if (this.#flying.has(unit.activityId) || this.#kept.some(({ unit: kept }) => kept.activityId === unit.activityId)) {
      counts.duplicate += 1;
      return false;
    }
    return true;
  }

  end(): WindowEnd {
    for (const { refused, doubts = [] } of this.#kept) {
      this.#add(refused);
      this.#doubts.push(...doubts);
    }
    return { doubts: this.#doubts, ...(this.#fatal !== undefined && { fatal: this.#fatal }) };
  }

  #start(unit: Unit, call: NonNullable<Unit['call']>): void {
    const { gate, onFlight } = this.#options;
    const { epoch, keyId } = gate;
    const ended = (take: () => void): void => {
      try {
        take();
      } catch (error) {
        this.#fail(error);
      }
      this.#flying.delete(unit.activityId);
      onFlight?.(this.#flying.size);
    };
    this.#flying.add(unit.activityId);
    onFlight?.(this.#flying.size);
    const lost = (error: unknown): void => ended(() => this.#lost(unit, error, epoch));
    try {
      call(keyId).then((result) => ended(() => this.#landed(unit, result, epoch)), lost);
    } catch (error) {
      lost(error);
    }
  }

  /** As {@link Window.#start}, with the promises of {@link sendOneByOne}: they give the commands their order. */
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

  #landed(unit: Unit, { counts, stop, rest, doubts = [] }: UnitResult, epoch: number): void {
    if (stop === undefined) {
      this.#doubts.push(...doubts);
      this.#add(counts);
      return;
    }
    const { unit: again = unit, counts: sent = {}, doubts: sentDoubts = [] } = rest ?? {};
    this.#kept.push({ unit: again, refused: counts, doubts, sent, sentDoubts });
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
