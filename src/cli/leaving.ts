/** What signals mean to `run`, whose runs go on without it: Ctrl-C cancels them, what else ends the command leaves them. */
import type { WorkflowHandle } from '@temporalio/client';
import { explain } from './errors';
import { EXIT_AT } from './exitCodes';
import { tell, word } from './output';
import type { Progress } from './progress';

/**
 * First Ctrl-C: cancel and wait. Second, or another signal: leave, and say what becomes of the runs: a terminal that is
 * lost, or a machine that goes down, is no word against them. Answers how to forget about it.
 */
export function heedSignals(handles: readonly WorkflowHandle[], progress: Progress): () => void {
  let cancelled = false;
  const leave = (signal: keyof typeof EXIT_AT): void => {
    progress.stop();
    for (const { workflowId } of handles) tell(cancelled ? endsItself(workflowId) : goesOn(signal, workflowId));
    process.exit(EXIT_AT[signal]);
  };
  const onSignal = (signal: NodeJS.Signals): void => {
    if (signal !== 'SIGINT' || cancelled) return leave(signal as keyof typeof EXIT_AT);
    cancelled = true;
    progress.say('Cancelling: no new calls; those in flight end first. Ctrl-C again leaves without the report.');
    for (const handle of handles) handle.cancel().catch((error: unknown) => progress.say(explain(error)));
  };
  const signals = Object.keys(EXIT_AT) as (keyof typeof EXIT_AT)[];
  for (const signal of signals) process.on(signal, onSignal);
  return () => {
    for (const signal of signals) process.removeListener(signal, onSignal);
  };
}

function endsItself(workflowId: string): string {
  return `Left. The run ends by itself: keybrake status ${word(workflowId)}`;
}

function goesOn(signal: string, workflowId: string): string {
  return `${signal}: left. The run goes on: keybrake status ${word(workflowId)}; to end it: keybrake revoke ${word(workflowId)}`;
}
