/** The results file: one line for each record of the source, in its order, whatever became of it. */
import { randomUUID } from 'node:crypto';
import { open, rename, rm, type FileHandle } from 'node:fs/promises';
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

/** Writes `plan.results` whole or not at all, and answers the counts. Doing it again replaces the file. */
export async function writeResults(request: ResultsRequest, env: SourceEnv): Promise<ResultsWritten> {
  const { plan } = request;
  const path = plan.results?.path ?? 'results.ndjson';
  const target = await resolveResults(path, 'path' in plan.source ? plan.source.path : null, env);
  const temporary = join(dirname(target), `.${basename(target)}.${randomUUID()}.tmp`);
  const file = await open(temporary, 'wx');
  try {
    const records = await writeLines(file, resultLines(request, env));
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

/** The lines of the results file, without writing them. */
export async function* resultLines(
  { plan, keyId, calls, exceptions, items }: ResultsRequest,
  env: SourceEnv,
): AsyncGenerator<ResultLine> {
  const ledger = await gather(calls, keyId);
  for await (const item of items ?? itemsOf(plan, env)) {
    const { id, offset } = item.ref;
    const entry = id === null ? undefined : ledger.get(activityIdFor(id));
    if (entry === undefined) {
      yield { record_id: id, line: item.ref.line, ...unsent(item, plan, exceptions?.get(offset)) };
      continue;
    }
    const decision = decide(entry.rows, offset, entry.formerOwner);
    const nothingSent = decision.result.outcome === 'not_started';
    const own = nothingSent ? unsent(item, plan, exceptions?.get(offset)) : sent(decision, entry.rows, offset);
    claim(entry, offset);
    yield { record_id: id, line: item.ref.line, ...own };
  }
}

interface Entry {
  rows: OutcomeRow[];
  /** The first record of the source with this id: owns what a former run did, when this run did not come so far. */
  formerOwner: number | null;
}

async function gather(calls: AsyncIterable<CallView>, keyId: string | null): Promise<ReadonlyMap<string, Entry>> {
  const ledger = new Map<string, Entry>();
  // Codes repeat; one string for all of them saves memory.
  const codes = new Map<string, string>();
  for await (const call of calls) {
    if (call.record_id === null) continue;
    const row = toOutcomeRow(call, keyId);
    const code = row.code === null ? null : (codes.get(row.code) ?? row.code);
    if (code !== null) codes.set(code, code);
    const entry = ledger.get(call.record_id);
    if (entry === undefined) ledger.set(call.record_id, { rows: [{ ...row, code }], formerOwner: null });
    else addRow(entry.rows, { ...row, code });
  }
  return ledger;
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
