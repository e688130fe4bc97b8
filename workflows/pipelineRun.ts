/**
 * `pipelineRun`: one paid vendor call for each record of a source, under a vault key of its own with a dollar cap.
 * Whatever ends it (its records, the cap, a signal, a cancellation, a failure), in this order: the key is revoked,
 * what has not started is dropped, what is in flight is waited for, lost outcomes are looked up, the report is made.
 */
import { ApplicationFailure, CancellationScope, patched, workflowInfo } from '@temporalio/workflow';
import type { KeyRequest, PrepareInput } from '../activities/types';
import { bytesOf, callActivity, CONTROL, controlId, HEARTBEAT_MS } from './calls';
import { finish, reportWithoutKey } from './ending';
import { endingInFailure } from './failures';
import type { Gate } from './gate';
import { setRunHandlers } from './handlers';
import { RunKey } from './key';
import { CARRIED_BYTES_MAX, limitsOf, type LimitedPlan } from '../activities/contract/limits';
import { ACTIVITIES, type Plan, type RunReport } from '../activities/contract/plan';
import { watchSpend } from './progress';
import { runRange } from './range';
import { Run } from './run';
import { runShards } from './shards';
import type { Doubt } from './units';
import { until } from './waiting';

/**
 * The workflow. `raw` is checked by the activity `keybrake.prepare`: a wrong one fails the workflow with
 * `keybrake.invalid_input`, which names every wrong field. A cancelled run ends Cancelled, a failed one Failed with the
 * report in its details; all others complete with the report.
 */
export async function pipelineRun(raw: unknown): Promise<RunReport> {
  const cancelRequested = CancellationScope.current().cancelRequested;
  return endingInFailure(() =>
    CancellationScope.nonCancellable(async () => {
      const run = new Run();
      setRunHandlers(run);
      cancelRequested.catch(() => run.end({ status: 'cancelled', reason: 'The workflow was cancelled.' }));
      return perform(run, raw);
    }),
  );
}

async function perform(run: Run, raw: unknown): Promise<RunReport> {
  const plan = await unlessStopped(run, () => prepare(raw));
  if (plan === undefined) return reportWithoutKey(run);
  const key = await RunKey.issue(keyRequest(plan), { stopped: () => run.stop !== undefined });
  if (key === undefined) return reportWithoutKey(run, plan);
  const gate = run.begin(plan, key);
  watchSpend(run, plan);

  let done = false;
  const calls = callRecords(run, plan, gate)
    .catch((error: unknown) => {
      run.fail(error);
      return [];
    })
    .finally(() => {
      done = true;
    });
  await until(() => done || run.stop !== undefined);
  return finish(run, plan, key, calls);
}

function prepare(input: unknown): Promise<LimitedPlan> {
  const { workflowId, firstExecutionRunId, cronSchedule } = workflowInfo();
  const facts = { workflowId, firstExecutionRunId, ...(cronSchedule ? { cronSchedule } : {}) };
  checkSize({ input, facts });
  return callActivity(
    ACTIVITIES.prepare,
    { input, facts },
    {
      ...CONTROL,
      activityId: controlId('prepare'),
      summary: 'check the input, read the source once',
      // A source of many gigabytes takes minutes; a worker that has it may come up late.
      startToCloseTimeout: 60 * 60_000,
      scheduleToCloseTimeout: 2 * 60 * 60_000,
      heartbeatTimeout: HEARTBEAT_MS,
    },
  );
}

/** What Temporal took as the run's input it may not take with the run's facts: that task would fail for ever. */
function checkSize(input: PrepareInput): void {
  const bytes = bytesOf(input);
  // Asked last: no other run has a marker of it.
  if (bytes <= PAYLOAD_BYTES_MAX || !patched(INPUT_SIZE)) return;
  const message = `The input is too large: ${bytes} bytes, and at most ${CARRIED_BYTES_MAX} fit into a history.`;
  throw ApplicationFailure.nonRetryable(message, 'keybrake.invalid_input');
}

/** Temporal's 2 MiB, less what it adds. */
const PAYLOAD_BYTES_MAX = 2 * 1024 * 1024 - 1_000;
const INPUT_SIZE = 'keybrake.input-size';

/** What `work` answers, or undefined when the run was stopped before that. */
async function unlessStopped<T>(run: Run, work: () => Promise<T>): Promise<T | undefined> {
  let settled = false;
  const result = run.work.run(work).finally(() => {
    settled = true;
  });
  // A failure is thrown by the await below; a stop makes it uninteresting.
  result.catch(() => undefined);
  await until(() => settled || run.stop !== undefined);
  if (run.stop === undefined) return result;
  run.work.cancel();
  return undefined;
}

/** Small inputs in the root itself, larger ones in shards. Answers what must be looked up. */
async function callRecords(run: Run, plan: LimitedPlan, gate: Gate): Promise<readonly Doubt[]> {
  const [range, ...more] = plan.shards;
  if (range === undefined) return [];
  if (more.length > 0 || activitiesOf(plan) > limitsOf(plan).activitiesInRoot) return runShards(run, plan, gate);
  const { doubts } = await runRange({
    plan,
    range,
    position: { offset: range.start, line: range.firstLine },
    concurrency: plan.concurrency,
    counts: run.counts,
    gate,
    together: run.together,
    inBytes: run.inBytes,
    namesUnknown: run.looksUpChunks,
    work: run.work,
    unitsMax: Number.MAX_SAFE_INTEGER,
    onFlight: (inFlight) => run.flying(inFlight),
    onFatal: (failure) => run.fail(failure),
  });
  return doubts;
}

function activitiesOf({ records, recordsPerActivity }: Plan): number {
  return records === null ? Number.POSITIVE_INFINITY : Math.ceil(records / recordsPerActivity);
}

function keyRequest({ label, jobId, key }: Plan): KeyRequest {
  const { ttlMs, leaseMs, ...rest } = key;
  return { ...rest, label, jobId, ttl: Math.ceil(ttlMs / 1_000), lease: Math.ceil(leaseMs / 1_000) };
}
