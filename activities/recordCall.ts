/** One record's vendor call: what is sent, and what the answer comes to. Shared by single records and chunks. */
import { HEADERS, REFUSALS } from '../proxy/contract';
import { encodeParams } from './bodies';
import type { RecordRef, RecordResult, StopCode } from './contract/plan';
import { isTerminalRefusal } from '../proxy/contract';
import { type Refused, retryAfterMsIn } from './failures';
import type { SourceRecord } from './fields';
import { contextOf, executedOtherwise, outcomeOf } from './outcome';
import { activityIdFor, idempotencyKey } from './recordKeys';
import type { Runtime, VendorReply } from './runtime';
import { type EndpointCall, renderCall, withAccountIn } from './template';
import type { CallInput, CallRecordOutput } from './types';
import { plainResult, vendorCodeOf, withCode } from './vendorAnswers';

/** Who calls, for the audit row. */
export interface Caller {
  readonly workflowId: string;
  readonly activityId: string;
  readonly attempt: number;
}

/** A call that has no outcome yet. */
export interface Again {
  readonly code: string;
  readonly message: string;
  /** Null: as the caller sees fit. */
  readonly delayMs: number | null;
  /** May the vendor have seen it? */
  readonly sent: boolean;
}

export type Attempt = { readonly result: CallRecordOutput } | { readonly again: Again };

/** A run sends a declined record again once; more numbers than runs of a job are not needed. */
const DECLINED_RUNS_MAX = 50;

/** Calls the vendor for one record. Never throws for what only this record is to blame for. */
export async function attemptRecord(
  runtime: Runtime,
  input: CallInput,
  { ref, record }: { readonly ref: RecordRef; readonly record: SourceRecord | undefined },
  caller: Caller,
): Promise<Attempt> {
  if (ref.id === null || record === undefined) return done(invalid(ref.reason ?? `line ${ref.line} is not a record`));
  const { vendor = 'stripe', body = 'form' } = input.call;
  const rendered = renderCall(await placed(runtime, input), record);
  if (!rendered.ok) return done(invalid(`line ${ref.line}: "${rendered.field}" ${rendered.reason}`));
  const recordKey = ref.activityId ?? activityIdFor(ref.id);
  for (let former = 0; ; former += 1) {
    const key = idempotencyKey(input.jobId, ref.id, former === 0 ? undefined : `retry-${former}`);
    const reply = await runtime.call({
      keyId: input.keyId,
      vendor,
      method: rendered.method,
      path: rendered.path,
      ...encodeParams(body, rendered.method, rendered.params),
      idempotencyKey: key,
      headers: contextHeaders(caller, recordKey, ref.offset),
    });
    const attempt = await judge(runtime, input, { ref, recordKey }, reply);
    const resend = input.retry.includes('declined') && isFormerDecline(attempt, reply) && former < DECLINED_RUNS_MAX;
    // The next number is taken only after this one's decline is certain, so that nothing is executed twice.
    if (!resend || !(await declinedByFormerRun(runtime, input, recordKey, key))) return attempt;
  }
}

/** The call, with the account of a Twilio key where it says `{AccountSid}`. */
async function placed({ tokens }: Runtime, { call, keyId }: CallInput): Promise<EndpointCall> {
  return call.vendor === 'twilio' ? withAccountIn(call, (await tokens.get(keyId)).accountId) : call;
}

/** The context headers of a call. Text that a header cannot hold is percent-encoded. */
export function contextHeaders(caller: Caller, recordKey: string, offset: number | undefined): Record<string, string> {
  return {
    [HEADERS.recordId]: recordKey,
    [HEADERS.workflowId]: headerText(caller.workflowId),
    [HEADERS.activityId]: headerText(caller.activityId),
    [HEADERS.attempt]: String(caller.attempt),
    ...(offset !== undefined && { [HEADERS.context]: contextOf(offset) }),
  };
}

export function headerText(text: string): string {
  return /^(?!.*%)[!-~](?:[ -~]*[!-~])?$/.test(text) ? text : encodeURIComponent(text);
}

export function isReplay({ headers }: Pick<VendorReply, 'headers'>): boolean {
  return headers[HEADERS.replayed] === 'true';
}

interface Called {
  readonly ref: RecordRef;
  readonly recordKey: string;
}

async function judge(runtime: Runtime, input: CallInput, called: Called, reply: VendorReply): Promise<Attempt> {
  const { status, refused, body } = reply;
  if (refused !== undefined) return judgeRefusal(runtime, input, called, refused);
  const code = vendorCodeOf(body);
  const fresh = plainResult(input.call.vendor ?? 'stripe', status, code);
  if (isReplay(reply)) return done((await ask(runtime, input, called)) ?? fresh ?? { outcome: 'replayed' });
  if (fresh !== undefined) return done(fresh);
  const message = `The vendor answered ${status}${code === undefined ? '' : ` (${code})`}.`;
  const delayMs = retryAfterMsIn(reply.headers) ?? null;
  return { again: { code: code ?? `http_${status}`, message, delayMs, sent: status >= 500 } };
}

async function judgeRefusal(runtime: Runtime, input: CallInput, called: Called, refused: Refused): Promise<Attempt> {
  const { code, message, details, detailed, retryAfterMs } = refused;
  if (isTerminalRefusal(code)) {
    const mayBeKnown = details.prior_call !== undefined || !detailed;
    const prior = mayBeKnown ? await ask(runtime, input, called) : undefined;
    const known = prior !== undefined && prior.outcome !== 'refused' && prior.outcome !== 'not_started';
    return done(known ? prior : { outcome: 'refused', code, stop: code satisfies StopCode });
  }
  if (code === 'already_executed') return done((await ask(runtime, input, called)) ?? withCode('failed', code));
  if (code === 'idempotency_mismatch') {
    const asked = await ask(runtime, input, called);
    // What a former run executed was another request: this record, as it is now, was not.
    const another = asked === undefined || asked.outcome === 'replayed';
    return done(another ? executedOtherwise(details.prior_call?.call_id) : asked);
  }
  // The vendor knows no idempotency keys, or has forgotten this one: only a look-up can tell.
  const notSentAgain = code === 'outcome_unknown' && details.prior_call !== undefined;
  if (notSentAgain && retryAfterMs === undefined) return done(withCode('unknown', code));
  if (!REFUSALS[code].retry) return done({ outcome: 'refused', code, reason: message.slice(0, REASON_CHARS_MAX) });
  return { again: { code, message, delayMs: retryAfterMs ?? null, sent: code === 'outcome_unknown' } };
}

const REASON_CHARS_MAX = 300;

/** The ledger's word on a record; undefined when it has none. */
async function ask(runtime: Runtime, input: CallInput, { ref, recordKey }: Called): Promise<RecordResult | undefined> {
  const result = await outcomeInLedger(runtime, input, recordKey, ref.offset);
  return result.outcome === 'not_started' ? undefined : result;
}

/** The outcome of a record by its call rows. */
export async function outcomeInLedger(
  { client }: Runtime,
  { keyId, jobId }: { readonly keyId: string; readonly jobId: string },
  recordKey: string,
  offset: number,
): Promise<RecordResult> {
  const { items } = await client.listCalls({ job_id: jobId, record_id: recordKey, limit: 1_000 });
  return outcomeOf(items, { keyId, offset });
}

function isFormerDecline(attempt: Attempt, reply: VendorReply): boolean {
  return 'result' in attempt && attempt.result.outcome === 'declined' && isReplay(reply);
}

/** Did another key of the job than this run's get the decline of this number, which has this idempotency key? */
async function declinedByFormerRun(
  { client }: Runtime,
  { jobId, keyId }: CallInput,
  recordKey: string,
  idempotency: string,
): Promise<boolean> {
  const { items } = await client.listCalls({ job_id: jobId, record_id: recordKey, limit: 1_000 });
  const numbered = items.filter(({ idempotency_key: key }) => key === idempotency);
  const declined = numbered.filter(({ state, http_status: status }) => state === 'settled' && status === 402);
  return declined.length > 0 && declined.every((row) => row.key_id !== keyId);
}

function invalid(reason: string): RecordResult {
  return { outcome: 'failed', code: 'invalid_record', reason };
}

function done(result: CallRecordOutput): Attempt {
  return { result };
}
