/**
 * What the stand-in bills, in micro-dollars. The size of the numbers is that of Twilio's price lists, carrier fees
 * included, which the lists leave out; the numbers themselves are nobody's.
 */

/** The prices of a destination. */
export interface Price {
  /** Per segment of a text. */
  readonly smsMicros: number;
  /** Per message with media. */
  readonly mmsMicros: number;
  /** Per started minute of a call. */
  readonly minuteMicros: number;
}

/** Prices by how the number begins; the longest beginning counts. */
export type PriceTable = Readonly<Record<string, Price>>;

/** The stand-in's own prices. A destination without one is not enabled (21408). */
export const PRICES: PriceTable = {
  '+1': { smsMicros: 11_300, mmsMicros: 27_000, minuteMicros: 14_000 },
  '+33': { smsMicros: 79_800, mmsMicros: 79_800, minuteMicros: 18_500 },
  '+380': { smsMicros: 153_600, mmsMicros: 153_600, minuteMicros: 300_000 },
  '+44': { smsMicros: 52_400, mmsMicros: 52_400, minuteMicros: 15_800 },
  '+49': { smsMicros: 109_100, mmsMicros: 109_100, minuteMicros: 19_500 },
  '+61': { smsMicros: 51_500, mmsMicros: 350_000, minuteMicros: 25_500 },
  '+91': { smsMicros: 83_200, mmsMicros: 83_200, minuteMicros: 49_700 },
  'whatsapp:': { smsMicros: 30_000, mmsMicros: 30_000, minuteMicros: 0 },
};

/** Billed for a message that fails, whatever its length. */
export const FAILED_MICROS = 1_000;

/** Billed when a verification is approved; the channel of each attempt comes on top. */
export const APPROVED_MICROS = 50_000;

/** Billed for each attempt of a verification by its channel. */
export const CHANNEL_MICROS: Readonly<Record<string, number>> = {
  sms: 11_300,
  call: 14_000,
  email: 0,
  whatsapp: 30_000,
  auto: 11_300,
};

/** Billed for each field of a look-up. */
export const FIELD_MICROS: Readonly<Record<string, number>> = {
  validation: 0,
  caller_name: 10_000,
  line_type_intelligence: 8_000,
  line_status: 10_000,
  sim_swap: 30_000,
  call_forwarding: 20_000,
  identity_match: 100_000,
  reassigned_number: 20_000,
  sms_pumping_risk: 25_000,
};

/** The prices for an address, or undefined where none are. */
export function priceFor(to: string, table: PriceTable): Price | undefined {
  const beginnings = Object.keys(table).filter((beginning) => to.startsWith(beginning));
  const [longest] = beginnings.toSorted((a, b) => b.length - a.length);
  return longest === undefined ? undefined : table[longest];
}

/** A price as Twilio writes it: a negative decimal of at least five places. */
export function priceText(micros: number): string {
  const places = micros % 10 === 0 ? 5 : 6;
  return `-${(micros / 1_000_000).toFixed(places)}`;
}
