/** `keybrake status`: how a run, a key or a job stands. */
import type { WorkflowHandle } from '@temporalio/client';
import type { Command } from 'commander';
import { type JobView, formatUsd } from '../../proxy/contract';
import type { RunStatusView, VaultStatusView } from '../../workflows/definitions';
import { type TemporalFlags, temporalFlags, withProxy, withTemporal } from './connect';
import { endingOf } from './ending';
import { CliError, explain, wantsJson } from './errors';
import { describeKey } from './keys';
import { fields, harmless, print, printJson, tell, word } from './output';
import { micros } from './parse';
import { describeCalls, describeReport, describeSpend, describeStatus } from './report';
import { troubles } from './trouble';
import { answerOf, isUnanswered, patiently } from './waiting';
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
    const state = stateOf(execution.name);
    const found = await waited(handle, state, kindOf(handle));
    if (found.kind === 'vaults') return ownWorkflow(handle, state, found.vaults);
    if (found.kind === 'other')
      throw new CliError(`${workflowId}, a workflow of type ${found.type}, has no vault key.`);
    if (execution.name !== 'RUNNING') return ended(handle, state);
    if (found.kind === 'silent') throw unanswered(handle, found.error);
    return running(handle);
  });
}

/** One of the user's own workflows: its result is theirs, its keys are what there is to tell. */
async function ownWorkflow({ workflowId }: WorkflowHandle, state: string, vaults: readonly VaultStatusView[]) {
  const lines = vaults.flatMap(({ label, jobId, keyId, stop, ended: over }) => [
    `  ${label}: ${stop ?? (over ? 'ended' : 'running')}`,
    ...fields([
      ['key', keyId === '' ? null : keyId],
      ['job', jobId],
    ]),
  ]);
  return {
    json: { workflowId, status: state, vaults },
    lines: [`${workflowId}: ${spoken(state)}`, ...lines, '  What one has spent: keybrake status KEY, or --job JOB'],
  };
}

/** Temporal's name for how a workflow stands, written as a report's `status` is. */
function stateOf(name: string): string {
  return name.toLowerCase();
}

function spoken(state: string): string {
  return state.replaceAll('_', ' ');
}

/** Waits for an answer that only a worker can give. */
function waited<T>({ workflowId }: WorkflowHandle, state: string, answer: Promise<T>): Promise<T> {
  return patiently(answer, () => {
    if (wantsJson()) return;
    tell(`Waiting for a worker: ${workflowId} is ${spoken(state)}, and only a worker can say more.`);
  });
}

function unanswered({ workflowId }: WorkflowHandle, error: unknown): CliError {
  const why = isUnanswered(error) ? 'no worker answers.' : `it does not answer: ${explain(error)}`;
  const remedy = 'To start one: keybrake worker; keybrake doctor looks for it.';
  return new CliError(`${workflowId} is running, but ${why}\n${remedy}`, { cause: error });
}

async function running(handle: WorkflowHandle): Promise<Found> {
  const { workflowId } = handle;
  const asked = waited(handle, 'running', answerOf<RunStatusView>(handle, 'status'));
  const view = await asked.catch((error: unknown) => {
    throw unanswered(handle, error);
  });
  const found = [...(await troubles(handle)).values()];
  return {
    json: { workflowId, ...view, troubles: found },
    lines: [...describeStatus(workflowId, view), ...found.map((text) => `  Not going on: ${text}`)],
  };
}

async function ended(handle: WorkflowHandle, state: string): Promise<Found> {
  const { workflowId, report, error = '' } = await waited(handle, state, endingOf(handle));
  if (report !== null) return { json: { workflowId, ...report }, lines: describeReport(workflowId, report) };
  // Terminated or timed out: what it came to is in the ledger, under the names that the workflow last knew.
  const last = await waited(handle, state, answerOf<RunStatusView>(handle, 'status')).catch(() => undefined);
  const { jobId = null, keyId = null } = last ?? {};
  const lines = [
    `${workflowId}: ${spoken(state)}`,
    ...error.split('\n').map((line) => `  ${harmless(line)}`),
    ...fields([
      ['key', keyId],
      ['job', jobId],
    ]),
    ...(keyId === null ? [] : [`  Whether its key is dead: keybrake status ${keyId}`]),
    ...(jobId === null ? [] : [`  What it has spent: keybrake status --job ${word(jobId)}`]),
    ...(last === undefined ? ['  No worker knows its key or its job: keybrake keys lists those of a label.'] : []),
  ];
  return { json: { workflowId, status: state, error, keyId, jobId }, lines };
}
