/** Prices that depend on where a call goes: one for everywhere, or by country or E.164 prefix. */
import {
  type CountryCode,
  getCountries,
  getCountryCallingCode,
  parsePhoneNumberFromString,
} from 'libphonenumber-js/max';
import type { Micros } from '../contract';

/**
 * Micro-dollars for every destination, or by ISO country (`GB`) and E.164 prefix (`+4477`). The longest prefix that
 * fits wins, then the country. The operator's figure is an upper bound: the most over carriers and number types, with
 * surcharges.
 */
export type Tariff = Micros | Readonly<Record<string, Micros>>;

/** What a destination is called where a price for it is missing: its country if known, and the prefix to write. */
export interface Destination {
  readonly number: string;
  readonly country: string | undefined;
}

const E164 = /^\+[1-9][0-9]{6,14}$/;

/** Numbers whose price has little to do with their country's: only a prefix says what they cost. */
const DEAR: ReadonlySet<unknown> = new Set(['PREMIUM_RATE', 'SHARED_COST', 'PERSONAL_NUMBER', 'UAN', 'PAGER']);

/** Reads a number as E.164 writes it. Undefined for all else: a national number means another country to each reader. */
export function destinationOf(number: string): Destination | undefined {
  if (!E164.test(number)) return undefined;
  const known = parsePhoneNumberFromString(number);
  return { number, country: DEAR.has(known?.getType()) ? undefined : known?.country };
}

/** Undefined: the tariff has no price for this destination. */
export function tariffPrice(tariff: Tariff, { number, country }: Destination): Micros | undefined {
  if (typeof tariff === 'number') return tariff;
  for (let end = number.length; end > 1; end--) {
    const prefix = number.slice(0, end);
    if (Object.hasOwn(tariff, prefix)) return tariff[prefix];
  }
  return country !== undefined && Object.hasOwn(tariff, country) ? tariff[country] : undefined;
}

/** The key to write for a destination: `AT`, or a prefix where no country is known. */
export function tariffKey({ number, country }: Destination): string {
  return country ?? `"${number.slice(0, 6)}"`;
}

const COUNTRIES: readonly string[] = getCountries();

/** What is wrong with a key of a tariff; undefined: nothing. */
export function tariffKeyProblem(key: string): string | undefined {
  if (COUNTRIES.includes(key)) return undefined;
  if (!/^\+[1-9][0-9]{0,14}$/.test(key)) return 'must be an ISO country such as GB, or a prefix such as "+4477"';
  const sharing = COUNTRIES.filter((country) => `+${getCountryCallingCode(country as CountryCode)}` === key);
  if (sharing.length < 2) return undefined;
  const some = sharing.slice(0, 4).join(', ');
  return `is shared by ${sharing.length} countries (${some} …) with different prices: name countries or longer prefixes`;
}
