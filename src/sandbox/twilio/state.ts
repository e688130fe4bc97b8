/** What the Twilio stand-in keeps. Rows change as messages and calls go on; answers are written from them. */
import { randomBytes } from 'node:crypto';
import type { Callbacks } from './callbacks';
import type { PriceTable } from './prices';

/** How a message can end; `sent` is the end where no receipt of delivery comes. */
export type MessageOutcome = 'sent' | 'delivered' | 'undelivered' | 'failed';

/** The states of a message that occur here. */
export type MessageStatus = MessageOutcome | 'scheduled' | 'accepted' | 'queued' | 'canceled';

/** How a call can end. */
export type CallOutcome = 'completed' | 'busy' | 'no-answer' | 'failed' | 'canceled';

/** The states of a call that occur here. */
export type CallStatus = CallOutcome | 'queued' | 'in-progress';

interface Sent {
  readonly sid: string;
  readonly accountSid: string;
  readonly to: string;
  readonly createdMs: number;
  readonly statusCallback: string | null;
  /** Signs the callbacks. */
  readonly authToken: string;
  readonly requestId: string;
  updatedMs: number;
  /** What Twilio has put on the bill and shows; null until then. */
  priceMicros: number | null;
}

/** A message. */
export interface Message extends Sent {
  readonly kind: 'sms' | 'mms';
  readonly messagingServiceSid: string | null;
  readonly media: readonly string[];
  readonly segments: number;
  /** Per segment of a text, per message with media. */
  readonly unitMicros: number;
  readonly outcome: MessageOutcome;
  readonly sendAtMs: number;
  /** What was sent; `body` is what is left of it after a redaction. */
  readonly sentBody: string;
  body: string;
  from: string | null;
  status: MessageStatus;
  errorCode: number | null;
  sentMs: number | null;
}

/** A call. */
export interface PhoneCall extends Sent {
  readonly kind: 'call';
  readonly from: string;
  readonly minuteMicros: number;
  readonly timeLimitSeconds: number;
  readonly talkSeconds: number;
  readonly outcome: CallOutcome;
  status: CallStatus;
  durationSeconds: number | null;
}

/** A verification: one sid for every attempt to reach a number until it is approved, canceled or ten minutes old. */
export interface Verification {
  readonly kind: 'verification';
  readonly sid: string;
  readonly accountSid: string;
  readonly serviceSid: string;
  readonly to: string;
  readonly createdMs: number;
  readonly code: string;
  readonly attempts: {
    readonly atMs: number;
    readonly channel: string;
    readonly sid: string;
    readonly requestId: string;
  }[];
  channel: string;
  updatedMs: number;
  status: 'pending' | 'approved' | 'canceled';
}

/** A look-up that was billed, or was free. */
export interface Lookup {
  readonly kind: 'lookup';
  readonly sid: string;
  readonly to: string;
  readonly fields: readonly string[];
  readonly micros: number;
  readonly createdMs: number;
  readonly requestId: string;
}

/** The account's objects, oldest first. */
export class TwilioState {
  readonly messages = new Map<string, Message>();
  readonly calls = new Map<string, PhoneCall>();
  readonly verifications = new Map<string, Verification>();
  readonly lookups: Lookup[] = [];
  readonly prices: PriceTable;
  readonly callbacks: Callbacks;
  readonly now: () => number;
  /** Part of every sid, so that none comes twice, not even after a reset or a restart. */
  readonly #run = randomBytes(10).toString('hex');
  #made = 0;

  constructor(prices: PriceTable, callbacks: Callbacks, now: () => number) {
    this.prices = prices;
    this.callbacks = callbacks;
    this.now = now;
  }

  /** A new sid in the manner of Twilio: two letters and 32 hexadecimal digits. */
  newSid(prefix: string): string {
    this.#made += 1;
    return `${prefix}${this.#run}${this.#made.toString(16).padStart(12, '0')}`;
  }
}

/** All that an endpoint may use. */
export interface Call {
  readonly state: TwilioState;
  /** The names that the path's template asks for. */
  readonly path: Readonly<Record<string, string>>;
  /** The request's path, for complaints about it. */
  readonly url: string;
  /** Of the query of a read, of the body of a POST. */
  readonly form: URLSearchParams;
  readonly accountSid: string;
  readonly authToken: string;
  readonly requestId: string;
  /** An injected decline: the message or call will fail. */
  readonly decline: boolean;
}

/** The value of a parameter; of several the last, of an empty or absent one undefined. */
export function param(form: URLSearchParams, name: string): string | undefined {
  const value = form.getAll(name).at(-1);
  return value === '' ? undefined : value;
}

/** As in `Thu, 24 Aug 2023 05:01:45 +0000`. */
export function rfc2822(ms: number | null): string | null {
  return ms === null ? null : new Date(ms).toUTCString().replace('GMT', '+0000');
}
