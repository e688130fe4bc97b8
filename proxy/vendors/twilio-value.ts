/** What Twilio's messages and calls cost, as their representation tells: in an answer, a look-up or a callback. */
import type { Micros } from '../contract';
import { scaleUp } from './decimal';
import { noMoney, type PricingTerms, type Route, type Valuation, type VendorRequest } from './vendor';

type Fields = Readonly<Record<string, unknown>>;

/** What Twilio bills for a message that failed (support.twilio.com 27502337507483, since 2024-09-30). */
const FAILED_MICROS = 1_000;

/**
 * V of a message, from its JSON or from the fields of a status callback. Nothing is known of the cost before its price
 * is there (up to a day, with the carrier's fee) or it failed or was canceled: then V is the quote `otherwise`, for the
 * time being; without one the answer is undefined: no news. `num_segments` is "0" for a Messaging Service, never read.
 */
export function valueOfMessage(message: unknown, terms: PricingTerms, otherwise?: Quote): Valuation | undefined {
  const fields = fieldsOf(message);
  const sid = sidIn(fields, /^(?:SM|MM)[A-Za-z0-9]{2,64}$/, 'sid', 'MessageSid', 'SmsSid');
  const status = fields?.['status'] ?? fields?.['MessageStatus'] ?? fields?.['SmsStatus'];
  if (fields === undefined || sid === undefined || typeof status !== 'string') return undefined;
  const price = priceOf(fields, terms);
  const settled = status === 'canceled' ? 0 : (price ?? (status === 'failed' ? FAILED_MICROS : undefined));
  return worth(sid, settled, otherwise);
}

const FREE_ENDS: ReadonlySet<string> = new Set(['busy', 'failed', 'no-answer', 'canceled']);

/** As {@link valueOfMessage}, of a call. */
export function valueOfCall(call: unknown, terms: PricingTerms, otherwise?: Quote): Valuation | undefined {
  const fields = fieldsOf(call);
  const sid = sidIn(fields, /^CA[A-Za-z0-9]{2,64}$/, 'sid', 'CallSid');
  const status = fields?.['status'] ?? fields?.['CallStatus'];
  if (fields === undefined || sid === undefined || typeof status !== 'string') return undefined;
  const settled = FREE_ENDS.has(status) ? 0 : status === 'completed' ? priceOf(fields, terms) : undefined;
  return worth(sid, settled, otherwise);
}

/** What a message or call is held to cost, and when Twilio begins with it where that is later than now. */
export interface Quote {
  readonly micros: Micros;
  readonly from: number | null;
}

function worth(sid: string, known: Micros | undefined, otherwise: Quote | undefined): Valuation | undefined {
  const micros = known ?? otherwise?.micros;
  if (micros === undefined) return undefined;
  const value = { ...noMoney(sid), objectId: sid, valueMicros: micros, amountMicros: micros };
  return known === undefined && otherwise !== undefined ? { ...value, late: { from: otherwise.from } } : value;
}

/** For routes that make a message or call: the quote stands until better is known. */
export function madeValue(valueOf: typeof valueOfMessage): Route['value'] {
  return (status, answer, terms, { request, quoteMicros }) => {
    return status === 402 ? undefined : valueOf(answer, terms, { micros: quoteMicros, from: sendAt(request) });
  };
}

/** A scheduled message goes out, and gets its price, at its `SendAt`. */
function sendAt({ body }: VendorRequest): number | null {
  const field = (name: string) => body.find(([one]) => one === name)?.[1];
  const time = field('ScheduleType') === 'fixed' ? Date.parse(field('SendAt') ?? '') : NaN;
  return Number.isNaN(time) ? null : time;
}

/**
 * For updates and reads: undefined while nothing is known, so that what is counted stays counted. A price in another
 * currency is left to the look for it, by the rates of the key that pays it: those of who reads it may be lower.
 */
export function newsValue(valueOf: typeof valueOfMessage): Route['value'] {
  return (_status, answer) => valueOf(answer, { fx: {} });
}

/** For what is billed as quoted whatever becomes of it: verifications and look-ups. */
export const quotedValue: Route['value'] = (status, answer, _terms, { quoteMicros }) => {
  const fields = fieldsOf(answer);
  if (status === 402 || fields === undefined) return undefined;
  const sid = sidIn(fields, /^[A-Z]{2}[A-Za-z0-9]{2,64}$/, 'sid');
  return { ...noMoney(sid ?? null), valueMicros: quoteMicros, amountMicros: quoteMicros };
};

function fieldsOf(value: unknown): Fields | undefined {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Fields) : undefined;
}

function sidIn(fields: Fields | undefined, pattern: RegExp, ...names: readonly string[]): string | undefined {
  const sid = names.map((name) => fields?.[name]).find((value) => value !== undefined);
  return typeof sid === 'string' && pattern.test(sid) ? sid : undefined;
}

/** The currency of a price that is told, in small letters. */
export function currencyOfPrice(answer: unknown): string | undefined {
  const fields = fieldsOf(answer);
  return typeof fields?.['price'] === 'string' ? unitOf(fields) : undefined;
}

function unitOf({ price_unit: unit }: Fields): string {
  return typeof unit === 'string' ? unit.toLowerCase() : 'usd';
}

/** A negative decimal text in the account's currency, `"-0.00750"`; null until it is known. */
function priceOf(fields: Fields, { fx }: PricingTerms): Micros | undefined {
  const { price } = fields;
  if (typeof price !== 'string' && typeof price !== 'number') return undefined;
  const code = unitOf(fields);
  const rate = code === 'usd' ? 1 : Object.hasOwn(fx, code) ? fx[code] : undefined;
  return rate === undefined ? undefined : scaleUp(String(price).replace(/^-/, ''), rate);
}
