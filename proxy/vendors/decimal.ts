/** Decimal texts as micro-dollars, without floats in between: a hair too low is a cap that leaks. */
import { CAP_USD_MAX, MICROS_PER_USD, type Micros } from '../contract';

const DECIMALS = 12;
const ONE = 10n ** BigInt(DECIMALS);

/** A decimal text times a rate, in micro-dollars, rounded up. Undefined for anything else, or above the largest cap. */
export function scaleUp(text: string, rate: number): Micros | undefined {
  const match = /^(\d{1,12})(?:\.(\d{1,12}))?$/.exec(text);
  if (match === null || !(rate > 0 && rate <= CAP_USD_MAX)) return undefined;
  const scaled = BigInt(`${match[1]}${(match[2] ?? '').padEnd(DECIMALS, '0')}`);
  const dividend = scaled * decimalScaled(rate) * BigInt(MICROS_PER_USD);
  const divisor = ONE * ONE;
  const micros = Number((dividend + divisor - 1n) / divisor);
  return micros <= CAP_USD_MAX * MICROS_PER_USD ? micros : undefined;
}

/** The number times 10^12: the decimal that was written, or the next one up. */
function decimalScaled(value: number): bigint {
  const text = value.toFixed(DECIMALS);
  return BigInt(text.replace('.', '')) + (Number(text) < value ? 1n : 0n);
}
