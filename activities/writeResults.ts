/** `keybrake.writeResults`: the results file, out of the source and every call row of the job. */
import { beating } from './beat';
import { called } from './called';
import { writeResults as write } from './results';
import type { Runtime } from './runtime';
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
