/** `keybrake pause` and `keybrake resume`: no further call is started until an operator says so. */
import type { WorkflowHandle } from '@temporalio/client';
import type { Command } from 'commander';
import type { RunStatusView } from '../../workflows/definitions';
import { type TemporalFlags, temporalFlags, withTemporal } from './connect';
import { CliError } from './errors';
import { print, printJson, word } from './output';
import { atCap } from './trouble';
import { kindOf } from './workflowKind';

interface Flags extends TemporalFlags {
  readonly json?: boolean;
}

/** Adds `pause`. */
export function addPause(program: Command): void {
  addSignal(program, 'pause', {
    does: 'Hold a run: it starts no further call. What was sent is finished and settled; the time to live runs on.',
    said: (id) => `${id} was told to start no further call. To go on: keybrake resume ${word(id)}`,
  });
}

/** Adds `resume`. */
export function addResume(program: Command): void {
  addSignal(program, 'resume', {
    does: 'Let a run go on that was paused. One that waits at its cap takes keybrake raise.',
    said: (id) => `${id} was told to go on.`,
  });
}

interface Words {
  readonly does: string;
  readonly said: (workflowId: string) => string;
}

function addSignal(program: Command, name: 'pause' | 'resume', { does, said }: Words): void {
  const command = program
    .command(name)
    .description(does)
    .argument('<workflow-id>', 'a run that is under way')
    .option('--json', 'print JSON');
  temporalFlags(command).action(async (workflowId: string, flags: Flags) => {
    await withTemporal(flags, async (client) => {
      const handle = client.workflow.getHandle(workflowId);
      await signalRun(handle, name);
      if (name === 'resume') await mustGoOn(handle);
    });
    if (flags.json === true) return printJson({ workflowId, signalled: name });
    return print(said(workflowId));
  });
}

/** Another workflow would take the signal without a word, and go on. */
async function signalRun(handle: WorkflowHandle, name: string): Promise<void> {
  const found = await kindOf(handle);
  if (found.kind === 'run') return handle.signal(name);
  const wayOut = `keybrake revoke ${word(handle.workflowId)} ends what its vault keys pay for.`;
  throw new CliError(`${handle.workflowId} is no run of pipelineRun: only these take ${name}. ${wayOut}`);
}

const ANSWER_MS = 5_000;

/** A run that waits at a cap takes the signal and stays where it is. */
async function mustGoOn(handle: WorkflowHandle): Promise<void> {
  const asked = handle.client.withDeadline(Date.now() + ANSWER_MS, () => handle.query<RunStatusView>('status'));
  const status = await asked.catch(() => undefined);
  if (status?.phase !== 'waiting_for_cap') return;
  const [, text] = atCap(handle.workflowId, status);
  throw new CliError(`${handle.workflowId} is not held by a pause, but ${text}`, { code: 'waiting_for_cap' });
}
