/** `keybrake status`: how a run, a key or a job stands. */
import type { WorkflowHandle } from '@temporalio/client';
import type { Command } from 'commander';
import { type JobView, formatUsd } from '../../proxy/contract';
import type { RunStatusView, VaultStatusView } from '../../workflows/definitions';
import { type TemporalFlags, temporalFlags, withProxy, withTemporal } from './connect';
import { endingOf } from './ending';
import { CliError, explain, wantsJson } from './errors';
import { describeKey } from './keys';
import { fields, print, printJson, tell } from './output';
import { micros } from './parse';
import { describeCalls, describeReport, describeSpend, describeStatus } from './report';
import { patiently } from './waiting';
import { kindOf } from './workflowKind';

interface Flags extends TemporalFlags {
  readonly job?: string;
  readonly json?: boolean;
}

/** Adds `status`. */
export function addStatus(program: Command): void {
  const command = program
    .command('status')
    .description('How a run stands, or its report once it has ended. A key id shows the key.')
    .argument('[id]', 'workflow id, or key_…')
    .option('--job <id>', 'the spend of a job, over all its runs')
    .option('--json', 'print JSON');
  temporalFlags(command).action(status);
}

async function status(id: string | undefined, flags: Flags): Promise<void> {
  if ((id === undefined) === (flags.job === undefined)) throw new CliError('Name a workflow, a key, or --job ID.');
  const found = await (flags.job !== undefined
    ? jobOf(flags.job)
    : id?.startsWith('key_')
      ? keyOf(id)
      : runOf(id ?? '', flags));
  if (flags.json === true) return printJson(found.json);
  for (const line of found.lines) await print(line);
}

interface Found {
  readonly json: unknown;
  readonly lines: readonly string[];
}

async function keyOf(keyId: string): Promise<Found> {
  const key = await withProxy((client) => client.getKey(keyId));
  return { json: key, lines: describeKey(key) };
}

async function jobOf(jobId: string): Promise<Found> {
  const job = await withProxy((client) => client.getJob(jobId));
  return { json: job, lines: describeJob(job) };
}

/** A job in words. */
export function describeJob(job: JobView): string[] {
  const { spend } = job;
  return [
    `${job.job_id}${job.exhausted ? ': its cap is exhausted' : ''}`,
    ...fields([
      ['cap', job.usd_cap === null ? 'none' : formatUsd(micros(job.usd_cap))],
      ['spent', describeSpend(spend)],
      ['remaining', spend.remaining_usd === null ? null : formatUsd(micros(spend.remaining_usd))],
      ['calls', describeCalls(spend)],
      ['since', job.created_at],
    ]),
  ];
}

async function runOf(workflowId: string, flags: Flags): Promise<Found> {
  return withTemporal(flags, async (client) => {
    const handle = client.workflow.getHandle(workflowId);
    const { status: execution } = await handle.describe();
    const found = await kindOf(handle);
    if (found.kind === 'vaults') return ownWorkflow(handle, execution.name, found.vaults);
    if (found.kind === 'other')
      throw new CliError(`${workflowId}, a workflow of type ${found.type}, has no vault key.`);
    return execution.name === 'RUNNING' ? running(handle) : ended(handle, execution.name);
  });
}

/** One of the user's own workflows: its result is theirs, its keys are what there is to tell. */
async function ownWorkflow({ workflowId }: WorkflowHandle, name: string, vaults: readonly VaultStatusView[]) {
  const state = stateOf(name);
  const lines = vaults.flatMap(({ label, jobId, keyId, stop, ended: over }) => [
    `  ${label}: ${stop ?? (over ? 'ended' : 'running')}`,
    ...fields([
      ['key', keyId === '' ? null : keyId],
      ['job', jobId],
    ]),
  ]);
  return {
    json: { workflowId, status: state, vaults },
    lines: [`${workflowId}: ${state}`, ...lines, '  What one has spent: keybrake status KEY, or --job JOB'],
  };
}

function stateOf(name: string): string {
  return name.toLowerCase().replaceAll('_', ' ');
}

async function running(handle: WorkflowHandle): Promise<Found> {
  try {
    const view = await patiently(handle.query<RunStatusView>('status'), () => {
      if (!wantsJson())
        tell(`Waiting for a worker: ${handle.workflowId} is running, and only a worker can say how far.`);
    });
    return { json: { workflowId: handle.workflowId, ...view }, lines: describeStatus(handle.workflowId, view) };
  } catch (error) {
    const remedy = 'A worker must be up to answer: keybrake doctor tells whether one is.';
    throw new CliError(`${handle.workflowId} is running, but did not answer: ${explain(error)}\n${remedy}`, {
      cause: error,
    });
  }
}

async function ended(handle: WorkflowHandle, name: string): Promise<Found> {
  const { workflowId, report, error } = await endingOf(handle);
  if (report !== null) return { json: { workflowId, ...report }, lines: describeReport(workflowId, report) };
  const state = stateOf(name);
  // Terminated or timed out: what it came to is in the ledger, under the names that the workflow last knew.
  const last = await handle.query<RunStatusView>('status').catch(() => undefined);
  const { jobId = null, keyId = null } = last ?? {};
  const lines = [
    `${workflowId}: ${state}`,
    `  ${error}`,
    ...fields([
      ['key', keyId],
      ['job', jobId],
    ]),
  ];
  const spent = jobId === null ? [] : [`  What it has spent: keybrake status --job ${jobId}`];
  return { json: { workflowId, status: state, error, keyId, jobId }, lines: [...lines, ...spent] };
}
