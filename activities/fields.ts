/** Fields of a record: how they are found, and which values may stand for a record id. */

/** One record of a source, as parsed JSON or as a CSV row by column. */
export type SourceRecord = Readonly<Record<string, unknown>>;

export const RECORD_ID_CHARS_MAX = 1_000;

/** Finds a field: by its own name first, then as a dotted path into nested objects. */
export function fieldOf(record: SourceRecord, path: string): unknown {
  if (Object.hasOwn(record, path)) return record[path];
  let value: unknown = record;
  for (const name of path.split('.')) {
    if (typeof value !== 'object' || value === null || !Object.hasOwn(value, name)) return undefined;
    value = (value as SourceRecord)[name];
  }
  return value;
}

export type RecordId = { readonly ok: true; readonly id: string } | { readonly ok: false; readonly reason: string };

/** Reads the record id. Numbers that JSON cannot hold exactly are refused: two of them could become one id. */
export function recordIdOf(record: SourceRecord, field: string): RecordId {
  const text = scalarText(fieldOf(record, field));
  if (!text.ok) return { ok: false, reason: `the record id "${field}" ${text.reason}` };
  if (text.text.trim() === '') return { ok: false, reason: `the record id "${field}" is empty` };
  if (text.text.length > RECORD_ID_CHARS_MAX) {
    return { ok: false, reason: `the record id "${field}" is longer than ${RECORD_ID_CHARS_MAX} characters` };
  }
  return { ok: true, id: text.text };
}

export type ScalarText = { readonly ok: true; readonly text: string } | { readonly ok: false; readonly reason: string };

/** A string, number or boolean as text. The reason never holds the value. */
export function scalarText(value: unknown): ScalarText {
  if (typeof value === 'boolean') return { ok: true, text: String(value) };
  if (typeof value === 'number') {
    return isExact(value)
      ? { ok: true, text: String(value) }
      : { ok: false, reason: 'is a number too large to be exact; write it as text' };
  }
  if (typeof value === 'string') {
    // A lone surrogate cannot be percent-encoded.
    return /\p{Surrogate}/u.test(value) ? { ok: false, reason: 'is not valid Unicode' } : { ok: true, text: value };
  }
  if (value === undefined) return { ok: false, reason: 'is missing' };
  return { ok: false, reason: value === null ? 'is null' : 'is not a single value' };
}

/** Is the number finite and, when it has no fraction, within the safe integers? */
export function isExact(value: number): boolean {
  return Number.isFinite(value) && (!Number.isInteger(value) || Number.isSafeInteger(value));
}
