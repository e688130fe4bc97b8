/** Reads a range page by page, ahead of the window by half a page, and hands out its units one by one. */
import { ApplicationFailure, patched, proxyActivities, workflowInfo } from '@temporalio/workflow';
import type { PageOutput, Position } from '../activities/types';
import { bytesOf, callActivity, CONTROL, controlId } from './calls';
import { runWithVault } from './context';
import { CARRIED_BYTES_MAX, limitsOf, type LimitedPlan } from '../activities/contract/limits';
import { ACTIVITIES, type RecordRef, type ShardRange } from '../activities/contract/plan';
import type { Unit, UnitMaker } from './units';

export interface PagesOptions {
  readonly plan: LimitedPlan;
  readonly keyId: () => string;
  readonly range: ShardRange;
  readonly position: Position;
  /** Index, in the whole source, of the first record of an inline plan that carries a part of them. */
  readonly inlineOffset?: number;
  readonly units: UnitMaker;
  /** No page is read after so many units. */
  readonly unitsMax: number;
  /** Whether what is left can be read by the next run. */
  readonly continues: boolean;
  /** Activities run in this scope: it is cancelled when the run stops. */
  readonly within: <T>(work: () => Promise<T>) => Promise<T>;
}

/** Of an activity in a history, beside its input. */
const EVENT_BYTES = 1_500;
/** A run from before has read on, however large its history was. */
const HISTORY_FULL = 'keybrake.history-full';

export class Pages {
  readonly #options: PagesOptions;
  readonly #pageSize: number;
  readonly #buffer: Unit[] = [];
  #next: Position | null;
  #loading: Promise<void> | undefined;
  #handedOut = 0;
  #pagesRead = 0;

  constructor(options: PagesOptions) {
    this.#options = options;
    this.#pageSize = limitsOf(options.plan).unitsPerPage;
    this.#next = options.position;
  }

  /** Where the first page starts that was not read; null at the end of the range. */
  get next(): Position | null {
    return this.#next;
  }

  /** The next unit; undefined at the end of the range, or once enough units were handed out. */
  async take(): Promise<Unit | undefined> {
    while (this.#buffer.length === 0 && (this.#more || this.#loading !== undefined)) {
      await this.#load();
    }
    return this.takeRead();
  }

  /** Reads until there is a unit to take; false where {@link take} would answer undefined. */
  async read(): Promise<boolean> {
    while (this.#buffer.length === 0 && (this.#more || this.#loading !== undefined)) {
      await this.#load();
    }
    return this.#buffer.length > 0;
  }

  /** The next unit of what was read. */
  takeRead(): Unit | undefined {
    const unit = this.#buffer.shift();
    if (unit !== undefined) this.#handedOut += 1;
    // An error of reading ahead is met again by whoever waits for the page.
    if (this.#more && this.#buffer.length < this.#pageSize / 2) this.#load().catch(() => undefined);
    return unit;
  }

  get #more(): boolean {
    return this.#next !== null && this.#handedOut + this.#buffer.length < this.#options.unitsMax && !this.#historyFull;
  }

  /** A run that continues as new does so before Temporal ends it, however large or many its pages are. */
  get #historyFull(): boolean {
    const { plan, continues } = this.#options;
    const { historyBytes, historyEvents } = limitsOf(plan);
    const { historySize, historyLength } = workflowInfo();
    const full = historySize > historyBytes || historyLength > historyEvents;
    // Asked last: a run that stays small has no marker of it.
    return continues && full && this.#pagesRead > 0 && patched(HISTORY_FULL);
  }

  #load(): Promise<void> {
    this.#loading ??= this.#read().finally(() => {
      this.#loading = undefined;
    });
    return this.#loading;
  }

  async #read(): Promise<void> {
    const position = this.#next;
    if (position === null) return;
    const { plan, within } = this.#options;
    const page = await within(() => (plan.source.kind === 'activity' ? this.#own(position) : this.#page(position)));
    this.#buffer.push(...this.#unitsOf(page));
    this.#next = page.next;
    this.#pagesRead += 1;
  }

  #unitsOf({ chunks, refs }: PageOutput): Unit[] {
    const { units, plan } = this.#options;
    if (chunks !== undefined) return chunks.map((range) => units.chunk(range));
    if (plan.recordsPerActivity === 1 || plan.call.kind === 'activity') return refs.map((ref) => units.record(ref));
    const groups: RecordRef[][] = [];
    for (let at = 0; at < refs.length; at += plan.recordsPerActivity) {
      groups.push(refs.slice(at, at + plan.recordsPerActivity));
    }
    return groups.map((group) => units.chunk(rangeOf(group), group));
  }

  #page(position: Position): Promise<PageOutput> {
    const { plan, range, keyId } = this.#options;
    const limit = this.#pageSize;
    return callActivity(
      ACTIVITIES.page,
      {
        keyId: keyId(),
        jobId: plan.jobId,
        source: this.#sliced(position, limit),
        recordId: plan.recordId,
        range,
        position,
        limit,
        recordsPerChunk: plan.call.kind === 'endpoint' ? plan.recordsPerActivity : 1,
      },
      { ...CONTROL, activityId: controlId('page', position.offset), summary: `records from line ${position.line}` },
    );
  }

  /** Of an inline source, the records of this page, each at its own index. */
  #sliced({ offset }: Position, limit: number): LimitedPlan['source'] {
    const { plan, range, inlineOffset = 0 } = this.#options;
    if (plan.source.kind !== 'inline') return plan.source;
    const records = plan.source.records.slice(
      offset - inlineOffset,
      Math.min(offset + limit, range.end) - inlineOffset,
    );
    return { kind: 'inline', records };
  }

  /** Of a reader's page. Until the next one is asked for, nothing else ends a history that grows too large. */
  #readerRecordsMax(): number {
    const { plan } = this.#options;
    const { historyBytes, unitsPerReaderPage } = limitsOf(plan);
    const units = Math.floor((2 * historyBytes) / (bytesOf({ call: plan.call, source: plan.source }) + EVENT_BYTES));
    const perUnit = plan.call.kind === 'endpoint' ? plan.recordsPerActivity : 1;
    return Math.max(this.#pageSize, Math.min(unitsPerReaderPage, units)) * perUnit;
  }

  /** The user's own reader. The worker's interceptor turns its answer into a page. */
  #own(position: Position): Promise<PageOutput> {
    const { plan, keyId } = this.#options;
    if (plan.source.kind !== 'activity') throw ApplicationFailure.nonRetryable('Not an activity source.');
    const { activity, args } = plan.source;
    const limit = this.#pageSize;
    const besideCall = Math.max(0, CARRIED_BYTES_MAX - bytesOf({ call: plan.call, args }));
    const reader = {
      recordId: plan.recordId,
      offset: position.offset,
      pageBytesMax: plan.recordsPerActivity === 1 ? CARRIED_BYTES_MAX : besideCall,
      recordBytesMax: besideCall,
      pageRecordsMax: this.#readerRecordsMax(),
      cursorBytesMax: Math.max(0, CARRIED_BYTES_MAX - bytesOf(plan)),
    };
    const header = { keyId: keyId(), jobId: plan.jobId, reader };
    const acts = proxyActivities({
      ...CONTROL,
      startToCloseTimeout: 5 * 60_000,
      scheduleToCloseTimeout: 60 * 60_000,
      activityId: controlId('read', position.offset),
      summary: `records from number ${position.line}`,
      cancellationType: 'WAIT_CANCELLATION_COMPLETED',
      allowEagerDispatch: false,
    });
    return runWithVault({ header: () => header, inFlight: 0 }, async () => {
      const answer: unknown = await acts[activity]?.({ cursor: position.cursor ?? null, limit, args });
      const page = answer as Partial<PageOutput> | null | undefined;
      if (Array.isArray(page?.refs) && page.next !== undefined) return page as PageOutput;
      throw ApplicationFailure.nonRetryable(
        `The worker that ran "${activity}" has no KeybrakePlugin: add new KeybrakePlugin() to its plugins.`,
        'keybrake.no_context',
      );
    });
  }
}

function rangeOf(refs: readonly RecordRef[]): ShardRange {
  const { offset = 0, line = 1 } = refs[0] ?? {};
  return { index: 0, start: offset, end: offset + refs.length, firstLine: line, records: refs.length };
}
