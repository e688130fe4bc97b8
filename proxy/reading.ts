/**
 * Strict reading at the border. Whatever the proxy reads differently from the vendor is a way around the cap, so a
 * request that can be read in two ways is refused, and what is forwarded is rebuilt from what was read here.
 */
import { hash } from 'node:crypto';
import { Refusal } from './contract';
import type { FormPairs, VendorRequest } from './vendors/vendor';

export { matchRoute, nearestRoute, parseAllowlistEntry } from './vendors/match';
export type { AllowlistEntry, RouteMatch } from './vendors/match';

/** Most fields of one form or query. */
export const FORM_FIELDS_MAX = 2_000;
/** Most brackets in one field name, `a[b][c]` has two. */
export const FORM_DEPTH_MAX = 16;

/** Headers that change whose money moves. They are part of a request's fingerprint. */
export const SEMANTIC_HEADERS = ['stripe-account', 'stripe-context'] as const;
/** Headers that {@link readRequest} keeps, because the vendor acts on them. */
const READ_HEADERS = [...SEMANTIC_HEADERS, 'idempotency-key', 'stripe-version'] as const;

/** Headers by lower-case name, as node:http gives them. */
export type RequestHeaders = Readonly<Record<string, string | readonly string[] | undefined>>;

/** A request target, split: a decoded path of plain segments, and the query as it came, without its `?`. */
export interface Target {
  readonly path: string;
  readonly query: string;
}

/** What {@link readRequest} puts together. `bodyText` is the whole body, see {@link decodeBody}. */
export interface IncomingCall {
  readonly method: string;
  readonly target: Target;
  readonly headers: RequestHeaders;
  readonly bodyText: string;
}

/**
 * Reads a call whose route is known. Throws `request_unpriceable`, with the field or header in its details, for all
 * that could be read in a second way: a body on a GET, a query on anything else (cost fields in the query), another
 * content type than a form, a method override, and whatever {@link readForm} refuses.
 */
export function readRequest({ method, target, headers, bodyText }: IncomingCall): VendorRequest {
  checkHeaders(method, headers, bodyText.length > 0);
  if (method === 'GET' && bodyText.length > 0) throw unpriceable('body', 'A GET has no body.');
  if (method !== 'GET' && target.query.length > 0) {
    throw unpriceable('query', `A ${method} has no query: send every field in the body, where it is priced.`);
  }
  const query = readQuery(target.query);
  const body = readForm(bodyText);
  for (const [name] of [...query, ...body]) {
    if (rootOf(name) === '_method') throw unpriceable('_method', 'The method cannot be overridden.');
  }
  return { method, path: target.path, query, body, headers: readHeaders(headers) };
}

/** Anything but visible ASCII, and `\`, `;` or `#`: RFC 3986 has no such path, and proxies disagree on each. */
const ODD_IN_PATH = /[^\x21-\x7e]|[\\;#]/;
const ODD_IN_QUERY = /[^\x21-\x7e]|#/;
/** Unreserved characters of RFC 3986 section 2.3, so that a decoded segment needs no encoding. */
const PLAIN_PATH = /^(?:\/[A-Za-z0-9._~-]+)+$/;
const DOT_SEGMENT = /\/\.+(?:\/|$)/;

/**
 * Splits a request target into path and query and decodes the path once. Throws `request_unpriceable` (field `path`
 * or `query`) for absolute-form URLs, empty, `.` and `..` segments, a trailing slash, encoded slashes, and anything
 * else that is not plain after one decoding. RFC 3986 sections 3.3 and 6.2.2.
 */
export function readPath(rawUrl: string): Target {
  const at = rawUrl.indexOf('?');
  const rawPath = at === -1 ? rawUrl : rawUrl.slice(0, at);
  const query = at === -1 ? '' : rawUrl.slice(at + 1);
  if (ODD_IN_QUERY.test(query)) throw unpriceable('query', 'The query has characters that must be percent-encoded.');

  const path = ODD_IN_PATH.test(rawPath) || !rawPath.startsWith('/') ? '' : decodePath(rawPath);
  if (!PLAIN_PATH.test(path) || DOT_SEGMENT.test(path)) {
    throw unpriceable(
      'path',
      'The path must be /plain/segments of letters, digits and - . _ ~ with no trailing slash.',
    );
  }
  return { path, query };
}

/** Segment by segment, so that an encoded slash stays inside its segment, where it is not plain. */
function decodePath(rawPath: string): string {
  if (!rawPath.includes('%')) return rawPath;
  const segments = rawPath.split('/').map((segment) => decode(segment, 'path'));
  return segments.some((segment) => segment.includes('/')) ? '' : segments.join('/');
}

const NO_PAIRS: FormPairs = [];

/**
 * Reads an `application/x-www-form-urlencoded` body (WHATWG URL standard, section 5.1) into pairs, in order. Throws
 * `request_unpriceable` with the field's name for: invalid escapes, a field without `=`, an empty or unbalanced name,
 * a name given twice (after decoding), and a name that is at once a value, a list or a map. Repeated `x[]` is a list.
 */
export function readForm(text: string): FormPairs {
  return text === '' ? NO_PAIRS : readPairs(text, 'body');
}

/** Reads a query, without its `?`, by the rules of {@link readForm}. */
export function readQuery(text: string): FormPairs {
  return text === '' ? NO_PAIRS : readPairs(text, 'query');
}

function readPairs(text: string, where: string): FormPairs {
  const parts = text.split('&', FORM_FIELDS_MAX + 1);
  if (parts.length > FORM_FIELDS_MAX) throw unpriceable(where, `More than ${FORM_FIELDS_MAX} fields.`);

  const kinds: Kinds = new Map();
  return parts.map((part) => {
    const equals = part.indexOf('=');
    if (equals < 1) throw unpriceable(where, `Every field of the ${where} is written name=value.`);
    const name = decode(part.slice(0, equals), where);
    const value = decode(part.slice(equals + 1), where);
    claimName(kinds, name);
    return [name, value] as const;
  });
}

/** `+` is a space; escapes are decoded once. An escape that is no UTF-8 throws. */
function decode(text: string, field: string): string {
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
  for (const [name, value] of pairs) {
    text += `${text === '' ? '' : '&'}${encodeURIComponent(name)}=${encodeURIComponent(value)}`;
  }
  return text;
}

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** The body as text. Throws `request_unpriceable` for bytes that are not UTF-8 (RFC 3629: overlong forms too). */
export function decodeBody(bytes: Uint8Array): string {
  try {
    return utf8.decode(bytes);
  } catch (cause) {
    throw new Refusal('request_unpriceable', 'The body is not valid UTF-8.', { field: 'body' }, { cause });
  }
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
    if (rootOf(name) !== field) continue;
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

/** Headers by which a server between us and the handler may take another method or path than we read. */
const OVERRIDES = ['x-http-method-override', 'x-http-method', 'x-method-override', 'x-original-url', 'x-rewrite-url'];
/** The one content type of Stripe v1 and Twilio. Parameters other than a UTF-8 charset change how it is read. */
const FORM_TYPE = /^application\/x-www-form-urlencoded(?:\s*;\s*charset=(?:utf-8|"utf-8"))?$/i;

/**
 * Throws `request_unpriceable`, with the header in `details.field`, for a method override, an encoded body, and a body
 * that is not declared to be a form. A POST without a body may leave the content type out.
 */
export function checkHeaders(method: string, headers: RequestHeaders, hasBody: boolean): void {
  for (const name of OVERRIDES) {
    if (headers[name] !== undefined) throw unpriceable(name, `Header ${name} is not allowed.`);
  }
  if (headers['content-encoding'] !== undefined) {
    throw unpriceable('content-encoding', 'An encoded body cannot be priced: send it as it is.');
  }
  const type = headers['content-type'];
  if (!hasBody && (method === 'GET' || type === undefined)) return;
  if (typeof type !== 'string' || !FORM_TYPE.test(type)) {
    throw unpriceable('content-type', 'The body must be application/x-www-form-urlencoded (no JSON, no multipart).');
  }
}

function readHeaders(headers: RequestHeaders): Readonly<Record<string, string>> {
  const found: Record<string, string> = {};
  for (const name of READ_HEADERS) {
    const value = headers[name];
    if (value !== undefined) found[name] = typeof value === 'string' ? value : value.join(', ');
  }
  return found;
}

/**
 * SHA-256, in hex, over all that decides what a request does: equal for equal requests whatever the order of their
 * fields (the order inside a repeated `x[]` counts). `Stripe-Version` and the SDK's own headers are left out: an
 * upgrade between a call and its retry must not turn the retry into another request.
 */
export function fingerprint({ method, path, query, body, headers }: VendorRequest): string {
  const semantic = SEMANTIC_HEADERS.map((name) => headers[name] ?? null);
  return hash('sha256', JSON.stringify([method, path, sorted(query), sorted(body), semantic]));
}

/** By name; the sort is stable, so values of one list keep their order. */
function sorted(pairs: FormPairs): FormPairs {
  return pairs.toSorted(([a], [b]) => (a < b ? -1 : Number(a > b)));
}

function unpriceable(field: string, message: string): Refusal {
  return new Refusal('request_unpriceable', message, { field: field.slice(0, SHOWN_CHARS_MAX) });
}

const SHOWN_CHARS_MAX = 60;

function shown(name: string): string {
  return JSON.stringify(name.slice(0, SHOWN_CHARS_MAX));
}
