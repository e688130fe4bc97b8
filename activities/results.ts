/** The results file: one line for each record of the source, in its order, whatever became of it. */
import { createHash, randomUUID } from 'node:crypto';
import { open, readdir, rename, rm, type FileHandle } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { MICROS_PER_USD, microsToUsd, type CallView } from '../proxy/contract';
import {
  noOutcomes,
  type Outcome,
  type OutcomeCounts,
  type Plan,
  type PlannedCall,
  type RecordResult,
} from './contract/plan';
import { decide, toOutcomeRow, type Decision, type OutcomeRow } from './outcome';
import { discard, merged, Partitions } from './partitions';
import { activityIdFor } from './recordKeys';
import { resolveResults, type SourceEnv } from './sources/paths';
import { readRange } from './sources/read';
import type { SourceItem } from './sources/record';
import { renderCall } from './template';

export { contextOf, outcomeOf, type OutcomeQuestion } from './outcome';

const WRITE_CHARS = 256 * 1024;

/** One line of the results file. `cost_usd` is what this run paid, so that the column adds up to its spend. */
export interface ResultLine {
  readonly record_id: string | null;
  readonly line: number;
  readonly outcome: Outcome;
  readonly code?: string;
  readonly reason?: string;
  readonly call_id?: string;
  readonly vendor_id?: string;
  readonly cost_usd?: number;
  readonly http_status?: number;
}

/** What of a plan is needed. With `call`, records that were never started and never could be are told apart. */
export type ResultsPlan = Pick<Plan, 'source' | 'shards' | 'recordId' | 'results'> & { readonly call?: PlannedCall };

export interface ResultsRequest {
  readonly plan: ResultsPlan;
  /** This run's key; null when none was issued. */
  readonly keyId: string | null;
  /** Every row of the job, of its former runs too. */
  readonly calls: AsyncIterable<CallView>;
  /** Records that ended without a call row, by offset: those that their own activity failed before it called. */
  readonly exceptions?: ReadonlyMap<number, RecordResult>;
  /** The records of a source that only the user's own reader can read. */
  readonly items?: AsyncIterable<SourceItem>;
}

export interface ResultsWritten {
  readonly path: string;
  readonly total: number;
  readonly records: OutcomeCounts;
}

/** Rows of a job up to which all of them are kept in memory, about 400 bytes each. */
const ROWS_IN_MEMORY = 50_000;
const PARTS = 64;

/** Writes `plan.results` whole or not at all, and answers the counts. Doing it again replaces the file. */
export async function writeResults(
  request: ResultsRequest,
  env: SourceEnv,
  rowsInMemory = ROWS_IN_MEMORY,
): Promise<ResultsWritten> {
  const { plan } = request;
  const path = plan.results?.path ?? 'results.ndjson';
  const target = await resolveResults(path, 'path' in plan.source ? plan.source.path : null, env);
  // Beside the longest name that a file system takes there is no room for more.
  const ofRun = join(dirname(target), `.keybrake-results.${digest(`${basename(target)}/${request.keyId ?? ''}`)}.`);
  await removeFormer(ofRun);
  const temporary = `${ofRun}${randomUUID().slice(0, 8)}.tmp`;
  const file = await open(temporary, 'wx');
  try {
    const records = await writeLines(file, resultLines(request, env, { folder: `${temporary}.parts`, rowsInMemory }));
    await file.sync();
    await file.close();
    await rename(temporary, target);
    return { path, total: Object.values(records).reduce((sum, count) => sum + count, 0), records };
  } catch (error) {
    await file.close().catch(() => undefined);
    await rm(temporary, { force: true });
    throw error;
  }
}

/**
 * Removes what former attempts of the run have left: a worker that was killed, and one that was lost but lives on, which
 * must not replace what is newer. Without its file it cannot.
 */
async function removeFormer(ofRun: string): Promise<void> {
  const folder = dirname(ofRun);
  const left = (await readdir(folder)).filter((name) => name.startsWith(basename(ofRun)));
  await Promise.all(left.map((name) => rm(join(folder, name), { recursive: true, force: true })));
}

function digest(text: string): string {
  return createHash('sha256').update(text).digest('hex').slice(0, 12);
}

/** Where the rows go of which there are more than memory should hold. */
interface Spill {
  readonly folder: string;
  readonly rowsInMemory: number;
}

/** One line for each record. The rows of a small job are held in memory, those of a large one a part at a time. */
async function* resultLines(request: ResultsRequest, env: SourceEnv, spill: Spill): AsyncGenerator<ResultLine> {
  const { plan, keyId, calls, exceptions, items } = request;
  const records = recordsOf(items ?? itemsOf(plan, env), plan, exceptions);
  const rows = rowsOf(calls, keyId);
  const first: KeyedRow[] = [];
  // Not `for await`: to leave it would end the sequence.
  for (let next = await rows.next(); next.done !== true; next = await rows.next()) {
    first.push(next.value);
    if (first.length > spill.rowsInMemory) break;
  }
  if (first.length <= spill.rowsInMemory) {
    const ledger = new Rows();
    for (const row of first) ledger.add(row);
    for await (const record of records) yield lineOf(record, ledger);
    return;
  }
  try {
    yield* linesInParts(records, chained(first, rows), spill.folder);
  } finally {
    await discard(spill.folder);
  }
}

interface Numbered<T> {
  readonly n: number;
  readonly it: T;
}

/** The same lines: rows and records are cut by record id, each part is decided by itself, and the lines are merged. */
async function* linesInParts(
  records: AsyncIterable<SourceRecord>,
  rows: AsyncIterable<KeyedRow>,
  folder: string,
): AsyncGenerator<ResultLine> {
  const ofRows = await Partitions.open<KeyedRow>(folder, 'rows', PARTS);
  const ofRecords = await Partitions.open<Numbered<SourceRecord>>(folder, 'records', PARTS);
  const ofLines = await Partitions.open<Numbered<ResultLine>>(folder, 'lines', PARTS);
  try {
    for await (const row of rows) await ofRows.write(ofRows.partOf(row.id), row);
    let n = 0;
    for await (const record of records) {
      await ofRecords.write(ofRecords.partOf(record.activityId ?? ''), { n, it: record });
      n += 1;
    }
    await ofRows.close();
    await ofRecords.close();
    for (let part = 0; part < PARTS; part += 1) {
      const ledger = new Rows();
      for await (const row of ofRows.read(part)) ledger.add(row);
      for await (const { n: at, it } of ofRecords.read(part))
        await ofLines.write(part, { n: at, it: lineOf(it, ledger) });
    }
    await ofLines.close();
    const parts = Array.from({ length: PARTS }, (_, part) => ofLines.read(part));
    for await (const { it } of merged(parts, ({ n: at }) => at)) yield it;
  } finally {
    for (const set of [ofRows, ofRecords, ofLines]) await set.abandon();
  }
}

/** A record of the source, and what is said of it when the ledger has no call of it. */
interface SourceRecord {
  readonly id: string | null;
  readonly activityId: string | null;
  readonly line: number;
  readonly offset: number;
  readonly unsent: Told;
}

async function* recordsOf(
  items: AsyncIterable<SourceItem>,
  plan: ResultsPlan,
  exceptions: ResultsRequest['exceptions'],
): AsyncGenerator<SourceRecord> {
  for await (const item of items) {
    const { id, line, offset } = item.ref;
    const activityId = id === null ? null : (item.ref.activityId ?? activityIdFor(id));
    yield { id, activityId, line, offset, unsent: unsent(item, plan, exceptions?.get(offset)) };
  }
}

function lineOf({ id, activityId, line, offset, unsent: otherwise }: SourceRecord, ledger: Rows): ResultLine {
  const entry = activityId === null ? undefined : ledger.of(activityId);
  if (entry === undefined) return { record_id: id, line, ...otherwise };
  const decision = decide(entry.rows, offset, entry.formerOwner);
  const told = decision.result.outcome === 'not_started' ? otherwise : sent(decision, entry.rows, offset);
  claim(entry, offset);
  return { record_id: id, line, ...told };
}

/** A row and the record id that it was called with. */
interface KeyedRow {
  readonly id: string;
  readonly row: OutcomeRow;
}

async function* rowsOf(calls: AsyncIterable<CallView>, keyId: string | null): AsyncGenerator<KeyedRow> {
  for await (const call of calls) {
    if (call.record_id !== null) yield { id: call.record_id, row: toOutcomeRow(call, keyId) };
  }
}

async function* chained<T>(first: Iterable<T>, rest: AsyncIterable<T>): AsyncGenerator<T> {
  yield* first;
  yield* rest;
}

interface Entry {
  rows: OutcomeRow[];
  /** The first record of the source with this id: owns what a former run did, when this run did not come so far. */
  formerOwner: number | null;
}

/** The rows of a job, or of a part of it, by record id. */
class Rows {
  readonly #entries = new Map<string, Entry>();
  // Codes and routes repeat; one string for all of them saves memory.
  readonly #texts = new Map<string, string>();

  add({ id, row: { code, route, ...rest } }: KeyedRow): void {
    const row = { ...rest, code: code === null ? null : this.#once(code), route: this.#once(route) };
    const entry = this.#entries.get(id);
    if (entry === undefined) this.#entries.set(id, { rows: [row], formerOwner: null });
    else addRow(entry.rows, row);
  }

  of(id: string): Entry | undefined {
    return this.#entries.get(id);
  }

  #once(text: string): string {
    const known = this.#texts.get(text);
    if (known === undefined) this.#texts.set(text, text);
    return known ?? text;
  }
}

/** Keeps of repeated refusals or replays of one record the newest, with the time of the first. */
function addRow(rows: OutcomeRow[], row: OutcomeRow): void {
  const repeats = row.state === 'refused' || row.state === 'replayed';
  const index = repeats
    ? rows.findIndex(({ state, own, offset }) => state === row.state && own === row.own && offset === row.offset)
    : -1;
  const known = rows[index];
  if (known === undefined) rows.push(row);
  else rows[index] = { ...row, createdAt: Math.min(known.createdAt, row.createdAt) };
}

/** Calls whose caller gave no offset belong to the first record with their id. */
function claim(entry: Entry, offset: number): void {
  entry.formerOwner ??= offset;
  if (entry.rows.some((row) => row.offset === null)) {
    entry.rows = entry.rows.map((row) => (row.offset === null ? { ...row, offset } : row));
  }
}

type Told = Omit<ResultLine, 'record_id' | 'line'>;

/** A record without a call: invalid, or as its activity said, or never started. */
function unsent({ ref, record }: SourceItem, { call }: ResultsPlan, exception: RecordResult | undefined): Told {
  if (exception !== undefined) return exception;
  if (ref.id === null) return { outcome: 'failed', code: 'invalid_record', reason: ref.reason ?? 'has no record id' };
  // Of what the user's own activity did beside its calls, the ledger knows nothing.
  if (call?.kind === 'activity') return { outcome: 'not_started', reason: 'no call under its id is in the ledger' };
  const rendered = call?.kind === 'endpoint' && record !== undefined ? renderCall(call, record) : undefined;
  if (rendered === undefined || rendered.ok) return { outcome: 'not_started' };
  return { outcome: 'failed', code: 'invalid_record', reason: `"${rendered.field}" ${rendered.reason}` };
}

function sent({ result, row }: Decision, rows: readonly OutcomeRow[], offset: number): Told {
  const mine = rows.filter((other) => other.own && (other.offset === null || other.offset === offset));
  const costs = mine.flatMap(({ costUsd }) => (costUsd === null ? [] : [Math.round(costUsd * MICROS_PER_USD)]));
  const costMicros = costs.reduce((sum, micros) => sum + micros, 0);
  return {
    ...result,
    ...(row !== null && { call_id: row.callId }),
    ...(row !== null && row.vendorId !== null && { vendor_id: row.vendorId }),
    ...(costs.length > 0 && { cost_usd: microsToUsd(costMicros) }),
    ...(row !== null && row.status !== null && { http_status: row.status }),
  };
}

async function* itemsOf({ source, shards, recordId }: ResultsPlan, env: SourceEnv): AsyncGenerator<SourceItem> {
  if (source.kind === 'activity') throw new TypeError('The items of a source with a reader of its own must be given.');
  for (const { start, end, firstLine } of shards) {
    yield* readRange(source, { start, end, line: firstLine }, recordId, env);
  }
}

async function writeLines(file: FileHandle, lines: AsyncIterable<ResultLine>): Promise<OutcomeCounts> {
  const counts = noOutcomes();
  let text = '';
  for await (const line of lines) {
    counts[line.outcome] += 1;
    text += `${JSON.stringify(line)}\n`;
    if (text.length < WRITE_CHARS) continue;
    await file.writeFile(text);
    text = '';
  }
  await file.writeFile(text);
  return counts;
}
