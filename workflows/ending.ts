/** The end of a run, in the one order that neither loses an outcome nor leaves a key open. */
import { allHandlersFinished, ApplicationFailure, CancelledFailure, log } from '@temporalio/workflow';
import type { VaultSpend, WrittenResults } from '../activities/types';
import { callActivity, CONTROL, controlId, HEARTBEAT_MS } from './calls';
import { lookUpDoubts } from './doubts';
import { rootFailure } from './failures';
import type { RunKey } from './key';
import type { LimitedPlan } from '../activities/contract/limits';
import { ACTIVITIES, OUTCOMES, type OutcomeCounts, type RunReport, type RunStatus } from '../activities/contract/plan';
import type { Run } from './run';
import type { Doubt } from './units';
import { until } from './waiting';

/** How long the report waits for the proxy to tell the spend. */
const SPEND_TIMEOUT_MS = 60_000;

/** Ends the run. `calls` settles when nothing of it is in flight any more, and never rejects. */
export async function finish(
  run: Run,
  plan: LimitedPlan,
  key: RunKey,
  calls: Promise<readonly Doubt[]>,
): Promise<RunReport> {
  run.windUp();
  // A guard that still renewed would keep a key alive that cannot be revoked from here; as it goes, it revokes it too.
  if (run.guardFirst) key.unguard();
  const unconfirmed = await key.revoke(run.stop?.reason ?? 'The run has completed.');
  if (!run.guardFirst) key.unguard();
  run.work.cancel();
  await lookUpDoubts(plan, key.id, await calls, run.counts);
  run.show();

  const notes: string[] = [];
  const results = await writeResults(plan, key).catch((error: unknown) => {
    notes.push(`The results file was not written: ${rootFailure(error).message}`);
    return undefined;
  });
  const spend = await key.spend(SPEND_TIMEOUT_MS).catch((error: unknown) => {
    log.error('The spend of the run is not known', { keyId: key.id, error: String(error) });
    notes.push(`The spend could not be read: ask for it with the key id ${key.id}.`);
    return undefined;
  });
  if (spend !== undefined) run.spend = spend;
  const revokeConfirmed = unconfirmed === undefined || spend?.state === 'revoked';
  if (unconfirmed !== undefined && !revokeConfirmed) notes.unshift(unconfirmed);
  await until(allHandlersFinished);
  run.finished();
  return conclude(run, reportOf(run, plan, { spend, results, notes, revokeConfirmed }));
}

/** The report of a run that was stopped before it had a key. `plan`: the proxy was asked for one, and did not answer. */
export async function reportWithoutKey(run: Run, plan?: LimitedPlan): Promise<RunReport> {
  const status: RunStatus = run.stop?.status ?? 'failed';
  run.plan = plan;
  const words = [sentence(run.stop?.reason ?? ''), plan === undefined ? 'No key was issued.' : keyUnknown(plan)];
  await until(allHandlersFinished);
  run.finished();
  return conclude(run, {
    status,
    reason: words.join(' '),
    keyId: null,
    jobId: plan?.jobId ?? '',
    label: plan?.label ?? '',
    records: withRest(run.totals(), plan?.records ?? null),
    spend: null,
    jobSpend: null,
    results: null,
  });
}

function keyUnknown({ key, results }: LimitedPlan): string {
  const lease = `should one have been issued whose answer was lost, nobody has it, and its lease ends it within`;
  const unwritten = results === null ? '' : ' The results file was not written.';
  return `The proxy did not answer, so no call was made; ${lease} ${Math.ceil(key.leaseMs / 1_000)} s.${unwritten}`;
}

/** An operator's words end as they like. */
function sentence(words: string): string {
  return words === '' || /[.!?]$/.test(words) ? words : `${words}.`;
}

function conclude(run: Run, report: RunReport): RunReport {
  const { status, reason } = report;
  if (status === 'cancelled') throw new CancelledFailure(reason, [report]);
  if (status !== 'failed') return report;
  throw ApplicationFailure.create({
    type: run.stop?.failure?.type ?? 'keybrake.failed',
    message: reason,
    nonRetryable: run.stop?.failure?.nonRetryable ?? true,
    details: [report],
  });
}

interface Ending {
  readonly spend: VaultSpend | undefined;
  readonly results: WrittenResults | undefined;
  readonly notes: readonly string[];
  readonly revokeConfirmed: boolean;
}

function reportOf(run: Run, plan: LimitedPlan, { spend, results, notes, revokeConfirmed }: Ending): RunReport {
  const { status = 'completed' as RunStatus, reason = 'Every record was tried.' } = run.stop ?? {};
  return {
    status,
    reason: notes.length === 0 ? reason : [sentence(reason), ...notes].join(' '),
    keyId: run.key?.id ?? null,
    jobId: plan.jobId,
    label: plan.label,
    records: recordsOf(run, plan, results),
    spend: spend?.spend ?? null,
    jobSpend: spend?.jobSpend ?? null,
    results: results?.path ?? null,
    revokeConfirmed,
  };
}

/** The results file counts line by line from the ledger, so the report says the same as the file. */
function recordsOf(run: Run, plan: LimitedPlan, results: WrittenResults | undefined): RunReport['records'] {
  if (results === undefined || plan.source.kind === 'activity') return withRest(run.totals(), plan.records);
  const counts = plan.call.kind === 'activity' ? withOwn(results.records, run.totals()) : results.records;
  return { ...counts, total: plan.records };
}

/**
 * Of a record that the user's own activity ended without a call under its id, the ledger knows nothing. What it knows by
 * another outcome than was told, as its reconciler has learnt since, is no further record.
 */
function withOwn(inLedger: OutcomeCounts, told: OutcomeCounts): OutcomeCounts {
  const counts = { ...inLedger };
  const started = OUTCOMES.filter((outcome) => outcome !== 'not_started');
  let renamed = started.reduce((sum, outcome) => sum + Math.max(0, inLedger[outcome] - told[outcome]), 0);
  for (const outcome of started) {
    const more = Math.max(0, told[outcome] - inLedger[outcome]);
    const own = Math.min(counts.not_started, Math.max(0, more - renamed));
    renamed = Math.max(0, renamed - more);
    counts[outcome] += own;
    counts.not_started -= own;
  }
  return counts;
}

/** Whatever was never scheduled was not started. */
function withRest(counts: OutcomeCounts, total: number | null): RunReport['records'] {
  const counted = Object.values(counts).reduce((sum, count) => sum + count, 0);
  const rest = total === null ? 0 : Math.max(0, total - counted);
  return { ...counts, not_started: counts.not_started + rest, total };
}

async function writeResults(plan: LimitedPlan, key: RunKey): Promise<WrittenResults | undefined> {
  if (plan.results === null) return undefined;
  const { source, shards, recordId, results, call } = plan;
  const input = { keyId: key.id, jobId: plan.jobId, plan: { source, shards, recordId, results, call } };
  return callActivity(ACTIVITIES.writeResults, input, {
    ...CONTROL,
    activityId: controlId('results'),
    summary: `results into ${results.path}`,
    startToCloseTimeout: 60 * 60_000,
    scheduleToCloseTimeout: 2 * 60 * 60_000,
    heartbeatTimeout: HEARTBEAT_MS,
    retry: { initialInterval: 1_000, maximumInterval: 30_000, maximumAttempts: 10 },
  });
}
