/** The most that a text, a call, a verification or a look-up by Twilio can cost (VENDORS 3). */
import { SegmentedMessage } from 'sms-segments-calculator';
import type { Micros } from '../contract';
import { valueIfAny, wholeNumberIfAny } from '../form';
import { pricing, refused, unpriceable } from './pricing';
import { destinationOf, type Tariff, tariffKey, tariffPrice } from './tariff';
import type { TwilioPrices } from './twilio-prices';
import { isService } from './twilio-sender';
import type { FormPairs, Price, Route } from './vendor';

/** Lists in Twilio's flat forms. */
export const TWILIO_REPEATS: ReadonlySet<string> = new Set(['MediaUrl', 'PersistentAction', 'StatusCallbackEvent']);

/** Every parameter of twilio-oai's CreateMessage, but `ShortenUrls`, which changes the text that is billed. */
const MESSAGE_FIELDS = new Set([
  'To',
  'From',
  'MessagingServiceSid',
  'FallbackFrom',
  'Body',
  'MediaUrl',
  'ContentSid',
  'ContentVariables',
  'StatusCallback',
  'ApplicationSid',
  'MaxPrice',
  'ProvideFeedback',
  'Attempt',
  'ValidityPeriod',
  'ForceDelivery',
  'ContentRetention',
  'AddressRetention',
  'SmartEncoded',
  'PersistentAction',
  'TrafficType',
  'ScheduleType',
  'SendAt',
  'SendAsMms',
  'RiskCheck',
  'Tags',
]);

/** POST …/Messages.json: segments times the destination's price; one price for a message whose text is not the bill. */
export function messagePrice(prices: TwilioPrices): Route['price'] {
  return pricing(({ body }) => {
    refuseOthers(body, MESSAGE_FIELDS);
    return { price: fixed(messageMicros(body, prices)) };
  });
}

const CHANNELS = ['whatsapp', 'messenger', 'rcs'] as const;

function messageMicros(body: FormPairs, prices: TwilioPrices): Micros {
  const to = required(body, 'To');
  const channel = CHANNELS.find((name) => to.startsWith(`${name}:`));
  if (channel === 'messenger') return flat(prices.messenger, 'messenger');
  if (channel !== undefined) {
    const number = to.slice(`${channel}:`.length);
    // What the channel does not take goes out as a text from there.
    const fallback = valueIfAny(body, 'FallbackFrom') === undefined ? 0 : textMicros(body, number, prices);
    const micros = channel === 'rcs' ? rcsMicros(body, number, prices) : priceTo(number, prices.whatsapp, 'whatsapp');
    return Math.max(micros, fallback);
  }
  const from = valueIfAny(body, 'From') ?? '';
  if (from.startsWith('rcs:')) return Math.max(rcsMicros(body, to, prices), textMicros(body, to, prices));
  const service = isService(from) || valueIfAny(body, 'MessagingServiceSid') !== undefined;
  const destination = service ? destinationOf(to) : undefined;
  // A service sends by RCS where it can; who has no price for that has no such sender in it.
  const mayBeRcs = destination !== undefined && tariffPrice(prices.rcs, destination) !== undefined;
  return Math.max(mayBeRcs ? rcsMicros(body, to, prices) : 0, textMicros(body, to, prices));
}

const RCS_BYTES = 160;

/** In the US a text is billed by 160 bytes of UTF-8, elsewhere as one (sms-segments-calculator 1.3, by Twilio). */
function rcsMicros(body: FormPairs, to: string, prices: TwilioPrices): Micros {
  const bytes = Buffer.byteLength(valueIfAny(body, 'Body') ?? '');
  const units = to.startsWith('+1') ? Math.max(1, Math.ceil(bytes / RCS_BYTES)) : 1;
  return units * priceTo(to, prices.rcs, 'rcs');
}

function textMicros(body: FormPairs, to: string, prices: TwilioPrices): Micros {
  const media = body.filter(([name]) => name === 'MediaUrl').length;
  if (media > MEDIA_MAX) throw unpriceable('MediaUrl', `A message has at most ${MEDIA_MAX} pictures.`);
  const text = bodyIn(body) + LINK.repeat(media);
  const asText = () => segmentsOf(text) * priceTo(to, prices.sms, 'sms');
  const asMms = media > 0 || (valueIfAny(body, 'SendAsMms') ?? 'false') !== 'false';
  const mms = asMms ? priceTo(to, prices.mms, 'mms') : 0;
  if (valueIfAny(body, 'ContentSid') === undefined) return Math.max(mms, asText());
  return Math.max(mms, priceTo(to, prices.content, 'content'), text === '' ? 0 : asText());
}

/** Twilio takes 1,600 characters; counting many more would take a time that grows with the square of the text. */
const UNITS_MAX = 3_200;
const MEDIA_MAX = 10;

function bodyIn(body: FormPairs): string {
  const text = valueIfAny(body, 'Body') ?? '';
  if (text.length > UNITS_MAX) throw unpriceable('Body', 'A text has at most 1,600 characters.');
  return text;
}

/**
 * Where the carrier takes no pictures, Twilio's MMS Converter, which is on by default, sends a text with a link to each,
 * and bills its segments (support.twilio.com 223181248). An empty `MediaUrl` or `ContentSid` is none, and so is a text.
 */
const LINK = `\n${'x'.repeat(60)}`;

/**
 * The segments that Twilio bills at most: a Messaging Service may turn smart encoding on, or not, so the greater of
 * both. GSM-7 160 characters, then 153 each; UCS-2 70, then 67.
 */
export function segmentsOf(text: string): number {
  return Math.max(1, segments(text, false), segments(text, true));
}

function segments(text: string, smart: boolean): number {
  const { segmentsCount, encodingName, graphemes } = new SegmentedMessage(text, 'auto', smart);
  return encodingName === 'UCS-2' ? Math.max(segmentsCount, packed(graphemes.join(''))) : segmentsCount;
}

const UCS2_ALONE = 70;
const UCS2_EACH = 67;

/** The library tears no grapheme apart, and puts one of any length into one segment: Twilio does not. */
function packed(text: string): number {
  if (text.length <= UCS2_ALONE) return 1;
  let count = 1;
  let used = 0;
  for (const { length } of text) {
    if (used + length > UCS2_EACH) [count, used] = [count + 1, 0];
    used += length;
  }
  return count;
}

const CALL_FIELDS = new Set([
  'To',
  'From',
  'Twiml',
  'TimeLimit',
  'Timeout',
  'SendDigits',
  'CallerId',
  'CallReason',
  'StatusCallback',
  'StatusCallbackMethod',
  'StatusCallbackEvent',
]);
/** The longest that Twilio lets a call last: 4 hours. */
const CALL_SECONDS_LONGEST = 14_400;

/**
 * POST …/Calls.json: the minutes of its `TimeLimit`. Instructions must be in the request and bring no further legs:
 * `Url`, `ApplicationSid`, recording and answering machine detection are refused, whatever they would say.
 */
export function callPrice(prices: TwilioPrices): Route['price'] {
  return pricing(({ body }) => {
    for (const field of ['Url', 'ApplicationSid', 'FallbackUrl']) {
      if (valueIfAny(body, field) === undefined) continue;
      throw refused('parameter_not_allowed', field, `What ${field} answers could dial further legs: give Twiml.`);
    }
    refuseOthers(body, CALL_FIELDS);
    checkTwiml(required(body, 'Twiml'));
    const given = wholeNumberIfAny(body, 'TimeLimit');
    const seconds = given ?? prices.call_seconds_max;
    if (seconds > CALL_SECONDS_LONGEST) throw unpriceable('TimeLimit', `At most ${CALL_SECONDS_LONGEST} seconds.`);
    const micros = Math.ceil(seconds / 60) * priceTo(required(body, 'To'), prices.call_minute, 'call_minute');
    return { price: fixed(micros), adds: given === undefined ? [['TimeLimit', String(seconds)]] : [] };
  });
}

/** Speaks, plays, waits and hangs up. Voices other than the default are billed by the character. */
const TWIML_TAG =
  /^<(?:\/(?:Response|Say|Play|Pause|Hangup)|(?:Response|Say|Play|Pause|Hangup)(?:\s+(?:language|loop|length)="[^"<>&]*")*\s*\/?)>$/;

/** Read in another encoding than the one it is sent in, a text could have other tags. */
const XML_DECLARATION =
  /^\s*<\?xml\s+version=(["'])1\.0\1(?:\s+encoding=(["'])utf-8\2)?(?:\s+standalone=(["'])(?:yes|no)\3)?\s*\?>/i;

function checkTwiml(twiml: string): void {
  const tags = twiml.replace(XML_DECLARATION, '').match(/<[^>]*>?/g) ?? [];
  const odd = tags.find((tag) => !TWIML_TAG.test(tag));
  if (odd === undefined) return;
  const text = `Twiml may hold Say, Play, Pause and Hangup, with language, loop and length; not ${odd.slice(0, 60)}.`;
  throw refused('parameter_not_allowed', 'Twiml', text);
}

const VERIFICATION_FIELDS = new Set([
  'To',
  'Channel',
  'Locale',
  'CustomFriendlyName',
  'CustomCode',
  'SendDigits',
  'RateLimits',
  'AppHash',
  'TemplateSid',
  'TemplateCustomSubstitutions',
  'DeviceIp',
  'EnableSnaClientToken',
  'RiskCheck',
  'Tags',
]);

/** POST verify …/Verifications: the operator's price of its channel. */
export function verificationPrice({ verify }: TwilioPrices): Route['price'] {
  return pricing(({ body }) => {
    refuseOthers(body, VERIFICATION_FIELDS);
    const channel = required(body, 'Channel');
    const tariff = Object.hasOwn(verify, channel) ? verify[channel] : undefined;
    const key = `verify.${/^\w{1,20}$/.test(channel) ? channel : '<channel>'}`;
    if (tariff === undefined) throw missing('Channel', `channel ${channel.slice(0, 20)}`, key);
    const to = required(body, 'To');
    return { price: fixed(typeof tariff === 'number' ? tariff : priceTo(to, tariff, key)) };
  });
}

/** POST verify …/VerificationCheck: the fee for success, where the operator counts it here. */
export function verificationCheckPrice(prices: TwilioPrices): Route['price'] {
  return pricing(() => ({ price: fixed(flat(prices.verify_check, 'verify_check')) }));
}

const LOOKUP_FIELDS =
  /^(?:Fields|CountryCode|FirstName|LastName|AddressLine[12]|City|State|PostalCode|AddressCountryCode|NationalId|DateOfBirth|LastVerifiedDate|VerificationSid)$/;

/** GET lookups …/PhoneNumbers/:PhoneNumber: a read that costs, by its `Fields`; without any it is free. */
export function lookupPrice({ lookups }: TwilioPrices): Route['price'] {
  return pricing(({ query }) => {
    const odd = query.find(([name]) => !LOOKUP_FIELDS.test(name));
    if (odd !== undefined) throw unpriceable(odd[0], `Field "${odd[0].slice(0, 60)}" is not known here.`);
    const fields = (valueIfAny(query, 'Fields') ?? '').split(',').filter((field) => field !== '');
    const micros = fields.map((field) => {
      const price = Object.hasOwn(lookups, field) ? lookups[field] : undefined;
      if (price !== undefined) return price;
      const key = /^\w{1,60}$/.test(field) ? field : '<field>';
      throw missing('Fields', `field ${JSON.stringify(field.slice(0, 60))}`, `lookups.${key}`);
    });
    return { price: micros.length === 0 ? { kind: 'free' } : fixed(micros.reduce((sum, one) => sum + one, 0)) };
  });
}

function fixed(micros: Micros): Price {
  return { kind: 'fixed', micros, out: false };
}

function flat(price: Micros | undefined, key: string): Micros {
  if (price === undefined) throw missing('To', key, key);
  return price;
}

function priceTo(to: string, tariff: Tariff, key: string): Micros {
  const destination = destinationOf(to);
  if (destination === undefined) throw unpriceable('To', 'Write the number as E.164 does: +14155550100.');
  const price = tariffPrice(tariff, destination);
  if (price !== undefined) return price;
  const where = destination.country ?? `numbers that begin with ${destination.number.slice(0, 6)}`;
  throw missing('To', where, `${key}.${tariffKey(destination)}`);
}

function missing(field: string, what: string, key: string): Error {
  return unpriceable(field, `There is no price for ${what}: set prices.twilio.${key} in keybrake.yaml.`);
}

function required(body: FormPairs, field: string): string {
  const value = valueIfAny(body, field);
  if (value === undefined || value === '') throw unpriceable(field, `Field "${field}" is missing.`);
  return value;
}

function refuseOthers(body: FormPairs, known: ReadonlySet<string>): void {
  const found = body.find(([name]) => !known.has(name));
  if (found === undefined) return;
  const name = found[0].slice(0, 60);
  throw unpriceable(name, `Field "${name}" is not known here, and may change what the call costs.`);
}
