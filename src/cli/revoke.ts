/** `keybrake revoke` and `keybrake raise`: an operator's hand on a run that is under way. */
import type { WorkflowHandle } from '@temporalio/client';
import type { Command } from 'commander';
import { formatUsd } from '../../proxy/contract';
import { type TemporalFlags, temporalFlags, withProxy, withTemporal } from './connect';
import { CliError } from './errors';
import { EXIT_AT } from './exitCodes';
import { print, printJson, tell, word } from './output';
import { micros, parseUsd } from './parse';
import { describeJob } from './status';
import { describeKey } from './keys';
import { kindOf } from './workflowKind';

const ANSWER_MS = 10_000;

interface RevokeFlags extends TemporalFlags {
  readonly reason: string;
  readonly json?: boolean;
}

interface RaiseFlags extends TemporalFlags {
  readonly to: number;
  readonly job?: string;
  readonly json?: boolean;
}

/** Adds `revoke`. */
export function addRevoke(program: Command): void {
  const command = program
    .command('revoke')
    .description('Stop a run: its key is revoked first, then it drains and reports. A key id revokes just the key.')
    .argument('<id>', 'workflow id, or key_…')
    .option('--reason <text>', 'kept with the key and in the report', 'revoked by an operator')
    .option('--json', 'print JSON')
    .addHelpText('after', REVOKE_EXAMPLES);
  temporalFlags(command).action(revoke);
}

const REVOKE_EXAMPLES = `
Examples:
  keybrake revoke keybrake-billing-2026-11-24 --reason "wrong file"
  keybrake revoke key_3f9c…     also where Temporal is down`;

async function revoke(id: string, flags: RevokeFlags): Promise<void> {
  if (id.startsWith('key_')) {
    const revoked = await withProxy((client) => client.revokeKey(id, flags.reason));
    if (flags.json === true) return printJson(revoked);
    const drain = revoked.in_flight > 0 ? `; ${revoked.in_flight} calls were sent before and will settle` : '';
    return print(`${id} is ${revoked.state}: no call with it leaves any more${drain}.`);
  }
  const signalled = await withTemporal(flags, (client) => revokeIn(client.workflow.getHandle(id), flags.reason));
  if (flags.json === true) return printJson({ workflowId: id, signalled });
  await print(`${id} was told to revoke its key and to end.`);
  tell(`Its report: keybrake status ${word(id)}`);
}

/** A run has a signal of its own; the user's own workflows may have one of that name, which says something else. */
async function revokeIn(handle: WorkflowHandle, reason: string): Promise<string> {
  const found = await kindOf(handle);
  const signal = found.kind === 'run' ? 'revoke' : 'keybrake.revoke';
  await handle.signal(signal, { reason });
  if (found.kind === 'run' || found.kind === 'vaults') return signal;
  const why = found.kind === 'other' ? 'has no vault key now' : 'did not answer';
  throw new CliError(
    `${handle.workflowId}, a workflow of type ${found.type}, ${why}. It was told: where it is in withVaultKey, or once ` +
      `it is, its key is revoked; nothing else is stopped. A key is revoked at once with keybrake revoke key_….`,
  );
}

/** Adds `raise`. */
export function addRaise(program: Command): void {
  const command = program
    .command('raise')
    .description('Raise a cap: of a running run, of a job between its runs, or of a key.')
    .argument('[id]', 'workflow id of a running run, or key_…')
    .requiredOption('--to <usd>', 'the new cap in US dollars', parseUsd)
    .option('--job <id>', 'the job, also when none of its runs is under way')
    .option('--json', 'print JSON')
    .addHelpText('after', RAISE_EXAMPLES);
  temporalFlags(command).action(raise);
}

const RAISE_EXAMPLES = `
Examples:
  keybrake raise keybrake-billing-2026-11-24 --to 750      a run that pauses at its cap goes on
  keybrake raise --job billing-2026-11-24 --to 750         then run it again with the same jobId`;

async function raise(id: string | undefined, flags: RaiseFlags): Promise<void> {
  if ((id === undefined) === (flags.job === undefined)) throw new CliError('Name a workflow, a key, or --job ID.');
  if (flags.job !== undefined) {
    const { job: jobId, to } = flags;
    const job = await withProxy((client) => client.patchJob(jobId, { usd_cap: to }));
    return flags.json === true ? printJson(job) : printLines(describeJob(job));
  }
  if (id?.startsWith('key_')) {
    const key = await withProxy((client) => client.patchKey(id, { usd_cap: flags.to }));
    return flags.json === true ? printJson(key) : printLines(describeKey(key));
  }
  return raiseRun(id ?? '', flags);
}

async function raiseRun(workflowId: string, flags: RaiseFlags): Promise<void> {
  const raised = await withTemporal(flags, async (client) => {
    const handle = client.workflow.getHandle(workflowId);
    const { status } = await handle.describe();
    if (status.name !== 'RUNNING') {
      const ended = `${workflowId} has ended (${status.name.toLowerCase().replaceAll('_', ' ')}).`;
      throw new CliError(`${ended} Raise its job instead, then run it again: keybrake raise --job ID --to ${flags.to}`);
    }
    return patiently(handle, handle.executeUpdate<unknown, [number]>('raiseCap', { args: [flags.to] }));
  });
  if (flags.json === true) return printJson(raised);
  await print(`The cap of ${workflowId} is ${formatUsd(micros(flags.to))} now.`);
}

/** Without a worker nobody answers, for as long as that may be: whoever waits is to know it, and may leave. */
async function patiently<T>({ workflowId }: WorkflowHandle, answer: Promise<T>): Promise<T> {
  const waiting = setTimeout(() => {
    tell('No answer yet. A worker must be up to take it: keybrake doctor tells whether one is. Ctrl-C leaves.');
  }, ANSWER_MS);
  const leave = (): void => {
    tell(`Left without an answer. What the cap is: keybrake status ${word(workflowId)}`);
    process.exit(EXIT_AT.SIGINT);
  };
  process.once('SIGINT', leave);
  try {
    return await answer;
  } finally {
    clearTimeout(waiting);
    process.removeListener('SIGINT', leave);
  }
}

async function printLines(lines: readonly string[]): Promise<void> {
  for (const line of lines) await print(line);
}
