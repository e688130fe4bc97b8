/** Answers to the caller: the vendor's own, refusals in the vendor's shape, and the stored form of those to replay. */
import { HEADERS, type Micros, microsToUsd, type Refusal, REFUSALS } from './contract';
import type { AnswerHeaders, Sent } from './forward';
import { newId } from './ids';
import type { Credential, Vendor } from './vendors/vendor';

export interface Reply {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Buffer;
}

/** Larger answers are not stored; their replays are refused as `already_executed`. */
export const STORED_BYTES_MAX = 256 * 1024;

/** Vendor headers that the caller sees. `Set-Cookie`, tracing and connection headers are the proxy's business. */
const SHOWN: readonly string[] = [
  'content-type',
  HEADERS.requestId,
  'stripe-version',
  'idempotency-key',
  'original-request',
  'retry-after',
  'ratelimit-limit',
  'ratelimit-remaining',
  'ratelimit-reset',
  'twilio-request-id',
  HEADERS.shouldRetry,
];

/** What a vendor that echoes the request would show of a secret: itself, and the credentials that are sent (RFC 7617). */
export function secretForms(vendor: Vendor, credential: Credential): readonly string[] {
  const sent = Object.values(vendor.authorization(credential)).map((value) => value.replace(/^(?:Basic|Bearer) /, ''));
  // Without the padding, which an echo may leave out.
  const forms = [credential.secret, ...sent.map((value) => value.replace(/=+$/, ''))];
  return [...new Set(forms)].toSorted((a, b) => b.length - a.length);
}

/** What the vendor answered, with the real secret taken out of whatever echoes it. */
export function withoutSecret(sent: Sent, { secretForms: forms }: { readonly secretForms: readonly string[] }): Sent {
  if (sent.kind !== 'answered') return sent;
  const inBody = forms.some((form) => sent.body.includes(form));
  const inHeader = Object.values(sent.headers).some((value) => forms.some((form) => String(value).includes(form)));
  if (!inBody && !inHeader) return sent;
  const clean = (value: string) => forms.reduce((text, form) => text.replaceAll(form, '[secret]'), value);
  const headers = Object.entries(sent.headers).map(([name, value]) => [name, clean(String(value))]);
  const body = inBody ? Buffer.from(clean(sent.body.toString())) : sent.body;
  return { ...sent, body, headers: Object.fromEntries(headers) as AnswerHeaders };
}

/** The vendor's answer for the caller. */
export function vendorReply(status: number, headers: AnswerHeaders, body: Buffer): Reply {
  const shown: Record<string, string> = {};
  for (const name of SHOWN) {
    const value = headers[name];
    if (typeof value === 'string') shown[name] = value;
  }
  return { status, headers: shown, body };
}

/** A refusal as the vendor would write it, so that its SDK raises its own exception. */
export function refusalReply(vendor: Vendor, refusal: Refusal): Reply {
  const { code, details } = refusal;
  const text = refusal.message.startsWith(code) ? refusal.message : `${code}: ${refusal.message}`;
  const body = Buffer.from(JSON.stringify(vendor.refusalBody(code, text, details)));
  const retryAfter = details.retry_after_seconds;
  return {
    status: vendor.refusalStatus(code),
    headers: {
      'content-type': 'application/json',
      [HEADERS.requestId]: newId('req'),
      [HEADERS.code]: code,
      [HEADERS.shouldRetry]: String(mayRetry(refusal, vendor)),
      ...(details.call_id !== undefined && { [HEADERS.callId]: details.call_id }),
      ...(details.remaining_usd !== undefined && { [HEADERS.remainingUsd]: String(details.remaining_usd) }),
      ...(retryAfter !== undefined && { 'retry-after': String(retryAfter) }),
    },
    body,
  };
}

/** An unknown outcome may only be repeated with a vendor that knows its idempotency keys, and while it still does. */
function mayRetry({ code, details }: Refusal, vendor: Vendor): boolean {
  if (code !== 'outcome_unknown') return REFUSALS[code].retry;
  return vendor.idempotencyHeader !== null && details.prior_call === undefined && details.may_retry !== false;
}

/** The reply with the headers that name the call and what is left. */
export function withCall(reply: Reply, callId: string, remaining: Micros | null): Reply {
  const headers: Record<string, string> = Object.assign({}, reply.headers);
  headers[HEADERS.requestId] ??= newId('req');
  headers[HEADERS.callId] = callId;
  if (remaining !== null) headers[HEADERS.remainingUsd] = String(microsToUsd(remaining));
  return { status: reply.status, headers, body: reply.body };
}

/** The reply with the time after which it is worth trying again, where the vendor named none. */
export function withRetryAfter(reply: Reply, seconds: number): Reply {
  return { ...reply, headers: { 'retry-after': String(seconds), ...reply.headers } };
}

/** The stored form of a reply: the length of its head, the head as JSON, the body. Undefined when it is too large. */
export function pack({ status, headers, body }: Reply): Buffer | undefined {
  if (body.length > STORED_BYTES_MAX) return undefined;
  const head = JSON.stringify({ status, headers });
  const headBytes = Buffer.byteLength(head);
  const packed = Buffer.allocUnsafe(4 + headBytes + body.length);
  packed.writeUInt32BE(headBytes);
  packed.write(head, 4);
  body.copy(packed, 4 + headBytes);
  return packed;
}

export function unpack(packed: Buffer): Reply {
  const end = 4 + packed.readUInt32BE();
  const head = JSON.parse(packed.subarray(4, end).toString()) as Omit<Reply, 'body'>;
  return { ...head, body: packed.subarray(end) };
}
