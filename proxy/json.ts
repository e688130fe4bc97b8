/** JSON read so that nobody reads it in a second way, and written so that equal values are equal texts. */
import { Refusal } from './contract';
import type { FormPairs } from './vendors/vendor';

export type Json = null | boolean | number | string | readonly Json[] | { readonly [name: string]: Json };
export type JsonObject = { readonly [name: string]: Json };

/** Most values nested in one another. */
const DEPTH_MAX = 32;
/** Most leaves of one body: a batch of e-mails has thousands. */
const LEAVES_MAX = 50_000;

export function isJsonObject(value: Json | undefined): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/**
 * Reads a body of RFC 8259 JSON: an object or a list. Throws `request_unpriceable`, with the name in `details.field`,
 * for a name given twice in one object (after decoding its escapes), for numbers that a double cannot hold, and for
 * names with brackets, quotation marks, backslashes or control characters.
 */
export function readJson(text: string): Json {
  const value = parse(text);
  if (typeof value !== 'object' || value === null) throw unpriceable('body', 'The body must be a JSON object or list.');
  checkTokens(text);
  return value;
}

function parse(text: string): Json {
  try {
    return JSON.parse(text) as Json;
  } catch (cause) {
    throw new Refusal('request_unpriceable', 'The body is not JSON.', { field: 'body' }, { cause });
  }
}

/** A text that no quotation mark ends goes to the end: were each of its own tried as a beginning, it would take for ever. */
const TOKEN = /"(?:[^"\\]|\\[^]?)*(?:"|$)|[{}[\],:]|[^\s"{}[\],:]+/g;
/**
 * Brackets look like nesting. V8 in Node 24.19 takes a name that is an escaped quotation mark, or control character, for
 * a backslash where an earlier object had that name: no vendor has such names, so none is read.
 */
// oxlint-disable-next-line no-control-regex -- control characters are what it keeps out
const ODD_NAME = /[[\]"\\\u0000-\u001f\u007f]|^(?:__proto__)?$/;

interface Place {
  readonly token: string;
  /** Of the innermost object, where the place is in one: the names that it has had so far. */
  readonly names: Set<string> | undefined;
  readonly depth: number;
  /** What was named here, as it is written; a name is known once its colon has come. */
  readonly name?: string;
}

/** The text as tokens: where it is JSON, they alone tell where names stand. */
function* placesIn(text: string): Generator<Place> {
  const open: (Set<string> | undefined)[] = [];
  let last = '';
  for (const [token] of text.matchAll(TOKEN)) {
    if (token === '{' || token === '[') open.push(token === '{' ? new Set() : undefined);
    else if (token === '}' || token === ']') open.pop();
    yield { token, names: open.at(-1), depth: open.length, ...(token === ':' && { name: last }) };
    last = token;
  }
}

function checkTokens(text: string): void {
  for (const { token, names, depth, name } of placesIn(text)) {
    if (depth > DEPTH_MAX) throw unpriceable('body', `More than ${DEPTH_MAX} values inside one another.`);
    if (name !== undefined) claimName(names, JSON.parse(name) as string);
    else if (/^[-\d]/.test(token)) checkNumber(token);
  }
}

/** The first name that an object in the text has twice, after decoding its escapes; undefined: none, or no JSON. */
export function repeatedName(text: string): string | undefined {
  try {
    for (const { names, name: written } of placesIn(text)) {
      if (written === undefined) continue;
      const name = JSON.parse(written) as string;
      if (names?.has(name)) return name;
      names?.add(name);
    }
  } catch {
    // Whoever reads it says so.
  }
  return undefined;
}

function claimName(names: Set<string> | undefined, name: string): void {
  if (ODD_NAME.test(name)) throw unpriceable(name, `Field name ${shown(name)} is odd.`);
  if (names?.has(name)) throw unpriceable(name, `Field ${shown(name)} is given twice.`);
  names?.add(name);
}

function checkNumber(token: string): void {
  const value = Number(token);
  if (!Number.isFinite(value) || (Number.isInteger(value) && !Number.isSafeInteger(value))) {
    throw unpriceable('body', 'The body has a number that is too large to be read exactly.');
  }
}

/** The value as one text: no spaces, names in order. What is forwarded and what is fingerprinted. */
export function canonicalJson(value: Json): string {
  return JSON.stringify(ordered(value));
}

function ordered(value: Json): Json {
  if (Array.isArray(value)) return value.map(ordered);
  if (!isJsonObject(value)) return value;
  const names = Object.keys(value).toSorted();
  return Object.fromEntries(names.map((name) => [name, ordered(value[name] ?? null)]));
}

/** The leaves as pairs, named as a form would name them; null is empty text. An empty list or object has none. */
export function leaves(value: Json): FormPairs {
  const pairs: [string, string][] = [];
  const walk = (place: string, inner: Json): void => {
    if (typeof inner === 'object' && inner !== null) {
      for (const [name, child] of Object.entries(inner)) walk(place === '' ? name : `${place}[${name}]`, child);
      return;
    }
    if (pairs.length >= LEAVES_MAX) throw unpriceable('body', `More than ${LEAVES_MAX} values.`);
    pairs.push([place, inner === null ? '' : String(inner)]);
  };
  walk('', value);
  return pairs;
}

/** The value at a path such as `data.id` or `lines.0.amount`; undefined where there is none. */
export function at(value: unknown, path: readonly string[]): unknown {
  let inner = value;
  for (const name of path) {
    if (typeof inner !== 'object' || inner === null || !Object.hasOwn(inner, name)) return undefined;
    inner = (inner as Readonly<Record<string, unknown>>)[name];
  }
  return inner;
}

const SHOWN_CHARS_MAX = 60;

function shown(name: string): string {
  return JSON.stringify(name.slice(0, SHOWN_CHARS_MAX));
}

function unpriceable(field: string, message: string): Refusal {
  return new Refusal('request_unpriceable', message, { field: field.slice(0, SHOWN_CHARS_MAX) });
}
