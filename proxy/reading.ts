/**
 * Strict reading at the border. Whatever the proxy reads differently from the vendor is a way around the cap, so a
 * request that can be read in two ways is refused, and what is forwarded is rebuilt from what was read here.
 */
import { hash } from 'node:crypto';
import { Refusal } from './contract';
import { decode, encodeForm, readFlat, readForm, readQuery, rootOf, unpriceable } from './form';
import { canonicalJson, leaves, readJson } from './json';
import type { BodyKind, FormPairs, VendorRequest } from './vendors/vendor';

export * from './form';
export { matchRoute, nearestRoute, parseAllowlistEntry } from './vendors/match';
export type { AllowlistEntry, RouteMatch } from './vendors/match';

/** Headers that change whose money moves. They are part of a request's fingerprint. */
export const SEMANTIC_HEADERS = ['stripe-account', 'stripe-context'] as const;
/** Headers that {@link readRequest} keeps, because the vendor acts on them. */
const READ_HEADERS = [...SEMANTIC_HEADERS, 'idempotency-key', 'stripe-version', 'x-batch-validation'] as const;

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
  /** `form` where it is not said. */
  readonly kind?: BodyKind;
  /** See {@link Vendor.repeats}. */
  readonly repeats?: ReadonlySet<string> | undefined;
}

/**
 * Reads a call whose route is known. Throws `request_unpriceable`, with the field or header in its details, for all
 * that could be read in a second way: a body on a GET, a query on anything else (cost fields in the query), another
 * content type than the route's, a method override, and whatever {@link readForm} or {@link readJson} refuses.
 */
export function readRequest(call: IncomingCall): VendorRequest {
  const { method, target, headers, bodyText, kind = 'form' } = call;
  checkHeaders(method, headers, bodyText.length > 0, kind);
  if (method === 'GET' && bodyText.length > 0) throw unpriceable('body', 'A GET has no body.');
  if (method !== 'GET' && target.query.length > 0) {
    throw unpriceable('query', `A ${method} has no query: send every field in the body, where it is priced.`);
  }
  const query = kind === 'flat' ? readFlat(target.query, 'query', call.repeats) : readQuery(target.query);
  const body = readBody(call, kind);
  if (query.some(isOverride) || body.body.some(isOverride)) {
    throw unpriceable('_method', 'The method cannot be overridden.');
  }
  return { method, path: target.path, query, ...body, headers: readHeaders(headers) };
}

function isOverride([name]: readonly [name: string, value: string]): boolean {
  return name.startsWith('_method') && rootOf(name) === '_method';
}

function readBody({ bodyText, repeats }: IncomingCall, kind: BodyKind): Pick<VendorRequest, 'body' | 'json'> {
  if (kind === 'flat') return { body: readFlat(bodyText, 'body', repeats) };
  if (kind === 'form' || bodyText === '') return { body: readForm(bodyText) };
  const json = readJson(bodyText);
  return { body: leaves(json), json };
}

/** A body as it is sent, and the header that declares it. */
export interface EncodedBody {
  readonly text: string | null;
  readonly headers: Readonly<Record<string, string>>;
}

/** Rebuilds the body from what was read, with the fields that the proxy adds, whatever charset the client declared. */
export function encodeBody({ method, body, json }: VendorRequest, kind: BodyKind, adds: FormPairs = []): EncodedBody {
  if (method === 'GET') return { text: null, headers: {} };
  if (json !== undefined) return { text: canonicalJson(json), headers: { 'content-type': 'application/json' } };
  const text = encodeForm([...body, ...adds]);
  if (kind === 'json' || (text === '' && method !== 'POST')) return { text, headers: {} };
  return { text, headers: { 'content-type': 'application/x-www-form-urlencoded' } };
}

/** Anything but visible ASCII, and `\`, `;` or `#`: RFC 3986 has no such path, and proxies disagree on each. */
const ODD_IN_PATH = /[^\x21-\x7e]|[\\;#]/;
const ODD_IN_QUERY = /[^\x21-\x7e]|#/;
/**
 * Unreserved characters of RFC 3986 section 2.3, so that a decoded segment needs no encoding; or a phone number as E.164
 * writes it, whose plus every reader of a path takes as it is.
 */
const PLAIN_PATH = /^(?:\/(?:[A-Za-z0-9._~-]+|\+[0-9]{1,15}))+$/;
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

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** The body as text. Throws `request_unpriceable` for bytes that are not UTF-8 (RFC 3629: overlong forms too). */
export function decodeBody(bytes: Uint8Array): string {
  try {
    return utf8.decode(bytes);
  } catch (cause) {
    throw new Refusal('request_unpriceable', 'The body is not valid UTF-8.', { field: 'body' }, { cause });
  }
}

/** Headers by which a server between us and the handler may take another method or path than we read. */
const OVERRIDES = ['x-http-method-override', 'x-http-method', 'x-method-override', 'x-original-url', 'x-rewrite-url'];
/** The one content type of Stripe v1 and Twilio. Parameters other than a UTF-8 charset change how it is read. */
const FORM_TYPE = /^application\/x-www-form-urlencoded(?:\s*;\s*charset=(?:utf-8|"utf-8"))?$/i;

const JSON_TYPE = /^application\/json(?:\s*;\s*charset=(?:utf-8|"utf-8"))?$/i;

/**
 * Throws `request_unpriceable`, with the header in `details.field`, for a method override, an encoded body, and a body
 * that is not declared to be what the route takes. A POST without a body may leave the content type out.
 */
export function checkHeaders(method: string, headers: RequestHeaders, hasBody: boolean, kind: BodyKind = 'form'): void {
  for (const name of OVERRIDES) {
    if (headers[name] !== undefined) throw unpriceable(name, `Header ${name} is not allowed.`);
  }
  if (headers['content-encoding'] !== undefined) {
    throw unpriceable('content-encoding', 'An encoded body cannot be priced: send it as it is.');
  }
  const type = headers['content-type'];
  if (!hasBody && (method === 'GET' || type === undefined)) return;
  const text = typeof type === 'string' ? type : '';
  if (kind === 'json' && !JSON_TYPE.test(text)) throw unpriceable('content-type', 'The body must be application/json.');
  if (kind !== 'json' && !FORM_TYPE.test(text)) {
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
export function fingerprint({ method, path, query, body, json, headers }: VendorRequest): string {
  const semantic = SEMANTIC_HEADERS.map((name) => headers[name] ?? null);
  const content = json === undefined ? sorted(body) : canonicalJson(json);
  return hash('sha256', JSON.stringify([method, path, sorted(query), content, semantic]));
}

/** By name; the sort is stable, so values of one list keep their order. */
function sorted(pairs: FormPairs): FormPairs {
  if (pairs.length < 2) return pairs;
  return pairs.toSorted((one, other) => (one[0] < other[0] ? -1 : Number(one[0] > other[0])));
}
