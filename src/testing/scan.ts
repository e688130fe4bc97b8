/**
 * Looks for secrets where none may be: Temporal histories, database files, logs. Findings name the place and never
 * quote the secret, so that a failing test does not leak it either.
 */
import { closeSync, createReadStream, openSync, readSync } from 'node:fs';
import type { Readable } from 'node:stream';
import { createGunzip, gunzipSync } from 'node:zlib';

/** The default pattern: a vault key, `vk_` and at least 20 characters. */
const VAULT_KEY_PATTERN = /vk_[A-Za-z0-9_]{20,}/g;
/** The same in UTF-16, and in hex. */
const VAULT_KEY_UTF16 = /v\0k\0_\0(?:[A-Za-z0-9_]\0){20}/g;
const VAULT_KEY_HEX = /766b5f(?:3[0-9]|[46][1-9a-f]|[57][0-9a]|5f){20}/gi;
/** How deep payloads in payloads are decoded. */
const DEPTH_MAX = 24;
const TOO_DEEP = 'too deep to be searched';
/** Of what is compressed, so many bytes are searched. */
const UNPACKED_BYTES_MAX = 64 * 1024 * 1024;
/** Shorter lists of small numbers are numbers. */
const BYTES_MIN = 4;
/** Shorter runs of base64 letters are ordinary words. */
const BASE64_RUN = /[A-Za-z0-9+/_-]{16,}={0,2}/g;

export interface ScanOptions {
  /** Strings that must not occur: vendor secrets, role keys, personal data of the records. */
  readonly secrets?: readonly string[];
  /** Beside the vault-key pattern. */
  readonly patterns?: readonly RegExp[];
}

/** A secret found. */
export interface Finding {
  /**
   * `vault key`, `secret 1` (its place in the list given) or the pattern's source; `too deep to be searched` where values
   * are nested deeper than is looked.
   */
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

/** Finds vault keys and secrets in text or bytes, plain, in the encodings of {@link variantsOf}, and in a gzip file. */
export function scanText(text: string | Uint8Array, options: ScanOptions = {}): Finding[] {
  const bytes = typeof text === 'string' ? Buffer.from(text, 'utf8') : text;
  const haystack = latin1(unpacked(bytes) ?? bytes);
  return hitsIn(haystack, needlesOf(options)).map(({ what, index }) => finding(what, index));
}

/** {@link scanText} for a file of any size: a database, its WAL, a log, also one that was compressed. Reads it in pieces. */
export async function scanFile(path: string, options: ScanOptions = {}): Promise<Finding[]> {
  const needles = needlesOf(options);
  // What spans two pieces is found in the overlap.
  const overlap = Math.max(512, ...needles.flatMap(({ texts }) => texts.map((text) => text.length)));
  const findings = new Map<string, Finding>();
  let rest = '';
  let offset = 0;
  for await (const chunk of contentOf(path)) {
    const piece = rest + latin1(chunk as Buffer);
    for (const { what, index } of hitsIn(piece, needles)) {
      findings.set(`${what} ${offset + index}`, finding(what, offset + index));
    }
    rest = piece.slice(-overlap);
    offset += piece.length - rest.length;
  }
  return [...findings.values()];
}

function contentOf(path: string): Readable {
  const raw = createReadStream(path, { highWaterMark: 1 << 20 });
  if (!isGzip(headOf(path))) return raw;
  const content = createGunzip();
  raw.on('error', (error) => content.destroy(error));
  return raw.pipe(content);
}

function headOf(path: string): Uint8Array {
  const fd = openSync(path, 'r');
  try {
    const head = Buffer.alloc(2);
    return head.subarray(0, readSync(fd, head, 0, head.length, 0));
  } finally {
    closeSync(fd);
  }
}

/** RFC 1952, section 2.3.1. */
function isGzip(bytes: Uint8Array): boolean {
  return bytes[0] === 0x1f && bytes[1] === 0x8b;
}

/** Undefined for what is not compressed, or not whole. */
function unpacked(bytes: Uint8Array): Buffer | undefined {
  if (!isGzip(bytes)) return undefined;
  try {
    return gunzipSync(bytes, { maxOutputLength: UNPACKED_BYTES_MAX });
  } catch {
    return undefined;
  }
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
    ...VAULT_KEY_PATTERNS.map((pattern) => ({ what: 'vault key', texts: [], pattern })),
    ...patterns.map((pattern) => ({ what: pattern.source, texts: [], pattern: global(pattern) })),
    ...secrets.map((secret, index) => ({ what: `secret ${index + 1}`, texts: variantsOf(secret) })),
  ];
}

const VAULT_KEY_PATTERNS = [VAULT_KEY_PATTERN, VAULT_KEY_UTF16, VAULT_KEY_HEX];

function global(pattern: RegExp): RegExp {
  return pattern.global ? pattern : new RegExp(pattern.source, `${pattern.flags}g`);
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
  if (typeof value === 'string') return walkText(value, place);
  if (value instanceof Uint8Array) return walkBytes(value, place);
  if (typeof value !== 'object' || value === null) return;
  if (place.depth > DEPTH_MAX) return place.report(TOO_DEEP, place.path, place.eventId);
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
  // What unpacks to itself would have no end.
  if (place.depth > DEPTH_MAX && isGzip(bytes)) return place.report(TOO_DEEP, place.path, place.eventId);
  const content = unpacked(bytes);
  if (content !== undefined) return walkBytes(content, { ...place, depth: place.depth + 1 });
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
    else if (isGzip(bytes)) walkBytes(bytes, deeper);
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
