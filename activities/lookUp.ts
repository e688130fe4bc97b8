/** `keybrake.lookUp`: what became of records whose activity ended without an answer, by the ledger's call rows. */
import { ApplicationFailure } from '@temporalio/common';
import { noOutcomes, type RecordRef } from './contract/plan';
import { activityIdFor } from './recordKeys';
import { outcomeInLedger } from './recordCall';
import type { Runtime } from './runtime';
import { readRange } from './sources';
import type { Counts, LookUpInput } from './types';

const LANES = 10;

export async function lookUp(runtime: Runtime, input: LookUpInput): Promise<Counts> {
  const counts = noOutcomes();
  const refs = refsOf(runtime, input);
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

async function* refsOf({ env }: Runtime, { refs, range, source, recordId }: LookUpInput): AsyncGenerator<RecordRef> {
  yield* refs ?? [];
  if (range === undefined) return;
  if (source.kind === 'activity')
    throw ApplicationFailure.nonRetryable('Records of a reader are looked up one by one.');
  const { start, end, firstLine } = range;
  for await (const { ref } of readRange(source, { start, end, line: firstLine }, recordId, env)) yield ref;
}
