/** What the Resend stand-in says it has sent, added up from its emails when asked. */
import type { RequestCounts } from '../counts';
import { type Duplicate, duplicatesBy } from '../duplicates';
import { lastEvent } from './emails';
import type { Email, ResendState } from './state';

/** An email that was accepted, and what it cost. */
export interface SandboxEmail {
  readonly id: string;
  readonly from: string;
  readonly to: readonly string[];
  readonly cc: readonly string[];
  readonly bcc: readonly string[];
  readonly subject: string;
  readonly html: string | null;
  readonly text: string | null;
  /** `delivered`, `bounced`, `scheduled` or `canceled`. */
  readonly status: string;
  /** To, Cc and Bcc: each is one on the bill. */
  readonly recipients: number;
  /** What it costs as of now. */
  readonly chargedMicros: number;
  /** What it will cost when its time comes. */
  readonly openMicros: number;
  readonly idempotencyKey: string | null;
  readonly requestId: string;
  readonly createdMs: number;
}

/** What the Resend stand-in has done. Money is in micro-dollars. */
export interface ResendStats extends Readonly<RequestCounts> {
  /** Emails accepted, and of these the ones that were not canceled and do not wait for their time. */
  readonly emails: number;
  readonly executedEmails: number;
  /** Of the executed ones. */
  readonly recipients: number;
  readonly canceled: number;
  readonly chargedMicros: number;
  readonly chargedUsd: number;
  readonly openMicros: number;
  readonly duplicates: {
    /** Idempotency keys under which more than one request was executed: never right within a day. */
    readonly keys: readonly Duplicate[];
    /** The same content to the same recipients, more than once. */
    readonly contents: readonly Duplicate[];
  };
}

/** The emails, oldest first. */
export function listSandboxEmails(state: ResendState, unitMicros: number): readonly SandboxEmail[] {
  const nowMs = state.now();
  return [...state.emails.values()].map((email) => fromEmail(email, unitMicros, nowMs));
}

/** Adds it all up. */
export function summariseResend(state: ResendState, unitMicros: number, counts: RequestCounts): ResendStats {
  const rows = listSandboxEmails(state, unitMicros);
  const executed = rows.filter(({ status }) => status === 'delivered' || status === 'bounced');
  const charged = sum(rows, (row) => row.chargedMicros);
  return {
    ...counts,
    injected: { ...counts.injected },
    emails: rows.length,
    executedEmails: executed.length,
    recipients: sum(executed, (row) => row.recipients),
    canceled: rows.filter(({ status }) => status === 'canceled').length,
    chargedMicros: charged,
    chargedUsd: charged / 1_000_000,
    openMicros: sum(rows, (row) => row.openMicros),
    duplicates: {
      keys: duplicatesBy(requestsOf(rows), ({ key }) => key),
      contents: duplicatesBy(executed, ({ from, to, cc, bcc, subject, html, text }) =>
        JSON.stringify([from, to, cc, bcc, subject, html, text]),
      ),
    },
  };
}

/** One row per executed request with a key, for a batch is one use of its key. */
function requestsOf(rows: readonly SandboxEmail[]): readonly { readonly id: string; readonly key: string | null }[] {
  const keys = new Map(rows.map(({ requestId, idempotencyKey }) => [requestId, idempotencyKey]));
  return [...keys].map(([id, key]) => ({ id, key }));
}

function fromEmail(email: Email, unitMicros: number, nowMs: number): SandboxEmail {
  const { id, content, idempotencyKey, requestId, createdMs } = email;
  const { from, to, cc, bcc, subject, html, text } = content;
  const status = lastEvent(email, nowMs);
  const recipients = to.length + cc.length + bcc.length;
  const micros = recipients * unitMicros;
  return {
    id,
    from,
    to,
    cc,
    bcc,
    subject,
    html,
    text,
    status,
    recipients,
    idempotencyKey,
    requestId,
    createdMs,
    chargedMicros: status === 'canceled' || status === 'scheduled' ? 0 : micros,
    openMicros: status === 'scheduled' ? micros : 0,
  };
}

function sum<T>(rows: readonly T[], of: (row: T) => number): number {
  return rows.reduce((total, row) => total + of(row), 0);
}
