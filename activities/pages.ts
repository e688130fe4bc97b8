/** `keybrake.page`: references of the next records, or ranges of chunks. Also the pages of users' own readers. */
import { ApplicationFailure } from '@temporalio/common';
import { CARRIED_BYTES_MAX } from './contract/limits';
import type { RecordRef } from './contract/plan';
import type { ReaderPointer } from './contract/headers';
import { FAILURES } from './codes';
import { pageOf, readChunks, readPage, type SourceEnv } from './sources';
import type { PageInput, PageOutput } from './types';

export async function page(env: SourceEnv, input: PageInput): Promise<PageOutput> {
  const { source, position, range, limit, recordId, recordsPerChunk } = input;
  const limits = { limit, end: range.end };
  if (source.kind === 'activity') throw ApplicationFailure.nonRetryable('The pages of a reader come from the reader.');
  if (source.kind === 'inline') {
    // The workflow sends the records of this page alone.
    const { refs, next } = pageOf(source.records, position.offset, { limit, recordId });
    const end = position.offset + refs.length;
    return { refs, next: next ?? (end < range.end ? { offset: end, line: position.line + refs.length } : null) };
  }
  if (recordsPerChunk === 1) return readPage(source, position, { ...limits, recordId }, env);
  return { refs: [], ...(await readChunks(source, position, { ...limits, recordsPerChunk }, env)) };
}

/** The answer of a user's reader, `{ records, nextCursor }`, as a page. */
export function pageOfReader(answer: unknown, reader: ReaderPointer, activity: string): PageOutput {
  const { recordId, offset } = reader;
  const { records, nextCursor } = (answer ?? {}) as { records?: unknown; nextCursor?: unknown };
  if (!Array.isArray(records)) {
    throw ApplicationFailure.nonRetryable(
      `The reader "${activity}" must answer { records: [objects], nextCursor }, with a nextCursor of null at the end.`,
      FAILURES.invalidInput,
    );
  }
  const refs = inJson(() => allOf(records, offset, recordId), activity);
  const cursor = inJson(() => JSON.stringify(nextCursor) ?? '', activity);
  const excess = excessOf(refs, Buffer.byteLength(cursor), reader);
  if (excess !== undefined) {
    throw ApplicationFailure.nonRetryable(`The reader "${activity}" answered ${excess}.`, FAILURES.invalidInput);
  }
  const end = offset + refs.length;
  const atEnd = nextCursor === null || nextCursor === undefined;
  return { refs, next: atEnd ? null : { offset: end, line: end + 1, cursor: nextCursor } };
}

/** What JSON cannot hold, a BigInt of a database's say, no other attempt can either. */
function inJson<T>(write: () => T, activity: string): T {
  try {
    return write();
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    const message = `The reader "${activity}" answered what JSON cannot hold: ${error.message}`;
    throw ApplicationFailure.nonRetryable(message, FAILURES.invalidInput);
  }
}

/** What of a page is beyond what Temporal takes: the page or a call could never be made, and would be tried for ever. */
function excessOf(
  refs: readonly RecordRef[],
  cursorBytes: number,
  {
    pageBytesMax = CARRIED_BYTES_MAX,
    recordBytesMax = CARRIED_BYTES_MAX,
    pageRecordsMax = Number.POSITIVE_INFINITY,
    cursorBytesMax = CARRIED_BYTES_MAX,
  }: ReaderPointer,
): string | undefined {
  const fewer = 'answer fewer records at a time';
  if (refs.length > pageRecordsMax) {
    return `a page of ${refs.length} records, and at most ${pageRecordsMax} fit into a history at once: ${fewer}`;
  }
  if (cursorBytes > cursorBytesMax) {
    return `a nextCursor of ${cursorBytes} bytes, and at most ${cursorBytesMax} fit beside the run's plan`;
  }
  const sizes = refs.map((ref) => Buffer.byteLength(JSON.stringify(ref)));
  const wide = sizes.findIndex((size) => size > recordBytesMax);
  if (wide !== -1) {
    const line = refs[wide]?.line ?? 0;
    return `record ${line}, of ${sizes[wide]} bytes, and at most ${recordBytesMax} fit beside its call`;
  }
  const bytes = sizes.reduce((sum, size) => sum + size, cursorBytes);
  return bytes > pageBytesMax ? `a page of ${bytes} bytes, and at most ${pageBytesMax} fit: ${fewer}` : undefined;
}

/** `pageOf` ends a page early when it is large; what a reader has answered is here to stay. */
function allOf(records: readonly unknown[], offset: number, recordId: string): RecordRef[] {
  const refs: RecordRef[] = [];
  while (refs.length < records.length) {
    const { length } = refs;
    refs.push(...pageOf(records.slice(length), offset + length, { limit: records.length, recordId }).refs);
  }
  return refs;
}
