/** Finds the row of a vendor's table that a request, or an entry of an allowlist, means. */
import { distance } from 'fastest-levenshtein';
import { routeShape } from '../endpoints';
import type { Route, Vendor } from './vendor';

/** A route and what its `:name` segments matched. */
export interface RouteMatch {
  readonly route: Route;
  readonly ids: Readonly<Record<string, string>>;
}

/** A route's name as the table writes it; or the nearest one, for the message. */
export type AllowlistEntry =
  { readonly ok: true; readonly name: string } | { readonly ok: false; readonly nearest?: string };

interface Row {
  readonly route: Route;
  /** Of `/v1/refunds/:id`: the empty part, `v1`, `refunds` and `:id`. */
  readonly segments: readonly Part[];
}

interface Index {
  /** By method and number of segments; rows with fewer ids come first, so `/search` wins over `/:id`. */
  readonly rows: ReadonlyMap<string, readonly Row[]>;
  /** Rows without an id, by method and path. */
  readonly plain: ReadonlyMap<string, RouteMatch>;
  /** Route names by their name with every id written `:`. */
  readonly names: ReadonlyMap<string, string>;
}

/**
 * The row for a method and a decoded path. Undefined: the table has no such route, so it is unpriced. An id is one
 * segment of up to 255 letters, digits, `_` and `-`, which no URL parser on the way can read differently; and not a word of
 * another row in other letters, which routers that do not mind the case, as Express's, take for that row.
 */
export function matchRoute(vendor: Vendor, method: string, path: string): RouteMatch | undefined {
  const index = indexOf(vendor);
  const plain = index.plain.get(`${method} ${path}`);
  if (plain !== undefined) return plain;
  const segments = path.split('/');
  const rows = index.rows.get(`${method} ${segments.length}`) ?? [];
  // Rows with fewer ids come first: what is found before the row has a word where this one has an id.
  const first = rows.find((one) => matches(one.segments, segments));
  if (first === undefined) return undefined;
  const row = isInOtherCase(first.segments, segments)
    ? rows.find((one) => matches(one.segments, segments) && !isInOtherCase(one.segments, segments))
    : first;
  if (row === undefined || idCount(first) < idCount(row)) return undefined;
  return { route: row.route, ids: idsOf(row.segments, segments) };
}

/** No vendor's ids are longer, and an index of Postgres takes no text above 2,704 bytes. */
const PLAIN_ID = /^[A-Za-z0-9_-]{1,255}$/;
const PHONE_NUMBER = /^\+?[0-9]{1,15}$/;

/** `:Sid.json` is the id `Sid` with the suffix `.json`. */
interface Part {
  readonly text: string;
  readonly id?: string;
  readonly suffix: string;
}

function partOf(text: string): Part {
  const [, id, suffix = ''] = /^:(\w+)(\.\w+)?$/.exec(text) ?? [];
  return { text, suffix, ...(id !== undefined && { id }) };
}

function idIn({ id, suffix }: Part, segment: string): string | undefined {
  if (id === undefined || !segment.endsWith(suffix)) return undefined;
  const found = suffix === '' ? segment : segment.slice(0, -suffix.length);
  return (id === 'PhoneNumber' ? PHONE_NUMBER : PLAIN_ID).test(found) ? found : undefined;
}

/** Words in any letters. */
function matches(template: readonly Part[], segments: readonly string[]): boolean {
  for (let i = 0; i < template.length; i++) {
    const part = template[i];
    const segment = segments[i] ?? '';
    if (part === undefined || part.text === segment || idIn(part, segment) !== undefined) continue;
    if (part.id !== undefined || part.text.length !== segment.length) return false;
    if (part.text.toLowerCase() !== segment.toLowerCase()) return false;
  }
  return true;
}

function isInOtherCase(template: readonly Part[], segments: readonly string[]): boolean {
  return template.some(({ id, text }, i) => id === undefined && text !== segments[i]);
}

function idsOf(template: readonly Part[], segments: readonly string[]): Readonly<Record<string, string>> {
  const ids: Record<string, string> = {};
  for (let i = 0; i < template.length; i++) {
    const part = template[i];
    if (part?.id !== undefined) ids[part.id] = idIn(part, segments[i] ?? '') ?? '';
  }
  return ids;
}

const indexes = new WeakMap<Vendor, Index>();

function indexOf(vendor: Vendor): Index {
  const known = indexes.get(vendor);
  if (known !== undefined) return known;

  const rows = new Map<string, Row[]>();
  for (const route of vendor.routes) {
    const segments = route.path.split('/').map(partOf);
    const key = `${route.method} ${segments.length}`;
    rows.set(key, [...(rows.get(key) ?? []), { route, segments }]);
  }
  for (const [key, candidates] of rows)
    rows.set(
      key,
      candidates.toSorted((a, b) => idCount(a) - idCount(b)),
    );

  const names = new Map(vendor.routes.map(({ name }) => [routeShape(name), name]));
  const plain = vendor.routes
    .filter(({ path }) => !path.includes(':'))
    .map((route) => [`${route.method} ${route.path}`, { route, ids: {} }] as const);
  const index = { rows, names, plain: new Map(plain) };
  indexes.set(vendor, index);
  return index;
}

function idCount({ segments }: Row): number {
  return segments.filter(({ id }) => id !== undefined).length;
}

const ALLOWLIST_ENTRY = /^([A-Za-z]+)\s+(\/\S*)$/;

/**
 * Reads an entry of an allowlist: a method, a space and a path, in which one id is written `:id`, `:anything`, `{id}`
 * or `*`. A real id, a wildcard over several segments (`POST /v1/*`, `* /*`) or a route that the table lacks is not
 * ok: an allowlist can narrow the table, never widen it.
 */
export function parseAllowlistEntry(vendor: Vendor, entry: string): AllowlistEntry {
  const match = ALLOWLIST_ENTRY.exec(entry.trim());
  const asked = match === null ? entry.trim() : `${match[1]?.toUpperCase()} ${match[2]}`;
  const name = indexOf(vendor).names.get(routeShape(asked));
  if (name !== undefined) return { ok: true, name };
  const nearest = nearestRoute(vendor, asked);
  return nearest === undefined ? { ok: false } : { ok: false, nearest };
}

const NAME_CHARS_MAX = 200;

/** The route name that is the fewest edits away from `name`; undefined for a vendor without routes. */
export function nearestRoute(vendor: Vendor, name: string): string | undefined {
  const asked = routeShape(name.slice(0, NAME_CHARS_MAX));
  let best: string | undefined;
  let bestEdits = Infinity;
  for (const [plain, route] of indexOf(vendor).names) {
    const edits = distance(asked, plain);
    if (edits < bestEdits) [best, bestEdits] = [route, edits];
  }
  return best;
}
