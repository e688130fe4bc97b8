/** Values of flags, checked where they are read so that the complaint names the flag. */
import { InvalidArgumentError } from 'commander';
import { type Micros, usdToMicros } from '../../proxy/contract';
import { folderProblem } from '../config';
import { CliError } from './errors';

/** `500`, `99.50`, `$1,200`: dollars as a number. */
export function parseUsd(text: string): number {
  // Commas between thousands alone: `0,500` is half a dollar to many, and no cap may be a thousand times what was meant.
  const usd = /^\$?(\d+|[1-9]\d{0,2}(,\d{3})+)(\.\d+)?$/.test(text) ? Number(text.replace(/[$,]/g, '')) : Number.NaN;
  if (usdToMicros(usd) === undefined) throw new InvalidArgumentError('Give US dollars, e.g. 500 or 99.50.');
  return usd;
}

/** A dollar amount of the control plane, for formatting. */
export function micros(usd: number): Micros {
  return Math.round(usd * 1_000_000);
}

export function parseCount(text: string): number {
  if (/^[1-9]\d{0,8}$/.test(text)) return Number(text);
  throw new InvalidArgumentError('Give a whole number above 0.');
}

/** Milliseconds; 0 is some. */
export function parseMs(text: string): number {
  if (/^\d{1,9}$/.test(text)) return Number(text);
  throw new InvalidArgumentError('Give milliseconds as a whole number, e.g. 200.');
}

export function parsePort(text: string): number {
  if (/^\d{1,5}$/.test(text) && Number(text) <= 65_535) return Number(text);
  throw new InvalidArgumentError('Give a port from 0 (any free one) to 65535.');
}

/** Gathers a flag that may be given several times. */
export function collect(value: string, before: readonly string[] = []): string[] {
  return [...before, value];
}

/** `name=value` pairs as an object. */
export function parsePairs(flag: string, pairs: readonly string[]): Record<string, string> {
  return Object.fromEntries(
    pairs.map((pair) => {
      const at = pair.indexOf('=');
      if (at < 1) throw new InvalidArgumentError(`${flag} takes name=value, not ${pair}`);
      return [pair.slice(0, at), pair.slice(at + 1)];
    }),
  );
}

/** `eur=1.2` pairs as numbers. */
export function parseRates(pairs: readonly string[]): Record<string, number> {
  return Object.fromEntries(
    Object.entries(parsePairs('--fx', pairs)).map(([currency, rate]) => {
      if (/^\d+(\.\d+)?$/.test(rate)) return [currency.toLowerCase(), Number(rate)];
      throw new InvalidArgumentError(`--fx takes dollars per unit, e.g. eur=1.2, not ${currency}=${rate}`);
    }),
  );
}

/** The folder of a flag, which must be there. */
export function checkSourceDir(path: string): void {
  const unfit = folderProblem(path);
  if (unfit !== undefined) throw new CliError(`--source-dir names ${path}, ${unfit}: correct it, or make it.`);
}
