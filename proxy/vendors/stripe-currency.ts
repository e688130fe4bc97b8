/** Stripe's minor units as micro-dollars. Source: stripe.com/docs/currencies, as of API 2026-10-28 (VENDORS 2.1). */
import { CAP_USD_MAX, MICROS_PER_USD, type Micros, Refusal } from '../contract';
import type { PricingTerms } from './vendor';

/**
 * Amounts in these are whole units. UGX is on Stripe's list and, elsewhere, said to be sent in hundredths: reading it
 * as whole units holds too much, never too little. ISK, which Stripe does take in hundredths, is not on the list.
 */
// prettier-ignore
const ZERO_DECIMAL = new Set([
  'bif', 'clp', 'djf', 'gnf', 'jpy', 'kmf', 'krw', 'mga', 'pyg', 'rwf', 'ugx', 'vnd', 'vuv', 'xaf', 'xof', 'xpf',
]);
/** Amounts in these are thousandths, which Stripe rounds to tens. */
const THREE_DECIMAL = new Set(['bhd', 'jod', 'kwd', 'omr', 'tnd']);

/** The largest cap. */
export const MICROS_MAX = CAP_USD_MAX * MICROS_PER_USD;
const MICROS_PER_CENT = 10_000;

/**
 * Minor units of a currency in micro-dollars, rounded up to a whole one. Undefined: `terms` has no rate for the
 * currency, or the amount is above the largest cap ($1e9). Dollars need no rate, and none given for them is used.
 */
export function toMicros(minor: number, currency: string, terms: PricingTerms): Micros | undefined {
  const code = currencyCode(currency);
  const micros = code === 'usd' ? minor * MICROS_PER_CENT : convert(minor, code, terms);
  return micros !== undefined && micros <= MICROS_MAX ? micros : undefined;
}

/**
 * As {@link toMicros}, for an amount that a request states. Throws `currency_not_allowed` without a rate and
 * `request_unpriceable` above the largest cap, both with the field in the details.
 */
export function requestedMicros(minor: number, currency: string, terms: PricingTerms, field: string): Micros {
  const micros = toMicros(minor, currency, terms);
  if (micros !== undefined) return micros;
  if (hasRate(currency, terms)) {
    throw new Refusal('request_unpriceable', `Field "${field}" is more than any cap can hold.`, { field });
  }
  const allowed = ['usd', ...Object.keys(terms.fx).toSorted()].join(', ');
  const message = `Currency ${JSON.stringify(currency.slice(0, 10))} has no rate on this key; allowed: ${allowed}.`;
  throw new Refusal('currency_not_allowed', message, { field: 'currency' });
}

function hasRate(currency: string, { fx }: PricingTerms): boolean {
  const code = currencyCode(currency);
  return code === 'usd' || (code !== '' && Object.hasOwn(fx, code));
}

/** Lower-case, as Stripe answers it; empty for what is no code, so that no odd Unicode is folded into one. */
function currencyCode(currency: string): string {
  return /^[A-Za-z]{3,5}$/.test(currency) ? currency.toLowerCase() : '';
}

const RATE_DECIMALS = 12;
const RATE_ONE = 10n ** BigInt(RATE_DECIMALS);

/** Whole numbers only: `0.1 * 3` is not `0.3`, and a sum that is a hair too low is a cap that leaks. */
function convert(minor: number, code: string, { fx }: PricingTerms): Micros | undefined {
  const rate = Object.hasOwn(fx, code) ? fx[code] : undefined;
  if (rate === undefined || !(rate > 0 && rate <= CAP_USD_MAX)) return undefined;

  const three = THREE_DECIMAL.has(code);
  const units = BigInt(three ? Math.ceil(minor / 10) * 10 : minor);
  const unitsPerWhole = three ? 1000n : ZERO_DECIMAL.has(code) ? 1n : 100n;
  const dividend = units * rateScaled(rate) * BigInt(MICROS_PER_USD);
  const divisor = RATE_ONE * unitsPerWhole;
  return Number((dividend + divisor - 1n) / divisor);
}

/** Dollars per unit times 10^12: the decimal that was written, or the next one up. */
function rateScaled(rate: number): bigint {
  const text = rate.toFixed(RATE_DECIMALS);
  return BigInt(text.replace('.', '')) + (Number(text) < rate ? 1n : 0n);
}
