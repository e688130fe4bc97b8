/**
 * The worker's activity interceptor: gives `vault()` its context, puts the record in place of the argument where a user's
 * activity is the call of `pipelineRun`, and turns what the proxy refused into failures of a known type.
 */
import { type Context, activityInfo } from '@temporalio/activity';
import { ApplicationFailure, ensureApplicationFailure, TemporalFailure } from '@temporalio/common';
import type {
  ActivityExecuteInput,
  ActivityInboundCallsInterceptor,
  ActivityInterceptorsFactory,
  Next,
} from '@temporalio/worker';
import { readVaultHeader, type RecordPointer } from './contract/headers';
import type { RecordRef, RecordResult } from './contract/plan';
import { isTerminalRefusal } from '../proxy/contract';
import { beatingForUser } from './beat';
import { CallContext, callContexts } from './callContext';
import { refusalFailure, refusalOf, terminalCodeOf, toFailure } from './failures';
import { pageOfReader } from './pages';
import { activityIdFor } from './recordKeys';
import { outcomeInLedger } from './recordCall';
import type { Runtime } from './runtime';
import { readRecord } from './sources';
import type { CallRecordOutput } from './types';

type Execute = Next<ActivityInboundCallsInterceptor, 'execute'>;

/** The factory for `WorkerOptions.interceptors.activity`. */
export function activityInterceptor(runtime: Runtime): ActivityInterceptorsFactory {
  return ({ info }: Context) => ({
    inbound: {
      execute(input, next) {
        // The pack's own activities bring what they need in their input.
        if (info.activityType.startsWith('keybrake.')) return next(input);
        const { workflowExecution, activityId, attempt } = info;
        const caller = { workflowId: workflowExecution?.workflowId ?? '', activityId, attempt };
        const context = new CallContext(runtime, readVaultHeader(input.headers), caller);
        return callContexts.run(context, () => run(context, input, next));
      },
    },
  });
}

async function run(context: CallContext, input: ActivityExecuteInput, next: Execute): Promise<unknown> {
  const { header } = context;
  if (header?.record !== undefined) return runRecord(context, header.record, input, next);
  const answer = await mapped(context, () => next(input));
  return header?.reader === undefined ? answer : pageOfReader(answer, header.reader, activityInfo().activityType);
}

/** A record's own activity: gets the record, answers its outcome. What it returned stays out of the history. */
async function runRecord(
  context: CallContext,
  { source, ref }: RecordPointer,
  input: ActivityExecuteInput,
  next: Execute,
): Promise<CallRecordOutput> {
  const record = await readRecord(source, ref, context.runtime.env);
  let thrown: { readonly error: unknown } | undefined;
  try {
    await beatingForUser(() => mapped(context, () => next({ ...input, args: [record] })));
  } catch (error) {
    thrown = { error };
  }
  // What no further call can pass ends the run's calls, whatever the activity made of it.
  const stop = terminalCodeOf(thrown?.error) ?? context.terminal?.code ?? terminalCodeOf(context.failure);
  if (isTerminalRefusal(stop)) {
    // An earlier attempt may have paid.
    const known = await outcomeOfCalls(context, ref);
    return { ...(known.outcome === 'not_started' ? { outcome: 'refused', code: stop } : known), stop };
  }
  if (thrown !== undefined) {
    // A decline is an answer: to ask again is to be told the same.
    const { last } = context;
    if (last?.status !== 402) throw triedEnough(context) ? final(thrown.error) : thrown.error;
    return { outcome: 'declined', ...(last.code !== undefined && { code: last.code }) };
  }
  const known = context.ambiguous ? await outcomeOfCalls(context, ref) : undefined;
  return known === undefined || known.outcome === 'not_started' ? { outcome: 'succeeded' } : known;
}

/** The user's own failures are tried a few times; while calls come to nothing, as long as those of the pack. */
function triedEnough({ unserved }: CallContext): boolean {
  return !unserved && activityInfo().attempt >= OWN_ATTEMPTS_MAX;
}

const OWN_ATTEMPTS_MAX = 10;

/** The same failure, which Temporal does not try again. */
function final(error: unknown): unknown {
  if (error instanceof TemporalFailure && !(error instanceof ApplicationFailure)) return error;
  const { message, type, details, cause, stack } = ensureApplicationFailure(error);
  const failure = ApplicationFailure.create({
    message,
    nonRetryable: true,
    ...(type != null && { type }),
    ...(details != null && { details }),
    ...(cause !== undefined && { cause }),
  });
  if (stack !== undefined) failure.stack = stack;
  return failure;
}

/** What the calls of a record came to, by the ledger; `not_started` when there was none. */
async function outcomeOfCalls({ runtime, header }: CallContext, { id, activityId, offset }: RecordRef) {
  if (header === undefined || id === null) return { outcome: 'not_started' } satisfies RecordResult;
  return outcomeInLedger(runtime, header, activityId ?? activityIdFor(id), offset);
}

/** Runs the user's code; what it throws after a refusal becomes the refusal's failure. */
async function mapped<T>(context: CallContext, userCode: () => Promise<T>): Promise<T> {
  try {
    return await userCode();
  } catch (error) {
    throw failureOf(context, error);
  }
}

function failureOf({ terminal, failure, last }: CallContext, error: unknown): unknown {
  const cause = error instanceof Error ? error : undefined;
  if (failure !== undefined) return failure;
  if (terminal !== undefined) return refusalFailure(terminal, cause);
  if (error instanceof ApplicationFailure) return toFailure(error);
  // With `fetch` the user's own error follows an answer that they have read.
  const refused = refusalOf(error) ?? last?.refused;
  return refused === undefined ? toFailure(error) : refusalFailure(refused, cause);
}
