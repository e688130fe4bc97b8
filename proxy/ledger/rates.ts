/** Keys may say different dollars for one currency; what one of them pays is counted in its own. Pure but for `rows`. */
import type { Rows } from '../stores/store';

/** How many of a key's micro-dollars one of another key's is. */
export type RateOf = (otherKey: string) => number;

/** Dollars per unit of currency, as the key says. */
export function fxOf(rows: Rows, keyId: string): Readonly<Record<string, number>> {
  return JSON.parse(rows.get('keys', keyId)?.fx ?? '{}') as Readonly<Record<string, number>>;
}

export function ratesOf(rows: Rows, keyId: string, currency: string): RateOf {
  if (currency === 'usd') return () => 1;
  const rate = (id: string) => {
    const fx = fxOf(rows, id);
    return Object.hasOwn(fx, currency) ? fx[currency] : undefined;
  };
  const own = rate(keyId);
  return (other) => (own === undefined || other === keyId ? 1 : own / (rate(other) ?? own));
}
