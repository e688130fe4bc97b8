/** The bytes of one record, read: JSON object or CSV row. Reasons name the line, never the content. */
import { isUtf8 } from 'node:buffer';
import { parse } from 'csv-parse/sync';
import type { RecordRef } from '../contract/plan';
import { recordIdOf, type SourceRecord } from '../fields';
import { activityIdFor } from '../recordKeys';
import type { FileFormat, Position } from './scanner';

/** A longer record is not read into memory: it fails alone. */
export const RECORD_BYTES_MAX = 1 << 20;

/** The part of a planned file source that parsing needs. */
export interface RecordFormat {
  readonly kind: FileFormat;
  readonly header: readonly string[];
}

export type Read<T> = { readonly ok: true; readonly value: T } | { readonly ok: false; readonly reason: string };

/** A record with its reference. Without `record`, or with a null id, `ref.reason` says what is wrong. */
export interface SourceItem {
  readonly ref: RecordRef;
  readonly record?: SourceRecord;
  /** Of a file: where the next record may begin. */
  readonly next?: Position;
}

/** Where a record stands: bytes in a file, an index elsewhere. */
type Place = Pick<RecordRef, 'offset' | 'length' | 'line'>;

/** Reads one record. `bytes` is null for a record above {@link RECORD_BYTES_MAX}. */
export function readBytes(bytes: Buffer | null, { kind, header }: RecordFormat): Read<SourceRecord> {
  if (bytes === null) return { ok: false, reason: `is larger than ${RECORD_BYTES_MAX} bytes` };
  if (!isUtf8(bytes)) return { ok: false, reason: 'is not UTF-8' };
  return kind === 'csv' ? readRow(bytes, header) : readObject(bytes);
}

/** Reads the columns of one CSV row. Quoting and line ends as the scanner has them. */
export function readColumns(bytes: Buffer): Read<string[]> {
  const row = bytes.at(-1) === 0x0d ? bytes.subarray(0, -1) : bytes;
  try {
    const [columns, ...rest] = parse(row, { record_delimiter: ['\r\n', '\n'], relax_column_count: true });
    return columns !== undefined && rest.length === 0
      ? { ok: true, value: columns }
      : { ok: false, reason: 'is not one CSV row' };
  } catch {
    // csv-parse's own message may quote the content.
    return { ok: false, reason: 'is not a CSV row' };
  }
}

/** The record with its reference, its id and, where the id cannot be one as it is, its activity id. */
export function toItem(read: Read<SourceRecord>, place: Place, recordId: string): SourceItem {
  if (!read.ok) return { ref: { id: null, ...place, reason: `line ${place.line}: ${read.reason}` } };
  const record = read.value;
  const found = recordIdOf(record, recordId);
  if (!found.ok) return { ref: { id: null, ...place, reason: `line ${place.line}: ${found.reason}` }, record };
  const activityId = activityIdFor(found.id);
  return { ref: { id: found.id, ...place, ...(activityId !== found.id && { activityId }) }, record };
}

export function isRecord(value: unknown): value is SourceRecord {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function readObject(bytes: Buffer): Read<SourceRecord> {
  try {
    const value: unknown = JSON.parse(bytes.toString());
    return isRecord(value) ? { ok: true, value } : { ok: false, reason: 'is not a JSON object' };
  } catch {
    return { ok: false, reason: 'is not valid JSON' };
  }
}

function readRow(bytes: Buffer, header: readonly string[]): Read<SourceRecord> {
  const columns = readColumns(bytes);
  if (!columns.ok) return columns;
  if (columns.value.length !== header.length) {
    return { ok: false, reason: `has ${columns.value.length} columns, the header has ${header.length}` };
  }
  return { ok: true, value: Object.fromEntries(header.map((name, index) => [name, columns.value[index] ?? ''])) };
}
