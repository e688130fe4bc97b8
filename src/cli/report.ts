/** Reports and states of runs, in words. */
import { type Spend, formatUsd } from '../../proxy/contract';
import type { RunStatusView } from '../../workflows/definitions';
import { type OutcomeCounts, type RunReport, OUTCOMES } from '../../activities/contract/plan';
import { isLeft } from './exitCodes';
import { fields, harmless, word } from './output';
import { micros } from './parse';

/** A run's report, for people. */
export function describeReport(workflowId: string, report: RunReport): string[] {
  return [
    `${harmless(report.label)}: ${report.status.replaceAll('_', ' ')}`,
    `  ${harmless(report.reason)}`,
    ...fields([
      ['records', describeCounts(report.records)],
      ['spent', report.spend === null ? null : describeSpend(report.spend)],
      ['by the job', jobSpendOf(report)],
      ['results', report.results],
      ['job', report.jobId],
      ['key', report.keyId],
      ['workflow', workflowId],
    ]),
  ];
}

/**
 * What to type next, where there is something to do. `executed`: how many of the failed records an earlier run of the job
 * has executed with other parameters, null where nobody can tell. Another run of the job does not finish them.
 */
export function adviceOn(
  { status, reason, jobId, records: all, results }: RunReport,
  executed: number | null = 0,
): string[] {
  const records = { ...all, failed: Math.max(0, all.failed - (executed ?? 0)) };
  // At the cap, or after a revocation, the report has said why.
  const outcomes: readonly Odd[] =
    status === 'completed' ? ['declined', 'failed', 'refused', 'unknown'] : ['declined', 'failed', 'unknown'];
  const odd = outcomes.filter((outcome) => records[outcome] > 0);
  return [
    ...(odd.length > 0
      ? [`Why some ${listed(odd)}: keybrake audit --job ${word(jobId)}${beside(records.failed, results)}`]
      : []),
    ...executedAdvice(executed, jobId),
    // Of another cap than its own, the report has said what is to be done.
    ...(status === 'cap_exhausted' && reason.startsWith('The cap of $')
      ? [`To go on: keybrake raise --job ${word(jobId)} --to USD, then the same run with --job-id ${word(jobId)}`]
      : []),
    // A run that was stopped before it had a plan has no job.
    ...(status !== 'cap_exhausted' && jobId !== '' && isLeft(records)
      ? [`To finish what is left: the same run with --job-id ${word(jobId)}`]
      : []),
  ];
}

/** A new job id is what these records must not get: it charges them again. */
function executedAdvice(executed: number | null, jobId: string): string[] {
  if (executed === 0) return [];
  const which = executed === null ? 'Failed records with the code idempotency_mismatch' : `${grouped(executed)} failed`;
  return [
    `${which}: charged earlier by this job, with other parameters (keybrake audit --job ${word(jobId)}). ` +
      'A new job id charges them again; for a new charge on purpose, give the record a new id.',
  ];
}

/** A record that is wrong fails before a call of it is made, and the audit log has calls. */
function beside(failed: number, results: string | null): string {
  if (failed === 0) return '';
  if (results !== null) return `; of records that were wrong before a call, the lines of ${results}`;
  return '; of records that were wrong before a call, a results file: run it again with --results FILE';
}

type Odd = 'declined' | 'failed' | 'refused' | 'unknown';

function listed(outcomes: readonly Odd[]): string {
  const words = { declined: 'were declined', failed: 'failed', refused: 'were refused', unknown: 'are unknown' };
  return outcomes.map((outcome) => words[outcome]).join(' or ');
}

/** Worth a line only where earlier runs of the job have spent too. */
function jobSpendOf({ spend, jobSpend }: RunReport): string | null {
  if (jobSpend === null || jobSpend.settled_usd === spend?.settled_usd) return null;
  return `${describeSpend(jobSpend)}, over all its runs`;
}

/** A running run's state, for people. */
export function describeStatus(workflowId: string, status: RunStatusView): string[] {
  const cap = status.usdCap === null ? '' : ` of ${formatUsd(micros(status.usdCap))}`;
  return [
    `${harmless(status.label ?? workflowId)}: ${status.phase.replaceAll('_', ' ')}`,
    ...(status.reason === null ? [] : [`  ${harmless(status.reason)}`]),
    ...fields([
      ['records', describeCounts(status.records)],
      ['in flight', String(status.inFlight)],
      // Shards tell of their records only now and then; the ledger knows every call.
      ['calls', status.spend === null ? null : describeCalls(status.spend)],
      ['spent', status.spend === null ? null : `${describeSpend(status.spend)}${cap}`],
      ['key', status.keyId === null ? null : `${status.keyId} ${status.keyState ?? ''}`.trim()],
      ['job', status.jobId],
      ['workflow', workflowId],
    ]),
  ];
}

/** `1,200: 500 succeeded, 700 not started`. Outcomes that no record has are left out. */
export function describeCounts(counts: OutcomeCounts & { readonly total: number | null }): string {
  const parts = OUTCOMES.filter((outcome) => counts[outcome] > 0).map(
    (outcome) => `${grouped(counts[outcome])} ${outcome.replaceAll('_', ' ')}`,
  );
  const total = counts.total === null ? '' : `${grouped(counts.total)}: `;
  return `${total}${parts.length === 0 ? 'none has ended' : parts.join(', ')}`;
}

/** `200 settled, 2 refused`: a key's or job's calls by state. */
export function describeCalls({ calls }: Spend): string {
  const parts = Object.entries(calls).filter(([, count]) => count > 0);
  return parts.length === 0 ? 'none' : parts.map(([state, count]) => `${grouped(count)} ${state}`).join(', ');
}

/** `$500.00 settled, $2.50 unknown`. What is zero is left out, but for what is settled. */
export function describeSpend(spend: Spend): string {
  const parts = [
    `${formatUsd(micros(spend.settled_usd))} settled`,
    spend.out_usd > 0 && `of it ${formatUsd(micros(spend.out_usd))} out`,
    spend.held_usd > 0 && `${formatUsd(micros(spend.held_usd))} held`,
    spend.unknown_usd > 0 && `${formatUsd(micros(spend.unknown_usd))} unknown`,
  ];
  return parts.filter((part) => part !== false).join(', ');
}

/** How many records have ended, one way or the other. */
export function endedRecords(counts: OutcomeCounts): number {
  return OUTCOMES.reduce((sum, outcome) => sum + (outcome === 'not_started' ? 0 : counts[outcome]), 0);
}

function grouped(count: number): string {
  return count.toLocaleString('en-US');
}
