/** `keybrake.lookUp`: what became of records whose activity ended without an answer, by the ledger's call rows. */
import { ApplicationFailure } from '@temporalio/common';
import { called } from './called';
import { FAILURES } from './codes';
import { noOutcomes, type RecordRef } from './contract/plan';
import { activityIdFor } from './recordKeys';
import { outcomeInLedger } from './recordCall';
import type { Runtime } from './runtime';
import { readRange } from './sources';
import type { Counts, LookUpInput } from './types';

const LANES = 10;

export async function lookUp(runtime: Runtime, input: LookUpInput): Promise<Counts> {
  const counts = noOutcomes();
  const refs = refsOf(runtime, input, (records) => {
    counts.not_started += records;
  });
  const lane = async (): Promise<void> => {
    for (let next = await refs.next(); next.done !== true; next = await refs.next()) {
      const { id, offset, activityId } = next.value;
      const found =
        id === null
          ? ({ outcome: 'failed' } as const)
          : await outcomeInLedger(runtime, input, activityId ?? activityIdFor(id), offset);
      counts[found.outcome] += 1;
    }
  };
  await Promise.all(Array.from({ length: LANES }, lane));
  return Object.fromEntries(Object.entries(counts).filter(([, count]) => count > 0));
}

/** The records asked about. Of a range that cannot be read, those that were called; `never` is told of the others. */
async function* refsOf(
  { env, client }: Runtime,
  { refs, range, source, recordId, keyId }: LookUpInput,
  never: (records: number) => void,
): AsyncGenerator<RecordRef> {
  yield* refs ?? [];
  if (range === undefined) return;
  const { start, firstLine } = range;
  // How many records a reader has, nobody knows.
  const end = source.kind === 'activity' ? Number.POSITIVE_INFINITY : range.end;
  let records = 0;
  let from = start;
  try {
    if (source.kind !== 'activity') {
      for await (const { ref } of readRange(source, { start, end, line: firstLine }, recordId, env)) {
        records += 1;
        from = ref.offset + 1;
        yield ref;
      }
      return;
    }
  } catch (error) {
    if (!isGone(error)) throw error;
  }
  for await (const { ref } of called(client.streamCalls({ key_id: keyId }))) {
    if (ref.offset < from || ref.offset >= end) continue;
    records += 1;
    yield ref;
  }
  never(Math.max(0, range.records - records));
}

/** It has changed since the run began, or this worker has it no more. */
function isGone(error: unknown): boolean {
  const type = error instanceof ApplicationFailure ? error.type : undefined;
  return type === FAILURES.sourceChanged || type === FAILURES.sourceMissing;
}
