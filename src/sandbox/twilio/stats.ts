/** What the Twilio stand-in says it has executed, added up from its objects when asked. */
import type { RequestCounts } from '../counts';
import { type Duplicate, duplicatesBy } from '../duplicates';
import { openMicros } from './calls';
import { chargedMicros, fullMicros } from './messages';
import { FAILED_MICROS } from './prices';
import type { Lookup, Message, PhoneCall, TwilioState, Verification } from './state';
import { verificationMicros } from './verify';

/** A message, call, verification or look-up, and what it cost. */
export interface SandboxMessage {
  readonly id: string;
  readonly kind: 'sms' | 'mms' | 'call' | 'verification' | 'lookup';
  readonly to: string;
  readonly from: string | null;
  readonly messagingServiceSid: string | null;
  /** The text as it was sent, whatever was redacted later; of a verification its code, of a look-up its fields. */
  readonly body: string | null;
  readonly media: readonly string[];
  readonly status: string;
  /** Segments of a message, minutes of a call, attempts of a verification. */
  readonly units: number;
  /** What it costs as of now, on the bill or not yet. */
  readonly chargedMicros: number;
  /** What it can still come to cost: a call that goes on, a scheduled message. */
  readonly openMicros: number;
  /** What Twilio shows as its price; null until it does. */
  readonly priceMicros: number | null;
  readonly requestId: string;
  readonly createdMs: number;
}

/** What the Twilio stand-in has done. Money is in micro-dollars. */
export interface TwilioStats extends Readonly<RequestCounts> {
  /** Messages accepted, and of these the ones that were not canceled and do not wait for their time. */
  readonly messages: number;
  readonly executedMessages: number;
  readonly segments: number;
  readonly failed: number;
  readonly calls: number;
  readonly verificationAttempts: number;
  readonly lookups: number;
  readonly chargedMicros: number;
  readonly chargedUsd: number;
  readonly openMicros: number;
  /** Of `chargedMicros`, what Twilio shows as prices of messages and calls. */
  readonly pricedMicros: number;
  readonly duplicates: {
    /** The same text from and to the same numbers, or the same call, more than once. */
    readonly sends: readonly Duplicate[];
  };
}

/** One row per message, call, verification and billed look-up, in the order of creation within each kind. */
export function listMessages(state: TwilioState): readonly SandboxMessage[] {
  return [
    ...[...state.messages.values()].map(fromMessage),
    ...[...state.calls.values()].map(fromCall),
    ...[...state.verifications.values()].map(fromVerification),
    ...state.lookups.map(fromLookup),
  ];
}

/** Adds it all up. */
export function summariseTwilio(state: TwilioState, counts: RequestCounts): TwilioStats {
  const rows = listMessages(state);
  const messages = rows.filter(({ kind }) => kind === 'sms' || kind === 'mms');
  const executed = messages.filter(({ status }) => status !== 'canceled' && status !== 'scheduled');
  const charged = sum(rows, (row) => row.chargedMicros);
  const sends = [...executed, ...rows.filter(({ kind }) => kind === 'call')];
  return {
    ...counts,
    injected: { ...counts.injected },
    messages: messages.length,
    executedMessages: executed.length,
    segments: sum(executed, (row) => row.units),
    failed: messages.filter(({ status }) => status === 'failed').length,
    calls: state.calls.size,
    verificationAttempts: sum([...state.verifications.values()], ({ attempts }) => attempts.length),
    lookups: state.lookups.length,
    chargedMicros: charged,
    chargedUsd: charged / 1_000_000,
    openMicros: sum(rows, (row) => row.openMicros),
    pricedMicros: sum(rows, (row) => row.priceMicros ?? 0),
    duplicates: { sends: duplicatesBy(sends, contentOf) },
  };
}

/** The sender is the service while there is one: which of its numbers was chosen says nothing. */
function contentOf({ kind, to, from, messagingServiceSid, body, media }: SandboxMessage): string {
  return JSON.stringify([kind, to, messagingServiceSid ?? from, body, ...media]);
}

function fromMessage(message: Message): SandboxMessage {
  const { sid, kind, to, from, messagingServiceSid, sentBody, media, status, segments, requestId } = message;
  return {
    id: sid,
    kind,
    to,
    from,
    messagingServiceSid,
    body: sentBody,
    media,
    status,
    units: segments,
    requestId,
    chargedMicros: chargedMicros(message, FAILED_MICROS),
    openMicros: status === 'scheduled' ? fullMicros(message) : 0,
    priceMicros: message.priceMicros,
    createdMs: message.createdMs,
  };
}

function fromCall(call: PhoneCall): SandboxMessage {
  const { sid, kind, to, from, status, durationSeconds, priceMicros, requestId, createdMs } = call;
  return {
    id: sid,
    kind,
    to,
    from,
    messagingServiceSid: null,
    body: null,
    media: [],
    status,
    requestId,
    createdMs,
    units: Math.ceil((durationSeconds ?? 0) / 60),
    chargedMicros: priceMicros ?? 0,
    openMicros: openMicros(call),
    priceMicros,
  };
}

function fromVerification(verification: Verification): SandboxMessage {
  const { sid, kind, to, code, status, attempts, createdMs } = verification;
  return {
    id: sid,
    kind,
    to,
    from: null,
    messagingServiceSid: null,
    body: code,
    media: [],
    status,
    createdMs,
    units: attempts.length,
    chargedMicros: verificationMicros(verification),
    openMicros: 0,
    priceMicros: null,
    requestId: attempts.at(-1)?.requestId ?? '',
  };
}

function fromLookup({ sid, kind, to, fields, micros, requestId, createdMs }: Lookup): SandboxMessage {
  return {
    id: sid,
    kind,
    to,
    from: null,
    messagingServiceSid: null,
    media: [],
    requestId,
    createdMs,
    body: fields.join(','),
    status: 'completed',
    units: 1,
    chargedMicros: micros,
    openMicros: 0,
    priceMicros: null,
  };
}

function sum<T>(rows: readonly T[], of: (row: T) => number): number {
  return rows.reduce((total, row) => total + of(row), 0);
}
