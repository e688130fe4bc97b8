/** `keybrake.page`: references of the next records, or ranges of chunks. Also the pages of users' own readers. */
import { ApplicationFailure } from '@temporalio/common';
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
export function pageOfReader(answer: unknown, { recordId, offset }: ReaderPointer, activity: string): PageOutput {
  const { records, nextCursor } = (answer ?? {}) as { records?: unknown; nextCursor?: unknown };
  if (!Array.isArray(records)) {
    throw ApplicationFailure.nonRetryable(
      `The reader "${activity}" must answer { records: [objects], nextCursor }, with a nextCursor of null at the end.`,
      FAILURES.invalidInput,
    );
  }
  const refs = allOf(records, offset, recordId);
  const end = offset + refs.length;
  const atEnd = nextCursor === null || nextCursor === undefined;
  return { refs, next: atEnd ? null : { offset: end, line: end + 1, cursor: nextCursor } };
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
