/**
 * Looks for secrets where none may be: Temporal histories, database files, logs. Findings name the place and never
 * quote the secret, so that a failing test does not leak it either.
 */
import { createReadStream } from 'node:fs';

/** The default pattern: a vault key, `vk_` and at least 20 characters. */
const VAULT_KEY_PATTERN = /vk_[A-Za-z0-9_]{20,}/g;
/** How deep payloads in payloads are decoded. */
const DEPTH_MAX = 24;
/** Shorter lists of small numbers are numbers. */
const BYTES_MIN = 4;
/** Shorter runs of base64 letters are ordinary words. */
const BASE64_RUN = /[A-Za-z0-9+/_-]{16,}={0,2}/g;

export interface ScanOptions {
  /** Strings that must not occur: vendor secrets, role keys, personal data of the records. */
  readonly secrets?: readonly string[];
  /** Beside the vault-key pattern. Must be global (`/g`). */
  readonly patterns?: readonly RegExp[];
}

/** A secret found. */
export interface Finding {
  /** `vault key`, `secret 1` (its place in the list given) or the pattern's source. */
  readonly what: string;
  /** Where: a path into the history, or the byte offset in a file or text. */
  readonly path: string;
  /** Temporal's event id, where the finding is in an event. */
  readonly eventId: string | null;
}

/**
 * Finds vault keys and secrets in a workflow history: as fetched (`handle.fetchHistory()`), as JSON, or as JSON text.
 * Every string and byte array is searched: payload data (base64 or bytes, decoded, payloads inside payloads too),
 * headers, memo, search attributes, heartbeat details, failure messages and stack traces.
 */
export function scanHistory(history: unknown, options: ScanOptions = {}): Finding[] {
  const findings: Finding[] = [];
  const seen = new Set<string>();
  const needles = needlesOf(options);
  const report = (what: string, path: string, eventId: string | null): void => {
    const id = `${what} ${path}`;
    if (!seen.has(id)) findings.push({ what, path, eventId });
    seen.add(id);
  };
  walk(typeof history === 'string' ? parsed(history) : history, { path: '', eventId: null, depth: 0, needles, report });
  return findings;
}

/** Finds vault keys and secrets in text or bytes, plain and in the encodings of {@link variantsOf}. */
export function scanText(text: string | Uint8Array, options: ScanOptions = {}): Finding[] {
  const haystack = typeof text === 'string' ? Buffer.from(text, 'utf8').toString('latin1') : latin1(text);
  return hitsIn(haystack, needlesOf(options)).map(({ what, index }) => finding(what, index));
}

/** {@link scanText} for a file of any size: a database, its WAL, a log. Reads it in pieces. */
export async function scanFile(path: string, options: ScanOptions = {}): Promise<Finding[]> {
  const needles = needlesOf(options);
  // What spans two pieces is found in the overlap.
  const overlap = Math.max(512, ...needles.flatMap(({ texts }) => texts.map((text) => text.length)));
  const findings = new Map<string, Finding>();
  let rest = '';
  let offset = 0;
  for await (const chunk of createReadStream(path, { highWaterMark: 1 << 20 })) {
    const piece = rest + latin1(chunk as Buffer);
    for (const { what, index } of hitsIn(piece, needles)) {
      findings.set(`${what} ${offset + index}`, finding(what, offset + index));
    }
    rest = piece.slice(-overlap);
    offset += piece.length - rest.length;
  }
  return [...findings.values()];
}

function finding(what: string, offset: number): Finding {
  return { what, path: `byte ${offset}`, eventId: null };
}

interface Needle {
  readonly what: string;
  /** Latin-1 texts of the bytes to look for. */
  readonly texts: readonly string[];
  readonly pattern?: RegExp;
}

function needlesOf({ secrets = [], patterns = [] }: ScanOptions): readonly Needle[] {
  return [
    { what: 'vault key', texts: [], pattern: VAULT_KEY_PATTERN },
    ...patterns.map((pattern) => ({ what: pattern.source, texts: [], pattern })),
    ...secrets.map((secret, index) => ({ what: `secret ${index + 1}`, texts: variantsOf(secret) })),
  ];
}

/** The secret as it may stand in bytes: UTF-8, UTF-16, JSON, percent-encoded, hex, and base64 at each alignment. */
function variantsOf(secret: string): string[] {
  if (secret.length < 4) throw new Error('A secret to look for must have at least 4 characters.');
  const bytes = Buffer.from(secret, 'utf8');
  const base64 = [0, 1, 2].map((shift) => {
    const text = Buffer.concat([Buffer.alloc(shift), bytes]).toString('base64');
    // The letters at both ends also depend on the neighbours.
    const end = (shift + bytes.length) % 3 === 0 ? text.length : text.replace(/=+$/, '').length - 1;
    return text.slice(shift === 0 ? 0 : shift + 1, end);
  });
  const texts = [
    bytes.toString('latin1'),
    Buffer.from(secret, 'utf16le').toString('latin1'),
    Buffer.from(JSON.stringify(secret).slice(1, -1), 'utf8').toString('latin1'),
    encodeURIComponent(secret),
    bytes.toString('hex'),
    ...base64,
    ...base64.map((text) => text.replaceAll('+', '-').replaceAll('/', '_')),
  ];
  return [...new Set(texts)].filter((text) => text.length >= 4);
}

function hitsIn(haystack: string, needles: readonly Needle[]): { what: string; index: number }[] {
  const hits: { what: string; index: number }[] = [];
  for (const { what, texts, pattern } of needles) {
    for (const text of texts) {
      for (let at = haystack.indexOf(text); at >= 0; at = haystack.indexOf(text, at + 1))
        hits.push({ what, index: at });
    }
    if (pattern === undefined) continue;
    for (const match of haystack.matchAll(pattern)) hits.push({ what, index: match.index });
    for (const index of encodedIn(haystack, pattern)) hits.push({ what, index });
  }
  return hits;
}

/** Where base64 begins that holds the pattern: Basic credentials are the vault key in this form. */
function encodedIn(haystack: string, pattern: RegExp): number[] {
  const runs = [...haystack.matchAll(BASE64_RUN)].filter(([text]) => {
    const letters = text.replaceAll('-', '+').replaceAll('_', '/');
    // Letters in front of it, as of a path, shift the alignment.
    return [0, 1, 2, 3].some((from) => {
      return Buffer.from(letters.slice(from), 'base64').toString('latin1').search(pattern) >= 0;
    });
  });
  return runs.map(({ index }) => index);
}

interface Place {
  readonly path: string;
  readonly eventId: string | null;
  readonly depth: number;
  readonly needles: readonly Needle[];
  readonly report: (what: string, path: string, eventId: string | null) => void;
}

function walk(value: unknown, place: Place): void {
  if (place.depth > DEPTH_MAX || value === null) return;
  if (typeof value === 'string') return walkText(value, place);
  if (value instanceof Uint8Array) return walkBytes(value, place);
  if (typeof value !== 'object') return;
  const bytes = bytesOf(value);
  if (bytes !== undefined) return walkBytes(bytes, place);
  const eventId = eventIdOf(value) ?? place.eventId;
  for (const [name, child] of Object.entries(value)) {
    const shown = hitsIn(name, place.needles).length > 0 ? '[hidden]' : name;
    const step = Array.isArray(value) ? `[${name}]` : place.path === '' ? shown : `.${shown}`;
    const inside = { ...place, eventId, depth: place.depth + 1 };
    // A name may hold a secret too: of a header, a memo field.
    walkText(name, { ...inside, path: `${place.path} (a field name)` });
    walk(child, { ...inside, path: place.path + step });
  }
}

/** Bytes that went through `JSON.stringify`: a list, or an object from index to byte. */
function bytesOf(value: object): Uint8Array | undefined {
  const items: unknown[] = Object.values(value);
  if (items.length < BYTES_MIN || !Object.keys(value).every((name, index) => name === String(index))) return undefined;
  return items.every(isByte) ? Uint8Array.from(items) : undefined;
}

function isByte(item: unknown): item is number {
  return Number.isInteger(item) && Number(item) >= 0 && Number(item) < 256;
}

function eventIdOf(value: object): string | undefined {
  // A string in JSON, a Long in memory.
  const { eventId } = value as { eventId?: { toString(): string } | null };
  return 'eventType' in value ? eventId?.toString() : undefined;
}

function walkBytes(bytes: Uint8Array, place: Place): void {
  search(latin1(bytes), place);
  walkText(Buffer.from(bytes).toString('utf8'), place);
}

/** Searches text, and what it decodes to: JSON, percent-encoding, and every run of base64 in it. */
function walkText(text: string, place: Place): void {
  search(Buffer.from(text, 'utf8').toString('latin1'), place);
  const deeper = { ...place, depth: place.depth + 1 };
  if (deeper.depth > DEPTH_MAX) return;
  const json = /^\s*[[{"]/.test(text) ? parsed(text) : text;
  if (json !== text) walk(json, deeper);
  for (const [run] of text.matchAll(BASE64_RUN)) {
    const bytes = Buffer.from(run.replaceAll('-', '+').replaceAll('_', '/'), 'base64');
    if (isText(bytes)) walkText(bytes.toString('utf8'), { ...deeper, depth: deeper.depth + 3 });
    else search(bytes.toString('latin1'), place);
  }
}

/** Decoding goes on only into what may be text: random bytes lead nowhere. */
function isText(bytes: Buffer): boolean {
  return bytes.length > 0 && !bytes.toString('utf8').includes('\uFFFD');
}

function search(haystack: string, { needles, path, eventId, report }: Place): void {
  for (const { what } of hitsIn(haystack, needles)) report(what, path, eventId);
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return text;
  }
}

function latin1(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('latin1');
}
