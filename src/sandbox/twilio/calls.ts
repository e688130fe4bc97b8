/** `Calls.json`: create, read, hang up. */
import { checkFrom, checkTo, notEnabled } from './addresses';
import { badRequest, notFound } from './errors';
import { priceFor, priceText } from './prices';
import { type Call, type CallOutcome, type PhoneCall, param, rfc2822 } from './state';

const TIME_LIMIT_SECONDS = 14_400;
const TALK_SECONDS = 30;

/** How a call ends, by the last digits of the number called. One to 0004 talks until it is cut off. */
const OUTCOMES: Readonly<Record<string, CallOutcome>> = { '0001': 'failed', '0002': 'busy', '0003': 'no-answer' };
const TALKATIVE = '0004';

/** `POST Calls.json` */
export function createCall({ state, form, accountSid, authToken, requestId, decline }: Call): object {
  const to = param(form, 'To');
  const from = param(form, 'From');
  if (to === undefined) throw badRequest(21201, "No 'To' number is specified");
  if (from === undefined) throw badRequest(21213, "'From' phone number is required");
  checkTo(to);
  checkFrom(from);
  const does = ['Url', 'Twiml', 'ApplicationSid'].some((name) => param(form, name) !== undefined);
  if (!does) throw badRequest(21205, 'Url parameter is required.');
  const price = priceFor(to, state.prices);
  if (price === undefined) throw notEnabled(to);
  const timeLimitSeconds = Number(param(form, 'TimeLimit') ?? TIME_LIMIT_SECONDS);
  if (!Number.isInteger(timeLimitSeconds) || timeLimitSeconds < 1 || timeLimitSeconds > 86_400) {
    throw badRequest(21226, 'Invalid TimeLimit');
  }
  const createdMs = state.now();
  const call: PhoneCall = {
    kind: 'call',
    sid: state.newSid('CA'),
    accountSid,
    authToken,
    requestId,
    to,
    from,
    minuteMicros: price.minuteMicros,
    timeLimitSeconds,
    talkSeconds: to.endsWith(TALKATIVE) ? timeLimitSeconds : Math.min(TALK_SECONDS, timeLimitSeconds),
    outcome: decline ? 'failed' : (OUTCOMES[to.slice(-4)] ?? 'completed'),
    statusCallback: param(form, 'StatusCallback') ?? null,
    status: 'queued',
    durationSeconds: null,
    createdMs,
    updatedMs: createdMs,
    priceMicros: null,
  };
  state.calls.set(call.sid, call);
  return renderCall(call);
}

/** `GET Calls/{sid}.json` */
export function fetchCall(call: Call): object {
  return renderCall(callOf(call));
}

/** `POST Calls/{sid}.json`: cancels what waits, ends what talks. */
export function updateCall(request: Call): object {
  const call = callOf(request);
  const status = param(request.form, 'Status');
  if (status !== undefined && status !== 'canceled' && status !== 'completed') {
    throw badRequest(21218, `Invalid Status: ${status}`);
  }
  if (call.status === 'queued' && status !== undefined) endCall(call, 'canceled', request.state.now());
  else if (call.status === 'in-progress' && status === 'completed') endCall(call, 'completed', request.state.now());
  else if (status !== undefined) throw badRequest(21220, 'Invalid call state');
  return renderCall(call);
}

/** Ends a call and puts it on the bill: every started minute, and only where somebody answered. */
export function endCall(call: PhoneCall, outcome: CallOutcome, nowMs: number): void {
  call.status = outcome;
  call.durationSeconds = outcome === 'completed' ? call.talkSeconds : 0;
  call.priceMicros = Math.ceil(call.durationSeconds / 60) * call.minuteMicros;
  call.updatedMs = nowMs;
}

/** The most that a call which goes on can come to cost. */
export function openMicros(call: PhoneCall): number {
  return call.durationSeconds === null ? Math.ceil(call.timeLimitSeconds / 60) * call.minuteMicros : 0;
}

function callOf({ state, path, url }: Call): PhoneCall {
  const call = state.calls.get(path['sid'] ?? '');
  if (call === undefined) throw notFound(url);
  return call;
}

function renderCall(call: PhoneCall): object {
  const { accountSid, durationSeconds, priceMicros, sid } = call;
  const uri = `/2010-04-01/Accounts/${accountSid}/Calls/${sid}`;
  return {
    account_sid: accountSid,
    annotation: null,
    answered_by: null,
    api_version: '2010-04-01',
    caller_name: null,
    date_created: rfc2822(call.createdMs),
    date_updated: rfc2822(call.updatedMs),
    direction: 'outbound-api',
    duration: durationSeconds === null ? null : String(durationSeconds),
    end_time: durationSeconds === null ? null : rfc2822(call.updatedMs),
    forwarded_from: null,
    from: call.from,
    from_formatted: call.from,
    group_sid: null,
    parent_call_sid: null,
    phone_number_sid: null,
    price: priceMicros === null || priceMicros === 0 ? null : priceText(priceMicros),
    price_unit: 'USD',
    queue_time: '0',
    sid,
    start_time: call.status === 'queued' ? null : rfc2822(call.createdMs),
    status: call.status,
    subresource_uris: { recordings: `${uri}/Recordings.json` },
    to: call.to,
    to_formatted: call.to,
    trunk_sid: null,
    uri: `${uri}.json`,
  };
}
