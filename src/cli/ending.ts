/** How a run has ended: its report, wherever Temporal has left it. */
import { isGrpcServiceError, ServiceError, type WorkflowHandle, WorkflowFailedError } from '@temporalio/client';
import { ApplicationFailure, CancelledFailure } from '@temporalio/common';
import type { RunStatusView } from '../../workflows/definitions';
import type { RunReport } from '../../activities/contract/plan';
import { CliError, explain } from './errors';
import { endedRecords } from './report';
import { answerOf } from './waiting';
import { word } from './output';

export interface Ending {
  readonly workflowId: string;
  readonly report: RunReport | null;
  /** Why there is no report. */
  readonly error?: string;
}

/** Waits for a run's end. */
export async function endingOf(handle: WorkflowHandle): Promise<Ending> {
  const { workflowId } = handle;
  try {
    const result: unknown = await handle.result();
    return isReport(result) ? { workflowId, report: result } : { workflowId, report: null, error: NO_REPORT };
  } catch (error) {
    if (isGrpcServiceError(error) || error instanceof ServiceError) {
      const goesOn = `A run that has not ended goes on by itself: keybrake status ${word(workflowId)}`;
      throw new CliError(`Temporal does not answer: ${explain(error)}\n${goesOn}`, { cause: error });
    }
    if (!(error instanceof WorkflowFailedError)) throw error;
    const report = await reportOf(handle, error);
    return { workflowId, report, ...(report === null && { error: explain(error) }) };
  }
}

const NO_REPORT = 'Its result is no report of a run.';

function isReport(value: unknown): value is RunReport {
  return typeof value === 'object' && value !== null && 'records' in value;
}

/** A failed run has its report in the failure. Temporal drops a cancelled one's, but its last state can be asked. */
async function reportOf(handle: WorkflowHandle, { cause }: WorkflowFailedError): Promise<RunReport | null> {
  if (cause instanceof ApplicationFailure) {
    const [report] = cause.details ?? [];
    return isReport(report) ? report : null;
  }
  if (!(cause instanceof CancelledFailure)) return null;
  try {
    return fromStatus(await answerOf<RunStatusView>(handle, 'status'));
  } catch {
    return null; // No worker is there to ask.
  }
}

function fromStatus({ label, jobId, keyId, reason, records, spend }: RunStatusView): RunReport | null {
  if (label === null || jobId === null) return null;
  const rest = records.total === null ? 0 : Math.max(0, records.total - endedRecords(records) - records.not_started);
  return {
    status: 'cancelled',
    reason: reason ?? 'The workflow was cancelled.',
    keyId,
    jobId,
    label,
    records: { ...records, not_started: records.not_started + rest },
    spend,
    jobSpend: null,
    results: null,
  };
}
