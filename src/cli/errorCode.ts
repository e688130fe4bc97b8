/** The machine-readable word for an error, for `--json`. */
import { WorkflowFailedError, WorkflowUpdateFailedError } from '@temporalio/client';
import {
  ApplicationFailure,
  NamespaceNotFoundError,
  WorkflowExecutionAlreadyStartedError,
  WorkflowNotFoundError,
} from '@temporalio/common';
import { CommanderError } from 'commander';
import { ConfigError } from '../config';

const CAUSES_MAX = 20;

/** gRPC status codes, by their numbers. */
// prettier-ignore
const GRPC = [
  'ok', 'cancelled', 'unknown', 'invalid_argument', 'deadline_exceeded', 'not_found', 'already_exists',
  'permission_denied', 'resource_exhausted', 'failed_precondition', 'aborted', 'out_of_range', 'unimplemented',
  'internal', 'unavailable', 'data_loss', 'unauthenticated',
] as const;

/** `usage`, `config`, a code of the proxy (`unreachable`, …), a failure's type, gRPC's or the system's word; else `error`. */
export function codeOf(error: unknown): string {
  let cause = error;
  for (let depth = 0; cause instanceof Error && depth < CAUSES_MAX; depth += 1) {
    const code = ownCode(cause);
    if (code !== undefined) return code;
    cause = cause.cause;
  }
  return 'error';
}

function ownCode(error: Error): string | undefined {
  if (error instanceof CommanderError) return 'usage';
  if (error instanceof ConfigError) return 'config';
  if (error instanceof WorkflowExecutionAlreadyStartedError) return 'already_exists';
  if (error instanceof WorkflowNotFoundError) return hasEnded(error) ? 'already_ended' : 'not_found';
  if (error instanceof NamespaceNotFoundError) return 'not_found';
  if (error instanceof ApplicationFailure) return error.type ?? undefined;
  // Of these the cause says more.
  if (error instanceof WorkflowFailedError || error instanceof WorkflowUpdateFailedError) return undefined;
  const { code } = error as { readonly code?: unknown };
  if (typeof code === 'number') return GRPC[code];
  return typeof code === 'string' ? code : undefined;
}

/** Whether a workflow is not found because it has ended, which only the server's words tell. */
export function hasEnded({ message }: WorkflowNotFoundError): boolean {
  return message.includes('already completed');
}
