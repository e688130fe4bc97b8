/** Sources of records: `prepare` looks at one once and plans it; the readers read the planned parts again. */
import type { FileHandle } from 'node:fs/promises';
import { isUtf8 } from 'node:buffer';
import { ApplicationFailure } from '@temporalio/common';
import type { VendorView } from '../../proxy/endpoints';
import type { Plan, PlannedSource, ShardRange } from '../contract/plan';
import { FAILURES } from '../codes';
import { parseInput, type DraftSource, type PlanDraft, type RunFacts } from '../input';
import { invalidInput, nearest } from '../inputIssues';
import { fieldsIn } from '../template';
import { checkWritable, openSource, resolveResults, type SourceEnv } from './paths';
import { chunksOf, sourceChanged } from './read';
import { readBytes, readColumns, RECORD_BYTES_MAX } from './record';
import { createScanner, type FileFormat, type Span } from './scanner';
import { ShardPlanner } from './shards';

export type { SourceEnv } from './paths';
export type { SourceItem } from './record';
export { pageOf, readChunks, readPage, readRange, readRecord, type Range, type ReadableSource } from './read';

const CHUNK_BYTES = 1 << 20;
const BOM = Buffer.from([0xef, 0xbb, 0xbf]);
const COLUMNS_NAMED_MAX = 50;

/** Checks the raw input, against the vendors too where they are known, streams the source once and answers the plan of the run. */
export async function prepare(
  raw: unknown,
  facts: RunFacts,
  env: SourceEnv,
  vendors?: readonly VendorView[],
): Promise<Plan> {
  const draft = parseInput(raw, facts, vendors);
  const planned = await planSource(draft.source, draft, env);
  if (draft.results !== null) await checkResults(draft.results.path, draft.source, env);
  return { ...draft, ...planned };
}

/** Better told now than when the money is spent. */
async function checkResults(path: string, source: DraftSource, env: SourceEnv): Promise<void> {
  try {
    await checkWritable(await resolveResults(path, 'path' in source ? source.path : null, env), env);
  } catch (error) {
    if (!(error instanceof ApplicationFailure) || error.type !== FAILURES.sourceMissing) throw error;
    const wayOut = 'Make it on every worker, then start the run again.';
    const message = `its folder is not there, in ${env.sourceDir} of worker ${env.host}. ${wayOut}`;
    throw invalidInput([{ path: 'results.path', message }]);
  }
}

type PlannedRecords = Pick<Plan, 'source' | 'records' | 'shards'>;

async function planSource(source: DraftSource, draft: PlanDraft, env: SourceEnv): Promise<PlannedRecords> {
  if (source.kind === 'inline') {
    const planner = new ShardPlanner();
    for (const index of source.records.keys()) planner.add(index, index + 1);
    return { source, records: source.records.length, shards: planner.finish(source.records.length) };
  }
  // Only the user's reader knows how many records there are; its cursor says where a page begins.
  if (source.kind === 'activity') return { source, records: null, shards: [OPEN_ENDED] };
  return planFile(source.kind, source.path, draft, env);
}

const OPEN_ENDED: ShardRange = { index: 0, start: 0, end: Number.MAX_SAFE_INTEGER, firstLine: 1, records: 0 };

async function planFile(kind: FileFormat, path: string, draft: PlanDraft, env: SourceEnv): Promise<PlannedRecords> {
  const file = await openSource(path, env);
  try {
    const { size: sizeBytes, mtimeMs } = await file.stat();
    const measured = await measure(file, { kind, path }, sizeBytes);
    const after = await file.stat();
    if (after.size !== sizeBytes || after.mtimeMs !== mtimeMs) {
      throw sourceChanged({ kind, path }, 'it was written to while it was read');
    }
    const header = kind === 'csv' ? await readHeader(file, measured.first) : [];
    if (kind === 'jsonl') await checkFirstObject(file, measured.first);
    else if (measured.first !== null) checkFields(header, draft);
    const source: PlannedSource = { kind, path, sizeBytes, mtimeMs, header };
    return { source, records: measured.records, shards: measured.shards };
  } finally {
    await file.close();
  }
}

interface Measured {
  /** The first JSON line, or the CSV header; null in an empty file. */
  readonly first: Span | null;
  readonly records: number;
  readonly shards: readonly ShardRange[];
}

/** Reads the file once, by byte, in constant memory. */
async function measure(
  file: FileHandle,
  { kind, path }: { readonly kind: FileFormat; readonly path: string },
  sizeBytes: number,
): Promise<Measured> {
  const start = await bomLength(file);
  const scanner = createScanner(kind, { offset: start, line: 1 });
  const planner = new ShardPlanner();
  let first: Span | null = null;
  let records = 0;
  const emit = (span: Span): void => {
    const isHeader = kind === 'csv' && first === null;
    first ??= span;
    if (isHeader) return;
    records += 1;
    planner.add(span.offset, span.line);
  };
  for await (const chunk of chunksOf(file, { kind, path }, { start, end: sizeBytes }, CHUNK_BYTES))
    scanner.push(chunk, emit);
  scanner.end(emit);
  if (scanner.malformed !== undefined) {
    const { line, reason } = scanner.malformed;
    throw invalidInput([{ path: 'source.path', message: `is not valid CSV: line ${line}: ${reason}` }]);
  }
  return { first, records, shards: planner.finish(sizeBytes) };
}

async function bomLength(file: FileHandle): Promise<number> {
  const start = Buffer.alloc(BOM.length);
  await file.read(start, 0, BOM.length, 0);
  return start.equals(BOM) ? BOM.length : 0;
}

async function bytesOf(file: FileHandle, { offset, length }: Span): Promise<Buffer | null> {
  if (length > RECORD_BYTES_MAX) return null;
  const bytes = Buffer.alloc(length);
  await file.read(bytes, 0, length, offset);
  return bytes;
}

/** A file whose first line is no JSON object is another kind of file; a later line fails alone. */
async function checkFirstObject(file: FileHandle, first: Span | null): Promise<void> {
  if (first === null) return;
  const read = readBytes(await bytesOf(file, first), { kind: 'jsonl', header: [] });
  if (!read.ok) {
    const message = `is not a file of JSON lines: line ${first.line} ${read.reason}`;
    throw invalidInput([{ path: 'source.path', message }]);
  }
}

async function readHeader(file: FileHandle, first: Span | null): Promise<readonly string[]> {
  if (first === null) return [];
  const bytes = await bytesOf(file, first);
  const read = bytes === null ? { ok: false as const, reason: 'is too long for a header' } : readColumns(bytes);
  const problem = read.ok ? headerProblem(read.value, bytes) : read.reason;
  if (problem !== undefined || !read.ok) {
    throw invalidInput([{ path: 'source.path', message: `line ${first.line}, the header, ${problem ?? ''}` }]);
  }
  return read.value;
}

function headerProblem(header: readonly string[], bytes: Buffer | null): string | undefined {
  if (bytes !== null && !isUtf8(bytes)) return 'is not UTF-8';
  const empty = header.findIndex((name) => name.trim() === '');
  if (empty !== -1) return `has no name for column ${empty + 1}`;
  if (header.some((name) => name.includes('\r'))) return 'holds a carriage return: end lines with LF or CRLF';
  const twice = header.findIndex((name, index) => header.indexOf(name) !== index);
  return twice === -1 ? undefined : `has two columns ${JSON.stringify(header[twice])}`;
}

const NO_NAMES = 'Its first line does not look like the names of columns, which a CSV begins with.';

/**
 * Without a header the first line is a record, or no CSV at all: what it holds must not get into a message, which ends
 * up in the workflow's history.
 */
function areNames(header: readonly string[]): boolean {
  return header.length > 1 && header.every((name) => /^[\p{L}_][\p{L}\p{M}\p{N} _.:/()#-]{0,39}$/u.test(name));
}

/** Every field that the input names must be a column. */
function checkFields(header: readonly string[], { recordId, call }: PlanDraft): void {
  const { path, params } = call.kind === 'endpoint' ? call : { path: '', params: {} };
  const named = [
    { path: 'recordId', field: recordId },
    ...fieldsIn(path, 'call.endpoint'),
    ...fieldsIn(params, 'call.params'),
  ];
  const told = areNames(header) ? `Columns: ${header.slice(0, COLUMNS_NAMED_MAX).join(', ')}` : NO_NAMES;
  const issues = named
    .filter(({ field }) => !header.includes(field))
    .map(({ path: where, field }) => {
      const meant = areNames(header) ? nearest(field, header) : undefined;
      const hint = meant === undefined ? '' : ` Did you mean "${meant}"?`;
      return { path: where, message: `"${field}" is not a column of the source.${hint} ${told}` };
    });
  if (issues.length > 0) throw invalidInput(issues);
}
