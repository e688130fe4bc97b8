/**
 * `keybrake.callChunk`: many records in one activity, several at a time. It answers counts and why it stopped, and
 * never fails for one record. Its heartbeat is how far it has come without a gap, where a retry goes on; what lies
 * behind that is sent again with the same idempotency keys, so that it is answered and not executed.
 */
import { activityInfo, Context, heartbeat } from '@temporalio/activity';
import { ApplicationFailure } from '@temporalio/common';
import { setMaxListeners } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Outcome, RecordRef, StopCode } from './contract/plan';
import { givenUp, spread, tryRecord } from './callRecord';
import type { Caller } from './recordCall';
import type { Runtime } from './runtime';
import { readRange, type SourceItem } from './sources';
import type { CallChunkInput, CallChunkOutput, CallRecordOutput, ChunkProgress, Counts } from './types';

const BEAT_MS = 1_000;
const BACKOFF_MS = { first: 500, max: 15_000 };

export async function callChunk(runtime: Runtime, input: CallChunkInput): Promise<CallChunkOutput> {
  const { heartbeatDetails, workflowExecution, activityId, attempt } = activityInfo();
  const caller: Caller = { workflowId: workflowExecution?.workflowId ?? '', activityId, attempt };
  const { cancellationSignal } = Context.current();
  const chunk = new Chunk(input, heartbeatDetails as ChunkProgress | undefined, cancellationSignal);
  const items = chunk.items(runtime);
  const beat = setInterval(() => heartbeat(chunk.progress), BEAT_MS);
  try {
    const workers = Array.from({ length: input.concurrency }, () => work({ runtime, input, chunk, items, caller }));
    await Promise.all(workers);
  } finally {
    clearInterval(beat);
    // Closes the source where the chunk ends early.
    await items.return(undefined);
  }
  if (chunk.failure !== undefined) {
    heartbeat(chunk.progress);
    throw chunk.failure.error;
  }
  const interrupted = cancellationSignal.aborted && chunk.stop === undefined && !chunk.whole;
  if (interrupted && !cancelledByRun()) {
    // Where the next attempt goes on. What ends well tells it with its answer.
    heartbeat(chunk.progress);
    throw ApplicationFailure.retryable(
      'This worker was told to stop; the rest goes on elsewhere.',
      'keybrake.interrupted',
    );
  }
  return chunk.output;
}

/** Not by a worker's shutdown, an operator's pause or a reset, after which another attempt goes on. */
function cancelledByRun(): boolean {
  return Context.current().cancellationDetails?.cancelRequested ?? false;
}

interface Lane {
  readonly runtime: Runtime;
  readonly input: CallChunkInput;
  readonly chunk: Chunk;
  readonly items: AsyncGenerator<SourceItem>;
  readonly caller: Caller;
}

/**
 * One of the chunk's lanes: takes the next record when its last has ended. What fails, the source say, ends the others
 * too, each after the call that it has sent: once the activity has failed, nothing of it is under way.
 */
async function work(lane: Lane): Promise<void> {
  const { chunk, items } = lane;
  try {
    while (!chunk.ending.aborted) {
      const next = await items.next();
      if (next.done === true || chunk.ending.aborted) return;
      const slot = chunk.start(next.value);
      const result = await callUntilKnown(lane, next.value);
      if (result !== undefined) chunk.end(slot, result);
    }
  } catch (error) {
    chunk.fail(error);
  }
}

/** Undefined: the chunk was told to end before the record had an outcome. */
async function callUntilKnown(
  { runtime, input, chunk, caller }: Lane,
  { ref, record }: SourceItem,
): Promise<CallRecordOutput | undefined> {
  for (let attempt = 1; ; attempt += 1) {
    const tried = await tryRecord(runtime, input, { ref, record }, caller);
    if ('result' in tried) return tried.result;
    const given = givenUp(tried.again, attempt);
    if (given !== undefined) return given;
    const backoff = Math.min(BACKOFF_MS.max, BACKOFF_MS.first * 2 ** (attempt - 1));
    const { delayMs } = tried.again;
    await sleep(delayMs === null ? backoff : spread(delayMs), undefined, { signal: chunk.ending }).catch(
      () => undefined,
    );
    if (chunk.ending.aborted) return undefined;
  }
}

interface Slot {
  readonly item: SourceItem;
  outcome?: Outcome;
  /** Refused by what stops the whole run: to be sent again if that goes on. */
  stopped?: boolean;
}

/** The records of the chunk that have begun, in order, and what they came to. */
class Chunk {
  readonly #input: CallChunkInput;
  /** From the first record without an outcome on. */
  #open: Slot[] = [];
  #progress: ChunkProgress;
  #stop: StopCode | undefined;
  #failure: { readonly error: unknown } | undefined;

  /** Aborted when nothing more is to be sent: lanes that wait for the vendor's pace must not keep the chunk. */
  readonly ending: AbortSignal;
  readonly #stopped = new AbortController();

  constructor(input: CallChunkInput, resumed: ChunkProgress | undefined, cancelled: AbortSignal) {
    const { start, firstLine } = input.range;
    this.#input = input;
    this.ending = AbortSignal.any([cancelled, this.#stopped.signal]);
    // Each lane listens while it waits.
    setMaxListeners(input.concurrency, this.ending);
    this.#progress = resumed ?? { offset: start, line: firstLine, records: 0, counts: {} };
  }

  get progress(): ChunkProgress {
    return this.#progress;
  }

  get stop(): StopCode | undefined {
    return this.#stop;
  }

  /** Why the chunk can neither go on nor answer. */
  get failure(): { readonly error: unknown } | undefined {
    return this.#stop === undefined ? this.#failure : undefined;
  }

  get whole(): boolean {
    return this.#progress.records >= this.#input.range.records;
  }

  get output(): CallChunkOutput {
    const counts = this.#open.reduce<Counts>((sum, { outcome }) => plus(sum, outcome), this.#progress.counts);
    const lost = this.#open.filter(({ outcome }) => outcome === undefined).map(({ item }) => item.ref);
    const unknown = this.#unknownWith(this.#open);
    return {
      counts,
      progress: this.#progress,
      ...(this.#stop !== undefined && { stop: this.#stop }),
      ...(lost.length > 0 && { lost }),
      ...(unknown.length > 0 && { unknown }),
    };
  }

  /** What is left of the chunk to be sent. */
  items({ env }: Runtime): AsyncGenerator<SourceItem> {
    const { range, source, recordId, refs } = this.#input;
    const { offset, line, records } = this.#progress;
    if (refs !== undefined) return itemsOf(refs.slice(records));
    if (source.kind === 'activity') throw ApplicationFailure.nonRetryable('A chunk of a reader holds its records.');
    return readRange(source, { start: offset, end: range.end, line }, recordId, env);
  }

  start(item: SourceItem): Slot {
    const slot: Slot = { item };
    this.#open.push(slot);
    return slot;
  }

  end(slot: Slot, { outcome, stop }: CallRecordOutput): void {
    slot.outcome = outcome;
    if (stop !== undefined) {
      slot.stopped = true;
      this.#stop ??= stop;
      this.#stopped.abort();
    }
    const settled = this.#open.findIndex(({ outcome: ended, stopped }) => ended === undefined || stopped);
    const done = this.#open.splice(0, settled === -1 ? this.#open.length : settled);
    for (const passed of done) this.#pass(passed);
  }

  fail(error: unknown): void {
    this.#failure ??= { error };
    this.#stopped.abort();
  }

  /** The records to be named, with those of these slots. */
  #unknownWith(slots: readonly Slot[]): readonly RecordRef[] {
    const { unknown = [] } = this.#progress;
    if (this.#input.namesUnknown !== true) return [];
    return [...unknown, ...slots.filter(({ outcome }) => outcome === 'unknown').map(({ item }) => item.ref)];
  }

  #pass(slot: Slot): void {
    const { item, outcome } = slot;
    const { ref, next: behind } = item;
    const { records, counts } = this.#progress;
    const unknown = this.#unknownWith([slot]);
    const next = this.#open[0]?.item.ref ?? behind;
    this.#progress = {
      // What is no file goes on by the number of records.
      offset: next?.offset ?? ref.offset + 1,
      line: next?.line ?? ref.line + 1,
      records: records + 1,
      counts: plus(counts, outcome),
      ...(unknown.length > 0 && { unknown }),
    };
  }
}

async function* itemsOf(refs: readonly RecordRef[]): AsyncGenerator<SourceItem> {
  for (const { record, ...ref } of refs) yield { ref, ...(record !== undefined && { record }) };
}

function plus(counts: Counts, outcome: Outcome | undefined): Counts {
  return outcome === undefined ? counts : { ...counts, [outcome]: (counts[outcome] ?? 0) + 1 };
}
