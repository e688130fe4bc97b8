/** How a command ends: one clear message without a stack trace, and an exit code. */
import { WorkflowFailedError, WorkflowUpdateFailedError } from '@temporalio/client';
import {
  ApplicationFailure,
  CancelledFailure,
  NamespaceNotFoundError,
  TerminatedFailure,
  TimeoutFailure,
  WorkflowExecutionAlreadyStartedError,
  WorkflowNotFoundError,
} from '@temporalio/common';
import { CommanderError } from 'commander';
import { KeybrakeApiError } from '../../proxy/client';
import { StoreError } from '../../proxy/stores/store';
import { hideSecrets } from '../../proxy/redact';
import { codeOf, hasEnded } from './errorCode';
import { EXIT } from './exitCodes';
import { harmlessLines, word } from './output';

/** A mistake of the person who typed, or something that they can put right. The message says how. */
export class CliError extends Error {
  override readonly name = 'CliError';
  /** For `--json`, where the cause has none. */
  readonly code: string | undefined;

  constructor(message: string, options: { readonly cause?: unknown; readonly code?: string } = {}) {
    super(message, options);
    this.code = options.code;
  }
}

/** Whether the command line asks for JSON. Also what cannot be parsed may. */
export function wantsJson(): boolean {
  return process.argv.includes('--json');
}

/** Tells an error on stderr: in words, or with `--json` as one line of JSON. */
export function tellError(error: unknown, prefix = 'keybrake: '): void {
  const message = hideSecrets(explain(error));
  const line = wantsJson()
    ? JSON.stringify({ error: { code: codeOf(error), message } })
    : harmlessLines(`${prefix}${message}`);
  process.stderr.write(`${line}\n`);
}

/** Ends the process over an error. `KEYBRAKE_DEBUG=1` shows where it came from. */
export function fail(error: unknown): never {
  // Help and the version were asked for, and have been printed.
  if (error instanceof CommanderError && error.exitCode === EXIT.ok) process.exit(EXIT.ok);
  tellError(error);
  if (process.env['KEYBRAKE_DEBUG'] === '1' && error instanceof Error) {
    process.stderr.write(`${hideSecrets(stackOf(error))}\n`);
  }
  process.exit(EXIT.failed);
}

/** An error in words for the person at the terminal. */
export function explain(error: unknown): string {
  if (error instanceof KeybrakeApiError) return explainApi(error);
  if (error instanceof WorkflowFailedError || error instanceof WorkflowUpdateFailedError) return explainFailure(error);
  if (error instanceof WorkflowExecutionAlreadyStartedError) return explainRunning(error);
  if (error instanceof WorkflowNotFoundError) return explainMissing(error);
  if (error instanceof NamespaceNotFoundError) return explainNamespace(error.namespace);
  if (error instanceof CliError || isComplete(error)) return error.message;
  if (error instanceof CommanderError) return explainUsage(error);
  if (!(error instanceof Error)) return String(error);
  const why = rootCause(error)?.message;
  return withoutStatus(why === undefined || error.message.includes(why) ? error.message : `${error.message}: ${why}`);
}

/** gRPC's errors begin with the number and the name of their status, which a person does not look for. */
function withoutStatus(message: string): string {
  const [, namespace] = /\bNOT_FOUND: Namespace (\S+) is not found/.exec(message) ?? [];
  return namespace === undefined ? message.replace(/\b\d{1,2} [A-Z_]{2,}: /, '') : explainNamespace(namespace);
}

/** A failure of the ledger says all there is to say, where the message is a whole sentence. */
function isComplete(error: unknown): error is StoreError {
  return error instanceof StoreError && error.message.endsWith('.');
}

/** A command that has others below it shows its help where none is named: in JSON there is no place for that. */
function explainUsage({ code, message }: CommanderError): string {
  return code === 'commander.help' ? 'Name a command: --help shows what there is.' : message.replace(/^error: /, '');
}

function explainApi(error: KeybrakeApiError): string {
  const issues = error.issues.map(({ path, message }) => `\n  ${path}: ${message}`).join('');
  const remedy = REMEDIES[error.code];
  return `${error.message}${issues}${remedy === undefined ? '' : `\n${remedy}`}`;
}

const REMEDIES: Readonly<Record<string, string>> = {
  unreachable: 'Is it running (keybrake proxy, or keybrake dev)? KEYBRAKE_URL says where it is looked for.',
  unreadable_answer:
    'KEYBRAKE_URL says where the proxy is looked for: correct it, or look at what stands in front of it.',
  unauthenticated: 'KEYBRAKE_API_KEY (or KEYBRAKE_WORKER_KEY) here must be the one that the proxy was started with.',
  forbidden: 'This takes the admin role: set KEYBRAKE_API_KEY.',
};

function explainRunning({ workflowId }: WorkflowExecutionAlreadyStartedError): string {
  return `${workflowId} is running already. See keybrake status ${word(workflowId)}, or wait for its end.`;
}

/** Temporal says the same of what never was and of what has ended, but for the words. */
function explainMissing(error: WorkflowNotFoundError): string {
  const { workflowId } = error;
  if (hasEnded(error)) return `${workflowId} has ended already. How: keybrake status ${word(workflowId)}`;
  const remedy = 'Is it the right --namespace? Of a run that Temporal has forgotten: keybrake status --job JOB.';
  return `There is no workflow ${workflowId}. ${remedy}`;
}

function explainNamespace(namespace: string): string {
  return `Temporal has no namespace ${namespace}. Correct --namespace or TEMPORAL_NAMESPACE.`;
}

function explainFailure(error: WorkflowFailedError | WorkflowUpdateFailedError): string {
  if (error.cause instanceof TerminatedFailure) return `The run was terminated: ${error.cause.message}`;
  if (error.cause instanceof TimeoutFailure)
    return 'The run met the time limit of its start (execution or run timeout).';
  const cause = rootCause(error);
  if (cause instanceof CancelledFailure) return 'The run was cancelled.';
  if (cause instanceof ApplicationFailure) return `${cause.message}${cause.type ? ` [${cause.type}]` : ''}`;
  return cause === undefined || cause.message === error.message ? error.message : `${error.message}: ${cause.message}`;
}

function rootCause(error: Error): Error | undefined {
  let cause: unknown = error.cause;
  let last: Error | undefined;
  for (let depth = 0; cause instanceof Error && depth < 20; depth += 1) {
    last = cause;
    cause = cause.cause;
  }
  return last;
}

function stackOf(error: Error): string {
  const cause = error.cause instanceof Error ? `\ncaused by ${stackOf(error.cause)}` : '';
  return `${error.stack ?? error.message}${cause}`;
}
