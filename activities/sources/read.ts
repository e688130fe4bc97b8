/** Reading a planned source again: a page of references, one record, or a whole range in constant memory. */
import type { FileHandle } from 'node:fs/promises';
import { ApplicationFailure } from '@temporalio/common';
import type { PlannedSource, RecordPage, RecordRef, ShardRange } from '../contract/plan';
import { FAILURES } from '../codes';
import type { SourceRecord } from '../fields';
import { openSource, type SourceEnv } from './paths';
import { isRecord, readBytes, RECORD_BYTES_MAX, toItem, type Read, type SourceItem } from './record';
import { createScanner, type FileFormat, type Position, type Span } from './scanner';
import { ShardPlanner } from './shards';

/** A page goes through the history, so it stays well below Temporal's warning at 256 KB. */
export const PAGE_BYTES_MAX = 100_000;
const CHUNK_BYTES = 256 * 1024;
/** Pages are short: they read less ahead. */
const PAGE_CHUNK_BYTES = 64 * 1024;

export type FileSource = Extract<PlannedSource, { kind: FileFormat }>;
type InlineSource = Extract<PlannedSource, { kind: 'inline' }>;
export type ReadableSource = FileSource | InlineSource;

/** A part of a source that begins at a record boundary; a `ShardRange` is one, with its `firstLine` as `line`. */
export interface Range {
  readonly start: number;
  /** Exclusive. */
  readonly end: number;
  readonly line: number;
}

/** What a page or a list of chunks is to hold. */
export interface PageLimits {
  readonly limit: number;
  /** Exclusive end of the range. */
  readonly end: number;
}

/** The references of up to `limit` records from `cursor` on, fewer when the ids are long. */
export async function readPage(
  source: ReadableSource,
  cursor: Position,
  { limit, end, recordId }: PageLimits & { readonly recordId: string },
  env: SourceEnv,
): Promise<RecordPage> {
  if (source.kind === 'inline') {
    return pageOf(source.records.slice(cursor.offset, end), cursor.offset, { limit, recordId });
  }
  const refs: RecordRef[] = [];
  let bytes = 0;
  const range = { start: cursor.offset, end, line: cursor.line };
  for await (const { ref } of itemsOf(source, range, recordId, env, PAGE_CHUNK_BYTES)) {
    bytes += jsonBytes(ref);
    if (isFull(refs, bytes, limit)) return { refs, next: { offset: ref.offset, line: ref.line } };
    refs.push(ref);
  }
  return { refs, next: null };
}

/** The page of records that are at hand: inline, or from the user's own reader. `first` is the index of the first. */
export function pageOf(
  records: readonly unknown[],
  first: number,
  { limit, recordId }: { readonly limit: number; readonly recordId: string },
): RecordPage {
  const refs: RecordRef[] = [];
  let bytes = 0;
  for (const [index, value] of records.entries()) {
    const ref = refTo(value, first + index, recordId);
    bytes += jsonBytes(ref);
    if (isFull(refs, bytes, limit)) return { refs, next: { offset: ref.offset, line: ref.line } };
    refs.push(ref);
  }
  return { refs, next: null };
}

/** Up to `limit` ranges of `recordsPerChunk` records each. Nothing is parsed. */
export async function readChunks(
  source: ReadableSource,
  cursor: Position,
  { limit, end, recordsPerChunk }: PageLimits & { readonly recordsPerChunk: number },
  env: SourceEnv,
): Promise<{ readonly chunks: readonly ShardRange[]; readonly next: Position | null }> {
  const planner = new ShardPlanner(recordsPerChunk, Number.POSITIVE_INFINITY);
  let records = 0;
  for await (const places of placesOf(source, { start: cursor.offset, end, line: cursor.line }, env)) {
    for (const { offset, line } of places) {
      if (records === limit * recordsPerChunk) return { chunks: planner.finish(offset), next: { offset, line } };
      planner.add(offset, line);
      records += 1;
    }
  }
  return { chunks: planner.finish(end), next: null };
}

/** The record behind a reference of a page. */
export async function readRecord(source: PlannedSource, ref: RecordRef, env: SourceEnv): Promise<SourceRecord> {
  if (ref.record !== undefined) return ref.record;
  if (source.kind === 'activity') throw new TypeError('A reference to a record of a reader must hold the record.');
  const read = source.kind === 'inline' ? objectOf(source.records[ref.offset]) : await fileRecord(source, ref, env);
  if (!read.ok) throw sourceChanged(source, `line ${ref.line} ${read.reason}`);
  return read.value;
}

/** Every record of a range, in order. Those that cannot be read come with a null id and a reason. */
export function readRange(
  source: ReadableSource,
  range: Range,
  recordId: string,
  env: SourceEnv,
): AsyncGenerator<SourceItem> {
  return itemsOf(source, range, recordId, env, CHUNK_BYTES);
}

interface NamedSource {
  readonly kind: string;
  readonly path?: string;
}

/** The chunks of a part of a file. A file that ends early has changed. */
export async function* chunksOf(
  file: FileHandle,
  source: NamedSource,
  { start, end }: { readonly start: number; readonly end: number },
  chunkBytes: number,
): AsyncGenerator<Buffer> {
  for (let position = start; position < end;) {
    const chunk = Buffer.allocUnsafe(Math.min(chunkBytes, end - position));
    const { bytesRead } = await file.read(chunk, 0, chunk.length, position);
    if (bytesRead === 0) throw sourceChanged(source, `it ends after ${position} bytes`);
    position += bytesRead;
    yield chunk.subarray(0, bytesRead);
  }
}

/** The failure of a source that is no longer what `prepare` saw. */
export function sourceChanged(source: NamedSource, what: string) {
  const name = source.path === undefined ? `The ${source.kind} source` : `The source "${source.path}"`;
  const message = `${name} has changed since the run began: ${what}. Start the run again with the same jobId.`;
  return ApplicationFailure.nonRetryable(message, FAILURES.sourceChanged);
}

async function* itemsOf(
  source: ReadableSource,
  range: Range,
  recordId: string,
  env: SourceEnv,
  chunkBytes: number,
): AsyncGenerator<SourceItem> {
  if (source.kind === 'inline') {
    for (const [index, record] of source.records.slice(range.start, range.end).entries()) {
      const { record: _, ...ref } = refTo(record, range.start + index, recordId);
      yield { ref, ...(isRecord(record) && { record }) };
    }
    return;
  }
  const file = await openUnchanged(source, env);
  try {
    for await (const slices of slicesOf(file, source, range, chunkBytes)) {
      for (const { span, bytes } of slices) {
        const { offset, length, line, nextOffset, nextLine } = span;
        const item = toItem(readBytes(bytes, source), { offset, length, line }, recordId);
        yield { ...item, next: { offset: nextOffset, line: nextLine } };
      }
    }
  } finally {
    await file.close();
  }
}

interface Slice {
  readonly span: Span;
  /** Null: too large to be kept. */
  readonly bytes: Buffer | null;
}

/** Scans a range and hands out the bytes of its records, as many as were read at once, keeping only the unended one. */
async function* slicesOf(
  file: FileHandle,
  source: FileSource,
  { start, end, line }: Range,
  chunkBytes: number,
): AsyncGenerator<readonly Slice[]> {
  const scanner = createScanner(source.kind, { offset: start, line });
  let spans: Span[] = [];
  const emit = (span: Span): number => spans.push(span);
  /** The bytes from `base` on: at least those of the record that has not ended. */
  let kept: Buffer = Buffer.alloc(0);
  let base = start;
  for await (const chunk of chunksOf(file, source, { start, end }, chunkBytes)) {
    scanner.push(chunk, emit);
    const window = kept.length === 0 ? chunk : Buffer.concat([kept, chunk]);
    yield spans.map((span) => ({ span, bytes: cut(window, base, span) }));
    spans = [];
    const from = scanner.recordStart - base;
    const tooLarge = from < 0 || window.length - from > RECORD_BYTES_MAX;
    kept = tooLarge ? Buffer.alloc(0) : window.subarray(from);
    base += tooLarge ? window.length : from;
  }
  scanner.end(emit);
  yield spans.map((span) => ({ span, bytes: cut(kept, base, span) }));
}

function cut(window: Buffer, base: number, { offset, length }: Span): Buffer | null {
  const from = offset - base;
  return from < 0 || length > RECORD_BYTES_MAX ? null : window.subarray(from, from + length);
}

async function fileRecord(
  source: FileSource,
  { offset, length }: Pick<RecordRef, 'offset' | 'length'>,
  env: SourceEnv,
): Promise<Read<SourceRecord>> {
  if (length > RECORD_BYTES_MAX) return readBytes(null, source);
  const { path, sizeBytes, mtimeMs } = source;
  const name = `${sizeBytes}:${mtimeMs}:${path}`;
  return readBytes(
    await env.blocks.read(name, { offset, length }, sizeBytes, (place) => readPlace(source, place, env)),
    source,
  );
}

async function readPlace(
  source: FileSource,
  { offset, length }: Pick<Span, 'offset' | 'length'>,
  env: SourceEnv,
): Promise<Buffer> {
  const file = await openUnchanged(source, env);
  try {
    const chunks: Buffer[] = [];
    for await (const chunk of chunksOf(file, source, { start: offset, end: offset + length }, length))
      chunks.push(chunk);
    return Buffer.concat(chunks);
  } finally {
    await file.close();
  }
}

async function openUnchanged(source: FileSource, env: SourceEnv): Promise<FileHandle> {
  const file = await openSource(source.path, env);
  const { size, mtimeMs } = await file.stat();
  if (size === source.sizeBytes && mtimeMs === source.mtimeMs) return file;
  await file.close();
  throw sourceChanged(
    source,
    size === source.sizeBytes
      ? `it was modified at ${new Date(mtimeMs).toISOString()}, not ${new Date(source.mtimeMs).toISOString()}`
      : `it has ${size} bytes, not ${source.sizeBytes}`,
  );
}

async function* placesOf(source: ReadableSource, range: Range, env: SourceEnv): AsyncGenerator<readonly Position[]> {
  if (source.kind === 'inline') {
    const count = Math.max(0, Math.min(range.end, source.records.length) - range.start);
    yield Array.from({ length: count }, (_, index) => ({ offset: range.start + index, line: range.start + index + 1 }));
    return;
  }
  const file = await openUnchanged(source, env);
  try {
    for await (const slices of slicesOf(file, source, range, CHUNK_BYTES)) yield slices.map(({ span }) => span);
  } finally {
    await file.close();
  }
}

function refTo(value: unknown, index: number, recordId: string): RecordRef {
  const { ref } = toItem(objectOf(value), { offset: index, length: 0, line: index + 1 }, recordId);
  return isRecord(value) ? { ...ref, record: value } : ref;
}

function isFull(refs: readonly RecordRef[], bytes: number, limit: number): boolean {
  return refs.length >= limit || (refs.length > 0 && bytes > PAGE_BYTES_MAX);
}

function jsonBytes(value: unknown): number {
  return Buffer.byteLength(JSON.stringify(value));
}

function objectOf(value: unknown): Read<SourceRecord> {
  return isRecord(value) ? { ok: true, value } : { ok: false, reason: 'is not an object' };
}
