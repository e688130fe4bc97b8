/** Verify, version 2: a pending verification is one object, however often its code is sent. */
import { checkTo } from './addresses';
import { TwilioFailure, badRequest, notFound } from './errors';
import { APPROVED_MICROS, CHANNEL_MICROS } from './prices';
import { type Call, type TwilioState, type Verification, param } from './state';

const LIFE_MS = 10 * 60_000;
const ATTEMPTS_MAX = 5;

/** `POST Verifications`: while one is pending for the recipient, its code is sent again under the same sid. */
export function createVerification(call: Call): object {
  const { state, form, accountSid, requestId } = call;
  const serviceSid = serviceOf(call);
  const to = param(form, 'To');
  const channel = param(form, 'Channel');
  if (to === undefined) throw badRequest(60200, 'Invalid parameter `To`');
  if (channel === undefined || !Object.hasOwn(CHANNEL_MICROS, channel)) {
    throw badRequest(60200, `Invalid parameter \`Channel\`: ${channel ?? ''}`);
  }
  if (channel !== 'email') checkTo(to);
  const nowMs = state.now();
  const verification = pending(state, serviceSid, to) ?? started(state, accountSid, serviceSid, to, nowMs);
  if (verification.attempts.length >= ATTEMPTS_MAX) throw new TwilioFailure(429, 60203, 'Max send attempts reached');
  verification.attempts.push({ atMs: nowMs, channel, sid: state.newSid('VL'), requestId });
  verification.channel = channel;
  verification.updatedMs = nowMs;
  return render(verification);
}

/** `GET Verifications/{sid}`, by sid or recipient; one that has ended is gone. */
export function fetchVerification(call: Call): object {
  return render(verificationOf(call, call.path['sid'] ?? ''));
}

/** `POST Verifications/{sid}`: cancels or approves. */
export function updateVerification(call: Call): object {
  const verification = verificationOf(call, call.path['sid'] ?? '');
  const status = param(call.form, 'Status');
  if (status !== 'canceled' && status !== 'approved') throw badRequest(60200, 'Invalid parameter `Status`');
  verification.status = status;
  verification.updatedMs = call.state.now();
  return render(verification);
}

/** `POST VerificationCheck`: the right code approves, and that is billed. */
export function checkVerification(call: Call): object {
  const { form, state } = call;
  const verification = verificationOf(call, param(form, 'VerificationSid') ?? param(form, 'To') ?? '');
  if (param(form, 'Code') === verification.code) verification.status = 'approved';
  verification.updatedMs = state.now();
  return render(verification);
}

/** What a verification costs as of now. */
export function verificationMicros({ attempts, status }: Verification): number {
  const sent = attempts.reduce((sum, { channel }) => sum + (CHANNEL_MICROS[channel] ?? 0), 0);
  return sent + (status === 'approved' ? APPROVED_MICROS : 0);
}

function serviceOf({ path, url }: Call): string {
  const sid = path['service'] ?? '';
  if (!/^VA[0-9a-f]{32}$/.test(sid)) throw notFound(url);
  return sid;
}

function verificationOf(call: Call, name: string): Verification {
  const serviceSid = serviceOf(call);
  const named = call.state.verifications.get(name);
  const found = named === undefined ? pending(call.state, serviceSid, name) : alive(call.state, named);
  if (found === undefined || found.serviceSid !== serviceSid) throw notFound(call.url);
  return found;
}

function pending(state: TwilioState, serviceSid: string, to: string): Verification | undefined {
  const all = [...state.verifications.values()];
  return all.findLast((one) => one.serviceSid === serviceSid && one.to === to && alive(state, one) !== undefined);
}

function alive(state: TwilioState, verification: Verification): Verification | undefined {
  const young = state.now() - verification.createdMs < LIFE_MS;
  return young && verification.status === 'pending' ? verification : undefined;
}

function started(state: TwilioState, accountSid: string, serviceSid: string, to: string, nowMs: number): Verification {
  const code = String(100_000 + (state.verifications.size % 900_000));
  const verification: Verification = {
    kind: 'verification',
    sid: state.newSid('VE'),
    accountSid,
    serviceSid,
    to,
    code,
    attempts: [],
    channel: '',
    status: 'pending',
    createdMs: nowMs,
    updatedMs: nowMs,
  };
  state.verifications.set(verification.sid, verification);
  return verification;
}

function render(verification: Verification): object {
  const { accountSid, attempts, channel, createdMs, serviceSid, sid, status, to, updatedMs } = verification;
  return {
    account_sid: accountSid,
    amount: null,
    channel,
    date_created: iso8601(createdMs),
    date_updated: iso8601(updatedMs),
    lookup: { carrier: null },
    payee: null,
    send_code_attempts: attempts.map((one) => ({
      attempt_sid: one.sid,
      channel: one.channel,
      time: iso8601(one.atMs),
    })),
    service_sid: serviceSid,
    sid,
    sna: null,
    status,
    to,
    url: `https://verify.twilio.com/v2/Services/${serviceSid}/Verifications/${sid}`,
    valid: status === 'approved',
  };
}

function iso8601(ms: number): string {
  return new Date(ms).toISOString().replace(/\.\d+Z$/, 'Z');
}
