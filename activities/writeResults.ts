/** `keybrake.writeResults`: the results file, out of the source and every call row of the job. */
import type { CallView } from '../proxy/contract';
import { beating } from './beat';
import { writeResults as write } from './results';
import type { Runtime } from './runtime';
import type { SourceItem } from './sources';
import type { WriteResultsInput, WrittenResults } from './types';

export async function writeResults(
  { client, env }: Runtime,
  { plan, keyId, jobId }: WriteResultsInput,
): Promise<WrittenResults> {
  const calls = client.streamCalls({ job_id: jobId });
  // Only the reader itself can tell the records that were never called.
  const items = plan.source.kind === 'activity' ? { items: called(client.streamCalls({ key_id: keyId })) } : {};
  const { path, records } = await beating(() => write({ plan, keyId, calls, ...items }, env));
  return { path, records };
}

/** The records of a user's reader that this run called, in the order of their first calls. */
async function* called(calls: AsyncIterable<CallView>): AsyncGenerator<SourceItem> {
  const seen = new Set<string>();
  for await (const { record_id: id, context } of calls) {
    const place = `${id}\0${context}`;
    if (id === null || seen.has(place)) continue;
    seen.add(place);
    const offset = Number(/offset=(\d+)/.exec(context ?? '')?.[1] ?? 0);
    // The ledger has the record id as it went over the wire.
    yield { ref: { id, activityId: id, offset, length: 0, line: offset + 1 } };
  }
}
