/** `Messages.json`: create, read, change. There is no idempotency: what is sent twice is sent twice. */
import { checkFrom, checkTo, notEnabled } from './addresses';
import { badRequest, notFound } from './errors';
import { priceFor, priceText } from './prices';
import { segmentsOf } from './segments';
import { type Call, type Message, type MessageOutcome, type TwilioState, param, rfc2822 } from './state';

const BODY_CHARS_MAX = 1600;
const MEDIA_MAX = 10;
const SCHEDULE_MIN_MS = 15 * 60_000;
const SCHEDULE_MAX_MS = 35 * 86_400_000;

/** How a message ends, by the last digits of its recipient. */
const OUTCOMES: Readonly<Record<string, MessageOutcome>> = { '0001': 'failed', '0002': 'undelivered', '0003': 'sent' };

const ERRORS: Readonly<Record<number, string>> = { 30003: 'Unreachable destination handset', 30008: 'Unknown error' };

/** `POST Messages.json` */
export function createMessage(call: Call): object {
  const { state, form } = call;
  const message = readMessage(call);
  state.messages.set(message.sid, message);
  // A Messaging Service has not chosen the sender yet, and without a sender there are no segments to tell of.
  const shown = renderMessage(message);
  return param(form, 'MessagingServiceSid') === undefined ? shown : { ...shown, num_segments: '0' };
}

/** `GET Messages/{sid}.json` */
export function fetchMessage(call: Call): object {
  return renderMessage(messageOf(call));
}

/** `POST Messages/{sid}.json`: cancels what is scheduled, or redacts what has been sent. */
export function updateMessage(call: Call): object {
  const message = messageOf(call);
  const { form, state } = call;
  const status = param(form, 'Status');
  if (status !== undefined && status !== 'canceled') throw badRequest(20001, `Invalid Status: ${status}`);
  if (status === 'canceled') {
    if (message.status !== 'scheduled') throw badRequest(30409, 'This message cannot be canceled');
    message.status = 'canceled';
  } else if (form.get('Body') === '') {
    if (UNDERWAY.has(message.status)) throw badRequest(20009, 'Cannot redact a message that is not yet sent.');
    message.body = '';
  }
  message.updatedMs = state.now();
  return renderMessage(message);
}

const UNDERWAY: ReadonlySet<string> = new Set(['scheduled', 'accepted', 'queued']);

/** A message as Twilio answers it. */
export function renderMessage(message: Message): Readonly<Record<string, unknown>> {
  const { accountSid, createdMs, errorCode, media, messagingServiceSid, priceMicros, sid, updatedMs } = message;
  const uri = `/2010-04-01/Accounts/${accountSid}/Messages/${sid}`;
  const unassigned = messagingServiceSid !== null && UNDERWAY.has(message.status);
  return {
    account_sid: accountSid,
    api_version: '2010-04-01',
    body: message.body,
    date_created: rfc2822(createdMs),
    date_sent: rfc2822(message.sentMs),
    date_updated: rfc2822(updatedMs),
    direction: 'outbound-api',
    error_code: errorCode,
    error_message: errorCode === null ? null : ERRORS[errorCode],
    from: message.from,
    messaging_service_sid: messagingServiceSid,
    num_media: String(media.length),
    num_segments: unassigned ? '0' : String(message.segments),
    price: priceMicros === null ? null : priceText(priceMicros),
    price_unit: 'USD',
    sid,
    status: message.status,
    subresource_uris: { media: `${uri}/Media.json` },
    to: message.to,
    uri: `${uri}.json`,
  };
}

function messageOf({ state, path, url }: Call): Message {
  const message = state.messages.get(path['sid'] ?? '');
  if (message === undefined) throw notFound(url);
  return message;
}

function readMessage({ state, form, accountSid, authToken, requestId, decline }: Call): Message {
  const to = param(form, 'To');
  const from = param(form, 'From') ?? null;
  const messagingServiceSid = param(form, 'MessagingServiceSid') ?? null;
  if (to === undefined) throw badRequest(21604, "A 'To' phone number is required.");
  if (from === null && messagingServiceSid === null) throw badRequest(21603, "A 'From' phone number is required.");
  checkTo(to);
  if (from !== null) checkFrom(from);
  if (to === from) throw badRequest(21266, "'To' and 'From' number cannot be the same");
  if (messagingServiceSid !== null && !/^MG[0-9a-f]{32}$/.test(messagingServiceSid)) {
    throw badRequest(21701, 'The Messaging Service does not exist');
  }
  const { body, media, kind } = readContent(form);
  const price = priceFor(to, state.prices);
  if (price === undefined) throw notEnabled(to);
  const createdMs = state.now();
  const sendAtMs = readSendAt(form, createdMs, messagingServiceSid);
  return {
    kind,
    sid: state.newSid(kind === 'mms' ? 'MM' : 'SM'),
    accountSid,
    authToken,
    requestId,
    to,
    from,
    messagingServiceSid,
    sentBody: body,
    body,
    media,
    segments: kind === 'mms' ? 1 : segmentsOf(body, param(form, 'SmartEncoded') === 'true').segments,
    unitMicros: kind === 'mms' ? price.mmsMicros : price.smsMicros,
    outcome: decline ? 'failed' : (OUTCOMES[to.slice(-4)] ?? 'delivered'),
    statusCallback: param(form, 'StatusCallback') ?? null,
    status: sendAtMs > createdMs ? 'scheduled' : messagingServiceSid === null ? 'queued' : 'accepted',
    sendAtMs,
    createdMs,
    updatedMs: createdMs,
    sentMs: null,
    errorCode: null,
    priceMicros: null,
  };
}

/** The text of a content template (`ContentSid`) is kept at Twilio: here it says its own sid. */
function readContent(form: URLSearchParams): Pick<Message, 'body' | 'media' | 'kind'> {
  const media = form.getAll('MediaUrl').filter((url) => url !== '');
  const contentSid = param(form, 'ContentSid');
  const body = contentSid === undefined ? (param(form, 'Body') ?? '') : `Template ${contentSid}`;
  if (body === '' && media.length === 0) throw badRequest(21602, 'Message body is required.');
  if (body.length > BODY_CHARS_MAX) {
    throw badRequest(21617, `The concatenated message body exceeds the ${BODY_CHARS_MAX} character limit`);
  }
  if (media.length > MEDIA_MAX) throw badRequest(21623, 'Number of media files exceeds allowed limit');
  if (!media.every((url) => /^https?:\/\//.test(url))) throw badRequest(21620, 'Invalid media URL(s)');
  const kind = media.length > 0 || param(form, 'SendAsMms') === 'true' ? 'mms' : 'sms';
  return { body, media, kind };
}

/** Without a Messaging Service the parameters of a schedule are dropped, and the message goes at once. */
function readSendAt(form: URLSearchParams, nowMs: number, messagingServiceSid: string | null): number {
  if (param(form, 'ScheduleType') !== 'fixed' || messagingServiceSid === null) return nowMs;
  const sendAtMs = Date.parse(param(form, 'SendAt') ?? '');
  if (sendAtMs >= nowMs + SCHEDULE_MIN_MS && sendAtMs <= nowMs + SCHEDULE_MAX_MS) return sendAtMs;
  throw badRequest(35114, 'Scheduling does not support this timestamp');
}

/** What a message costs as of now: in full from the moment it is accepted, little if it fails. */
export function chargedMicros(message: Message, failedMicros: number): number {
  if (message.status === 'canceled' || message.status === 'scheduled') return 0;
  return message.status === 'failed' ? failedMicros : fullMicros(message);
}

/** What a message costs that is sent, delivered or not. */
export function fullMicros({ segments, unitMicros }: Message): number {
  return segments * unitMicros;
}

/** The messages, newest first. */
export function newestFirst(state: TwilioState): Message[] {
  return [...state.messages.values()].toReversed();
}
