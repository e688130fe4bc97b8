/** Checks decoded parameters against a table of fields, with Stripe's own complaints. */
import { type StripeFailure, invalidParam } from './errors';
import type { FormHash, FormValue } from './form';

/** A filter on `created`: one second exactly, or bounds. */
export interface CreatedFilter {
  readonly from: number;
  readonly to: number;
}

interface Kinds {
  readonly amount: number;
  readonly integer: number;
  readonly boolean: boolean;
  readonly currency: string;
  readonly string: string;
  readonly hash: FormHash | null;
  readonly created: CreatedFilter;
  readonly any: FormValue;
}

/** The parameters of an endpoint, each with what it must be. `any` is accepted and ignored. */
export type Fields = Readonly<Record<string, keyof Kinds>>;

/** What `parseParams` makes of `Fields`; those named by `R` are there. */
export type Params<F extends Fields, R extends keyof F = never> = {
  readonly [K in Exclude<keyof F, R>]?: Kinds[F[K]] | undefined;
} & { readonly [K in R]: Kinds[F[K]] };

const AMOUNT_MAX = 99_999_999;

/** Checks and converts a form: missing, unknown and ill-typed parameters are refused. `expand` is always allowed. */
export function parseParams<F extends Fields, R extends keyof F & string = never>(
  form: FormHash,
  fields: F,
  required: readonly R[] = [],
): Params<F, R> {
  const params: Record<string, unknown> = {};
  for (const name of required) {
    if (form[name] === undefined) throw missing(name);
  }
  for (const name of Object.keys(form)) {
    const kind = Object.hasOwn(fields, name) ? fields[name] : undefined;
    if (kind !== undefined) params[name] = PARSERS[kind](name, form[name] ?? '');
    else if (name !== 'expand') throw invalidParam(name, `Received unknown parameter: ${name}`, 'parameter_unknown');
  }
  return params as Params<F, R>;
}

/** The complaint about an absent parameter. */
export function missing(name: string): StripeFailure {
  return invalidParam(name, `Missing required param: ${name}.`, 'parameter_missing');
}

const PARSERS: { readonly [K in keyof Kinds]: (name: string, value: FormValue) => Kinds[K] } = {
  amount: parseAmount,
  integer: parseInteger,
  boolean: parseBoolean,
  currency: parseCurrency,
  string: parseText,
  hash: parseHash,
  created: parseCreated,
  any: (_name, value) => value,
};

function parseAmount(name: string, value: FormValue): number {
  const amount = parseInteger(name, value);
  if (amount < 1) {
    throw invalidParam(name, 'This value must be greater than or equal to 1.', 'parameter_invalid_integer');
  }
  if (amount > AMOUNT_MAX) throw invalidParam(name, 'Amount must be no more than $999,999.99', 'amount_too_large');
  return amount;
}

/** As lenient as Stripe's stand-ins are (`0500`, `+500`), so that a proxy which reads a number otherwise is caught. */
function parseInteger(name: string, value: FormValue): number {
  const text = filled(name, value);
  if (!/^\s*[+-]?\d{1,15}\s*$/.test(text)) {
    throw invalidParam(name, `Invalid integer: ${text}`, 'parameter_invalid_integer');
  }
  return Number(text);
}

function parseBoolean(name: string, value: FormValue): boolean {
  const text = filled(name, value);
  if (text !== 'true' && text !== 'false') throw invalidParam(name, `Invalid boolean: ${text}`);
  return text === 'true';
}

function parseCurrency(name: string, value: FormValue): string {
  const text = filled(name, value).toLowerCase();
  if (!/^[a-z]{3}$/.test(text)) throw invalidParam(name, `Invalid currency: ${text}.`);
  return text;
}

function filled(name: string, value: FormValue): string {
  const text = parseText(name, value);
  if (text !== '') return text;
  const message =
    `You passed an empty string for '${name}'. We assume empty values are an attempt to unset a field; ` +
    `however '${name}' cannot be unset.`;
  throw invalidParam(name, message, 'parameter_invalid_empty');
}

function parseText(name: string, value: FormValue): string {
  if (typeof value !== 'string') throw invalidParam(name, `Invalid string: ${JSON.stringify(value)}`);
  return value;
}

/** An empty text unsets the whole hash: null. */
function parseHash(name: string, value: FormValue): FormHash | null {
  if (value === '') return null;
  if (typeof value === 'string') throw invalidParam(name, 'Invalid object');
  return value;
}

function parseCreated(name: string, value: FormValue): CreatedFilter {
  if (typeof value === 'string') {
    const second = parseInteger(name, value);
    return { from: second, to: second };
  }
  const bounds = parseParams(value, { gt: 'integer', gte: 'integer', lt: 'integer', lte: 'integer' });
  return {
    from: Math.max(bounds.gte ?? 0, (bounds.gt ?? -1) + 1),
    to: Math.min(bounds.lte ?? Infinity, (bounds.lt ?? Infinity) - 1),
  };
}
