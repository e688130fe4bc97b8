/** Records that an earlier run of the job has executed with other parameters: paid for, though they read as failed. */
import { decide, isExecutedOtherwise, type OutcomeRow, toOutcomeRow } from '../../activities/outcome';
import type { RunReport } from '../../activities/contract/plan';
import { KeybrakeClient } from '../../proxy/client';
import { clientOptionsFromEnv } from '../config';

const ROWS_MAX = 50_000;

/**
 * How many of a run's failed records those are, by the ledger. Null: it could not be asked, or has more rows than are read
 * for a line of advice.
 */
export async function executedEarlier({ records, keyId, jobId }: RunReport): Promise<number | null> {
  if (records.failed === 0 || keyId === null) return 0;
  try {
    const client = new KeybrakeClient({ ...clientOptionsFromEnv(process.env), timeoutMs: 5_000 });
    try {
      return await countIn(client, keyId, jobId);
    } finally {
      await client.close();
    }
  } catch {
    return null;
  }
}

async function countIn(client: KeybrakeClient, keyId: string, jobId: string): Promise<number | null> {
  const rowsById = new Map<string, OutcomeRow[]>();
  let read = 0;
  for await (const call of client.streamCalls({ key_id: keyId, state: 'refused' })) {
    if (++read > ROWS_MAX) return null;
    if (call.code === 'idempotency_mismatch' && call.record_id !== null) rowsById.set(call.record_id, []);
  }
  if (rowsById.size === 0) return 0;
  for await (const call of client.streamCalls({ job_id: jobId })) {
    if (++read > ROWS_MAX) return null;
    rowsById.get(call.record_id ?? '')?.push(toOutcomeRow(call, keyId));
  }
  return [...rowsById.values()].filter(isPaidOtherwise).length;
}

/** By the same rules as the results file. */
function isPaidOtherwise(rows: readonly OutcomeRow[]): boolean {
  const refusal = rows.find(({ own, code }) => own && code === 'idempotency_mismatch');
  return refusal !== undefined && isExecutedOtherwise(decide(rows, refusal.offset ?? 0).result);
}
