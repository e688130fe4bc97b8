/** `keybrake pause` and `keybrake resume`: no further call is started until an operator says so. */
import type { WorkflowHandle } from '@temporalio/client';
import type { Command } from 'commander';
import { type TemporalFlags, temporalFlags, withTemporal } from './connect';
import { CliError } from './errors';
import { print, printJson } from './output';
import { kindOf } from './workflowKind';

interface Flags extends TemporalFlags {
  readonly json?: boolean;
}

/** Adds `pause`. */
export function addPause(program: Command): void {
  addSignal(program, 'pause', {
    does: 'Hold a run: it starts no further call. What was sent is finished and settled; the time to live runs on.',
    said: (id) => `${id} was told to start no further call. To go on: keybrake resume ${id}`,
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
    await withTemporal(flags, (client) => signalRun(client.workflow.getHandle(workflowId), name));
    if (flags.json === true) return printJson({ workflowId, signalled: name });
    return print(said(workflowId));
  });
}

/** Another workflow would take the signal without a word, and go on. */
async function signalRun(handle: WorkflowHandle, name: string): Promise<void> {
  const found = await kindOf(handle);
  if (found.kind === 'run') return handle.signal(name);
  const wayOut = `keybrake revoke ${handle.workflowId} ends what its vault keys pay for.`;
  throw new CliError(`${handle.workflowId} is no run of pipelineRun: only these take ${name}. ${wayOut}`);
}
