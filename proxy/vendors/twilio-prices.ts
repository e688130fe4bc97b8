/** The operator's prices for Twilio, and those that are shipped. */
import type { Micros } from '../contract';
import type { Tariff } from './tariff';

export interface TwilioPrices {
  /** Per segment. */
  readonly sms: Tariff;
  /** Per message with media. */
  readonly mms: Tariff;
  /** Per message made from a content template (`ContentSid`), whose text the proxy does not see. */
  readonly content: Tariff;
  readonly whatsapp: Tariff;
  readonly rcs: Tariff;
  readonly messenger: Micros | undefined;
  /** Per started minute. */
  readonly call_minute: Tariff;
  /** The longest call, in seconds: what a call without `TimeLimit` is limited to. */
  readonly call_seconds_max: number;
  /** Per verification by channel, with the fee for its success where `verify_check` has none. */
  readonly verify: Readonly<Record<string, Tariff>>;
  /** Per check of a verification code; 0 where the prices of the channels contain the fee. */
  readonly verify_check: Micros | undefined;
  /** Per field of a look-up, by its name in `Fields`. */
  readonly lookups: Readonly<Record<string, Micros>>;
}

/**
 * Above what Twilio's pages and its resellers' lists said in July 2026 for the US and Canada ($0.0083 a segment and
 * $0.022 a picture message, with carrier fees of up to $0.0062 and more for unregistered senders). All else depends on
 * the contract, and is refused until the operator says what it costs.
 */
const SHIPPED: TwilioPrices = {
  sms: { US: 20_000, CA: 20_000 },
  mms: { US: 50_000, CA: 50_000 },
  content: {},
  whatsapp: {},
  rcs: {},
  messenger: undefined,
  call_minute: {},
  call_seconds_max: 600,
  verify: {},
  verify_check: undefined,
  lookups: {},
};

/** The operator's prices over the shipped ones; of a tariff, entry by entry. */
export function twilioPrices(own: Partial<TwilioPrices> = {}): TwilioPrices {
  return { ...SHIPPED, ...own, sms: merged(SHIPPED.sms, own.sms), mms: merged(SHIPPED.mms, own.mms) };
}

function merged(shipped: Tariff, own: Tariff | undefined): Tariff {
  if (own === undefined) return shipped;
  return typeof own === 'number' || typeof shipped === 'number' ? own : { ...shipped, ...own };
}
