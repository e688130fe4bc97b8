/** `keybrake.callRecord`: one record, one call. Temporal's retry sends it again with the same idempotency key. */
import { activityInfo } from '@temporalio/activity';
import { ApplicationFailure, TemporalFailure } from '@temporalio/common';
import { KeybrakeApiError } from '../proxy/client';
import { isTerminalRefusal } from '../proxy/contract';
import { FAILURES } from './codes';
import { redact, terminalCodeOf } from './failures';
import { type Again, type Attempt, attemptRecord, type Caller } from './recordCall';
import type { Runtime } from './runtime';
import { readRecord } from './sources';
import type { CallInput, CallRecordInput, CallRecordOutput } from './types';
import type { RecordRef } from './contract/plan';
import type { SourceRecord } from './fields';

/** Attempts after which a call without a clear answer is left to the reconciler and the look-up at the end. */
export const UNKNOWN_ATTEMPTS_MAX = 8;
/** Attempts after which a call that was never sent is given up: an hour at a pace of a call a minute. */
export const UNSENT_ATTEMPTS_MAX = 59;

export async function callRecord(runtime: Runtime, input: CallRecordInput): Promise<CallRecordOutput> {
  const { workflowExecution, activityId, attempt } = activityInfo();
  const caller: Caller = { workflowId: workflowExecution?.workflowId ?? '', activityId, attempt };
  const record = await readRecord(input.source, input.ref, runtime.env);
  const tried = await tryRecord(runtime, input, { ref: input.ref, record }, caller);
  if ('result' in tried) return tried.result;
  const given = givenUp(tried.again, attempt);
  if (given !== undefined) return given;
  const { code, message, delayMs } = tried.again;
  throw ApplicationFailure.create({
    type: `keybrake.${code}`,
    message: redact(message),
    nonRetryable: false,
    ...(delayMs !== null && { nextRetryDelay: spread(delayMs) }),
  });
}

/** Like {@link attemptRecord}; an answer that never came is one more reason to try again. */
export async function tryRecord(
  runtime: Runtime,
  input: CallInput,
  item: { readonly ref: RecordRef; readonly record: SourceRecord | undefined },
  caller: Caller,
): Promise<Attempt> {
  try {
    return await attemptRecord(runtime, input, item, caller);
  } catch (error) {
    const stop = terminalCodeOf(error);
    if (isTerminalRefusal(stop)) return { result: { outcome: 'refused', code: stop, stop } };
    if (error instanceof TemporalFailure) throw error;
    if (error instanceof KeybrakeApiError && !error.retryable) throw error;
    if (!isNetwork(error)) throw error;
    const why = error instanceof Error ? error.message : String(error);
    const message = `No answer from the proxy at ${runtime.url.origin}: ${why}`;
    return { again: { code: codeOf(FAILURES.unreachable), message, delayMs: null, sent: true } };
  }
}

/** `Retry-After` has whole seconds: those who are told the same one come spread over a second, not at one moment. */
export function spread(delayMs: number): number {
  return Math.round(delayMs + Math.random() * 1_000);
}

/** What a call that is not tried any more came to. */
export function givenUp({ code, message, sent }: Again, attempt: number): CallRecordOutput | undefined {
  // Nothing can be said of a proxy that does not answer: the ledger is asked at the end.
  const unreachable = code === codeOf(FAILURES.unreachable);
  if (sent && !unreachable && attempt >= UNKNOWN_ATTEMPTS_MAX) return { outcome: 'unknown', code };
  if (attempt < UNSENT_ATTEMPTS_MAX) return undefined;
  if (sent) return { outcome: 'unknown', code };
  return { outcome: 'refused', code, reason: message.slice(0, 300) };
}

/** undici's errors, and the control plane's when it does not answer. */
function isNetwork(error: unknown): boolean {
  if (error instanceof KeybrakeApiError) return true;
  const code = error instanceof Error && 'code' in error ? String(error.code) : '';
  return /^(UND_ERR_|E[A-Z]+$)/.test(code);
}

function codeOf(type: string): string {
  return type.replace(/^keybrake\./, '');
}
