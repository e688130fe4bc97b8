/** Forms and queries, read strictly and written back (WHATWG URL standard, section 5.1), and the fields in them. */
import { Refusal } from './contract';
import type { FormPairs } from './vendors/vendor';

/** Most fields of one form or query. */
export const FORM_FIELDS_MAX = 2_000;
/** Most brackets in one field name, `a[b][c]` has two. */
export const FORM_DEPTH_MAX = 16;

const NO_PAIRS: FormPairs = [];

/**
 * Reads an `application/x-www-form-urlencoded` body (WHATWG URL standard, section 5.1) into pairs, in order. Throws
 * `request_unpriceable` with the field's name for: invalid escapes, a field without `=`, an empty or unbalanced name,
 * a name given twice (after decoding), and a name that is at once a value, a list or a map. Repeated `x[]` is a list.
 */
export function readForm(text: string): FormPairs {
  return text === '' ? NO_PAIRS : readPairs(text, 'body');
}

/**
 * Reads a form, or a query without its `?`, of plain names without nesting (Twilio's), of which only those in `repeats`
 * may be given more than once. `DateSent>` and `DateSent<` are such names. Throws as {@link readForm} does.
 */
export function readFlat(text: string, where: string, repeats: ReadonlySet<string> = NO_NAMES): FormPairs {
  if (text === '') return NO_PAIRS;
  const seen = new Set<string>();
  return splitPairs(text, where).map(([name, value]) => {
    if (!FLAT_NAME.test(name)) throw unpriceable(name, `Field name ${shown(name)} is odd: write a plain name.`);
    if (seen.has(name) && !repeats.has(name)) throw unpriceable(name, `Field ${shown(name)} is given twice.`);
    seen.add(name);
    return [name, value] as const;
  });
}

const NO_NAMES: ReadonlySet<string> = new Set();
const FLAT_NAME = /^[A-Za-z][A-Za-z0-9_.]*[<>]?$/;

/** Reads a query, without its `?`, by the rules of {@link readForm}. */
export function readQuery(text: string): FormPairs {
  return text === '' ? NO_PAIRS : readPairs(text, 'query');
}

function readPairs(text: string, where: string): FormPairs {
  const kinds: Kinds = new Map();
  const pairs = splitPairs(text, where);
  for (const [name] of pairs) claimName(kinds, name);
  return pairs;
}

function splitPairs(text: string, where: string): FormPairs {
  const parts = text.split('&', FORM_FIELDS_MAX + 1);
  if (parts.length > FORM_FIELDS_MAX) throw unpriceable(where, `More than ${FORM_FIELDS_MAX} fields.`);
  return parts.map((part) => {
    const equals = part.indexOf('=');
    if (equals < 1) throw unpriceable(where, `Every field of the ${where} is written name=value.`);
    return [decode(part.slice(0, equals), where), decode(part.slice(equals + 1), where)] as const;
  });
}

/** `+` is a space; escapes are decoded once. An escape that is no UTF-8 throws. */
export function decode(text: string, field: string): string {
  const spaced = field !== 'path' && text.includes('+') ? text.replaceAll('+', ' ') : text;
  if (!spaced.includes('%')) return spaced;
  try {
    return decodeURIComponent(spaced);
  } catch (cause) {
    throw new Refusal('request_unpriceable', `The ${field} has an invalid percent escape.`, { field }, { cause });
  }
}

/** `amount`, `metadata[order id]`, `expand[]`: brackets are balanced, and `[]` comes last. */
// oxlint-disable-next-line no-control-regex -- control characters are what it keeps out
const PLAIN_NAME = /^[A-Za-z0-9_]+(?:\[[^[\]\x00-\x1f\x7f]+\])*(?:\[\])?$/;

/** What each name, and each name that others are nested in, was used as. */
type Kinds = Map<string, 'value' | 'list' | 'map'>;

function claimName(kinds: Kinds, name: string): void {
  if (!PLAIN_NAME.test(name)) throw unpriceable(name, `Field name ${shown(name)} is odd: write a, a[b] or a[].`);

  let depth = 0;
  for (let at = name.indexOf('['); at !== -1; at = name.indexOf('[', at + 1)) {
    if (++depth > FORM_DEPTH_MAX) throw unpriceable(name, `More than ${FORM_DEPTH_MAX} brackets in a name.`);
    claim(kinds, name.slice(0, at), name.charAt(at + 1) === ']' ? 'list' : 'map');
  }
  if (!name.endsWith('[]')) claim(kinds, name, 'value');
}

function claim(kinds: Kinds, name: string, kind: 'value' | 'list' | 'map'): void {
  const before = kinds.get(name);
  if (before === undefined) {
    kinds.set(name, kind);
  } else if (before !== kind) {
    throw unpriceable(name, `Field ${shown(name)} is given both as a ${before} and as a ${kind}.`);
  } else if (kind === 'value') {
    throw unpriceable(name, `Field ${shown(name)} is given twice.`);
  }
}

/** Writes pairs as a form body that every reader decodes to these pairs. Throws URIError on a lone surrogate. */
export function encodeForm(pairs: FormPairs): string {
  let text = '';
  for (const [name, value] of pairs) text += `${text === '' ? '' : '&'}${encode(name)}=${encode(value)}`;
  return text;
}

/** What is written as it is. Most names and values are; the built-in function takes its time to find out. */
const PLAIN = /^[A-Za-z0-9_.-]*$/;

function encode(text: string): string {
  return PLAIN.test(text) ? text : encodeURIComponent(text);
}

const WHOLE_NUMBER = /^[1-9][0-9]{0,11}$/;

/**
 * The field as a whole number of 1 to 12 digits; its unit is the caller's. Throws `request_unpriceable` when it is
 * absent, given twice, nested, or written in any other way: signs, leading zeros, spaces, `1e3`, `0x10`.
 */
export function wholeNumber(pairs: FormPairs, field: string): number {
  const number = wholeNumberIfAny(pairs, field);
  if (number === undefined) throw unpriceable(field, `Field "${field}" is missing.`);
  return number;
}

/** As {@link wholeNumber}, but undefined when the field is absent. */
export function wholeNumberIfAny(pairs: FormPairs, field: string): number | undefined {
  const text = valueIfAny(pairs, field);
  if (text === undefined) return undefined;
  if (!WHOLE_NUMBER.test(text)) throw unpriceable(field, `Field "${field}" must be a whole number, 1 to 12 digits.`);
  return Number(text);
}

/** The one value of a field, undefined when absent. Throws `request_unpriceable` when it is given twice or nested. */
export function valueIfAny(pairs: FormPairs, field: string): string | undefined {
  let found: string | undefined;
  for (const [name, value] of pairs) {
    if (!name.startsWith(field) || (name.length > field.length && name.charAt(field.length) !== '[')) continue;
    if (name !== field || found !== undefined) throw unpriceable(field, `Field "${field}" must be one plain value.`);
    found = value;
  }
  return found;
}

/** The field that a nested name belongs to: `transfer_data` of `transfer_data[amount]`. */
export function rootOf(name: string): string {
  const at = name.indexOf('[');
  return at === -1 ? name : name.slice(0, at);
}

export function unpriceable(field: string, message: string): Refusal {
  return new Refusal('request_unpriceable', message, { field: field.slice(0, SHOWN_CHARS_MAX) });
}

const SHOWN_CHARS_MAX = 60;

function shown(name: string): string {
  return JSON.stringify(name.slice(0, SHOWN_CHARS_MAX));
}
