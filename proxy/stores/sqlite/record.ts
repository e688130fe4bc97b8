/**
 * What one commit changed, as the bytes of one record of the log: a head of 20 bytes, a JSON text, and the sealed
 * columns as they are. Rows are lists of values in the order of `Table`, so that a column's name is not written again.
 */
import { crc32 } from 'node:zlib';
import { type NewEvent, TABLES, type Table, type TableName } from '../tables';
import type { Change, Removal } from '../workingSet';

/** `KBL1`, then the checksum of all that follows, the record's length, and its number. */
const MAGIC = 0x4b_42_4c_31;
const MAGIC_BYTES = Buffer.from('KBL1');
export const HEAD_BYTES = 24;
const CHECKED_FROM = 8;

export type Value = string | number | Buffer | null;

/** A row that is new has all columns, another one those that may change and its key. */
export interface WrittenRow {
  readonly table: TableName;
  readonly isNew: boolean;
  readonly values: readonly Value[];
}

export interface Record {
  readonly seq: number;
  /** The store's clock. */
  readonly now: number;
  readonly rows: readonly WrittenRow[];
  readonly removals: readonly Removal[];
  /** Numbers of events that are to go. */
  readonly forgotten: readonly number[];
  /** Kind, actor, key, job, call, data. */
  readonly events: readonly (readonly Value[])[];
}

export interface Changes {
  readonly changes: readonly Change[];
  readonly removals: readonly Removal[];
  readonly forgotten: readonly number[];
  readonly events: readonly NewEvent[];
}

interface Layout {
  readonly insert: readonly string[];
  readonly update: readonly string[];
  readonly key: string;
  readonly keyAt: number;
  /** Where the sealed columns are in each. */
  readonly blobsIn: { readonly insert: readonly number[]; readonly update: readonly number[] };
}

const NAMES = Object.keys(TABLES) as TableName[];
const NUMBER_OF = Object.fromEntries(NAMES.map((name, index) => [name, index])) as {
  readonly [T in TableName]: number;
};

export const LAYOUTS = Object.fromEntries(NAMES.map((name) => [name, layoutOf(TABLES[name])])) as {
  readonly [T in TableName]: Layout;
};

function layoutOf({ key, fixed, mutable }: Table): Layout {
  const insert = [...Object.keys(fixed), ...Object.keys(mutable)];
  const update = [...Object.keys(mutable), key];
  const types: Readonly<{ [column: string]: string }> = { ...fixed, ...mutable };
  const blobsOf = (columns: readonly string[]) =>
    columns.flatMap((name, index) => (types[name] === 'blob' ? [index] : []));
  return {
    insert,
    update,
    key,
    keyAt: insert.indexOf(key),
    blobsIn: { insert: blobsOf(insert), update: blobsOf(update) },
  };
}

/** The bytes stand in a buffer of their own, which can be handed to another thread. */
export function encodeRecord(seq: number, now: number, { changes, removals, forgotten, events }: Changes): Buffer {
  const blobs: Buffer[] = [];
  const text = JSON.stringify([
    now,
    changes.map((change) => valuesOf(change, blobs)),
    removals.map(({ table, id }) => [NUMBER_OF[table], id]),
    forgotten,
    events.map(eventValues),
  ]);
  const textBytes = Buffer.byteLength(text);
  const bytes = blobs.reduce((sum, blob) => sum + blob.length, HEAD_BYTES + textBytes);
  const record = Buffer.allocUnsafeSlow(bytes);
  record.writeUInt32BE(MAGIC, 0);
  record.writeUInt32BE(bytes, CHECKED_FROM);
  record.writeDoubleBE(seq, CHECKED_FROM + 4);
  record.writeUInt32BE(textBytes, CHECKED_FROM + 12);
  record.write(text, HEAD_BYTES);
  let at = HEAD_BYTES + textBytes;
  for (const blob of blobs) at += blob.copy(record, at);
  record.writeUInt32BE(crc32(record.subarray(CHECKED_FROM)), 4);
  return record;
}

/** A blob is written as its length; its bytes follow the text, in order. */
function valuesOf({ table, row, stored }: Change, blobs: Buffer[]): unknown[] {
  const { insert, update } = LAYOUTS[table];
  const columns = stored ? update : insert;
  const values: unknown[] = [NUMBER_OF[table], stored ? 0 : 1];
  for (const column of columns) {
    const value = (row as unknown as { readonly [column: string]: unknown })[column];
    if (typeof value === 'object' && value !== null) {
      blobs.push(value as Buffer);
      values.push((value as Buffer).length);
    } else {
      values.push(value);
    }
  }
  return values;
}

function eventValues({ kind, actor, key_id, job_id, call_id, data }: NewEvent): unknown[] {
  const text = data === undefined ? null : JSON.stringify(data);
  return [kind, actor, key_id ?? null, job_id ?? null, call_id ?? null, text];
}

/** Where, from `at` on, the next head may stand; -1: nowhere. */
export function headFrom(bytes: Buffer, at: number): number {
  return bytes.indexOf(MAGIC_BYTES, at);
}

/** Bytes of the record whose head stands at `at`, as that says; undefined where there is none. */
export function lengthAt(bytes: Buffer, at: number): number | undefined {
  if (bytes.length - at < HEAD_BYTES || bytes.readUInt32BE(at) !== MAGIC) return undefined;
  const length = bytes.readUInt32BE(at + CHECKED_FROM);
  return length < HEAD_BYTES ? undefined : length;
}

/** The whole record that stands at `at`; undefined where there is none, or where its writing was cut short. */
export function recordAt(bytes: Buffer, at: number): { readonly seq: number; readonly record: Buffer } | undefined {
  const length = lengthAt(bytes, at);
  if (length === undefined || length > bytes.length - at) return undefined;
  const record = bytes.subarray(at, at + length);
  if (crc32(record.subarray(CHECKED_FROM)) !== record.readUInt32BE(4)) return undefined;
  return { seq: record.readDoubleBE(CHECKED_FROM + 4), record };
}

/** A record of an older version lacks the columns that have come since, which stand last: they are null. */
function widened(table: TableName, isNew: boolean, written: Value[]): Value[] {
  const missing = LAYOUTS[table][isNew ? 'insert' : 'update'].length - written.length;
  if (missing <= 0) return written;
  const nulls = Array.from({ length: missing }, () => null);
  // An update's last value is its key.
  return isNew ? [...written, ...nulls] : [...written.slice(0, -1), ...nulls, ...written.slice(-1)];
}

export function decodeRecord(record: Buffer): Record {
  const textEnd = HEAD_BYTES + record.readUInt32BE(CHECKED_FROM + 12);
  const text = record.toString('utf8', HEAD_BYTES, textEnd);
  const [now, rows, removals, forgotten, events] = JSON.parse(text) as [
    number,
    (string | number | null)[][],
    [number, string][],
    number[],
    Value[][],
  ];
  let at = textEnd;
  const decodeRow = (written: (string | number | null)[]): WrittenRow => {
    const table = NAMES[written[0] as number] as TableName;
    const isNew = written[1] === 1;
    const values = widened(table, isNew, written.slice(2));
    for (const index of LAYOUTS[table].blobsIn[isNew ? 'insert' : 'update']) {
      const bytes = values[index];
      if (typeof bytes === 'number') values[index] = record.subarray(at, (at += bytes));
    }
    return { table, isNew, values };
  };
  return {
    seq: record.readDoubleBE(CHECKED_FROM + 4),
    now,
    rows: rows.map(decodeRow),
    removals: removals.map(([number, id]) => ({ table: NAMES[number] as TableName, id })),
    forgotten,
    events,
  };
}
