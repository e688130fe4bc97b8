/** The statements of a commit, made from the tables. All are prepared once per connection. */
import type pg from 'pg';
import { columnTypes, type NewEvent, TABLES, type Table, type TableName } from '../tables';
import type { Change, Removal } from '../workingSet';

/** A table that is not named here comes after those that are. */
const FIRST: readonly TableName[] = ['budgets', 'objects', 'claims', 'calls'];

/**
 * The one order in which every commit locks: by table, in a table by id. Who waits for a budget has no lock on a claim,
 * and who waits for nothing lets go soon.
 */
export const LOCK_ORDER: readonly TableName[] = [
  ...FIRST,
  ...(Object.keys(TABLES) as TableName[]).filter((name) => !FIRST.includes(name)),
];

const each = <T>(make: (name: TableName, table: Table) => T) =>
  Object.fromEntries(LOCK_ORDER.map((name) => [name, make(name, TABLES[name])])) as Record<TableName, T>;

const list = (columns: readonly string[]) => columns.map((column) => `"${column}"`).join(', ');
const columnsOf = each((_, table) => columnTypes(table).map(([name]) => name));

const LOCK = each(
  (name, { key }) =>
    `SELECT ${list(columnsOf[name])} FROM ${name} WHERE "${key}" = ANY($1) ORDER BY "${key}" FOR UPDATE`,
);
const INSERT = each(
  (name) =>
    `INSERT INTO ${name} (${list(columnsOf[name])})
     SELECT ${list(columnsOf[name])} FROM json_populate_recordset(NULL::${name}, $1)`,
);
const UPDATE = each((name, { key, mutable }) => {
  const set = Object.keys(mutable).map((column) => `"${column}" = v."${column}"`);
  return `UPDATE ${name} t SET ${set.join(', ')} FROM json_populate_recordset(NULL::${name}, $1) v WHERE t."${key}" = v."${key}"`;
});

export function lockRows(table: TableName, ids: Iterable<string>): pg.QueryConfig {
  return { name: `lock ${table}`, text: LOCK[table], values: [[...ids].map(cleaned)] };
}

/** New rows are inserted plainly: one that another process has made since is a conflict, and the commit runs again. */
export function writeRows(changes: readonly Change[]): pg.QueryConfig[] {
  return LOCK_ORDER.flatMap((table) => {
    const mine = changes.filter((change) => change.table === table);
    const added = mine.filter(({ stored }) => !stored).toSorted((a, b) => (a.id < b.id ? -1 : 1));
    const changed = mine.filter(({ stored }) => stored);
    const { key, mutable } = TABLES[table];
    const columns = [key, ...Object.keys(mutable)];
    return [
      ...(added.length === 0 ? [] : [rowsOf(`insert ${table}`, INSERT[table], columnsOf[table], added)]),
      ...(changed.length === 0 || columns.length === 1
        ? []
        : [rowsOf(`update ${table}`, UPDATE[table], columns, changed)]),
    ];
  });
}

/** The rows are locked already, because removing one reads it. */
export function removeRows(removals: readonly Removal[]): pg.QueryConfig[] {
  return LOCK_ORDER.flatMap((table) => {
    const ids = removals.filter((removal) => removal.table === table).map(({ id }) => cleaned(id));
    const text = `DELETE FROM ${table} WHERE "${TABLES[table].key}" = ANY($1)`;
    return ids.length === 0 ? [] : [{ name: `remove ${table}`, text, values: [ids] }];
  });
}

export function forgetEvents(seqs: readonly number[]): pg.QueryConfig {
  return { name: 'forget events', text: 'DELETE FROM events WHERE seq = ANY($1::bigint[])', values: [seqs] };
}

function rowsOf(
  name: string,
  text: string,
  columns: readonly string[],
  changes: readonly Pick<Change, 'row'>[],
): pg.QueryConfig {
  const rows = changes.map(({ row }) => {
    const values = row as unknown as Readonly<Record<string, unknown>>;
    return Object.fromEntries(columns.map((column) => [column, plain(values[column])]));
  });
  return { name, text, values: [jsonOf(rows)] };
}

export function writeEvents(events: readonly NewEvent[], now: number): pg.QueryConfig {
  const rows = events.map((event) => ({
    ...event,
    at: now,
    data: event.data === undefined ? null : JSON.stringify(event.data),
  }));
  const columns = 'at, kind, actor, key_id, job_id, call_id, data';
  const text = `INSERT INTO events (${columns}) SELECT ${columns} FROM json_populate_recordset(NULL::events, $1)`;
  return { name: 'insert events', text, values: [jsonOf(rows)] };
}

function plain(value: unknown): unknown {
  return Buffer.isBuffer(value) ? `\\x${value.toString('hex')}` : value;
}

/** How JSON writes what Postgres keeps in no text. */
const ODD = /\\u(?:0000|d[89a-f])/;

function jsonOf(rows: readonly object[]): string {
  const text = JSON.stringify(rows);
  if (!ODD.test(text)) return text;
  return JSON.stringify(rows, (_, value: unknown) => (typeof value === 'string' ? cleaned(value) : value));
}

/**
 * Without NUL and halves of surrogate pairs: no text of Postgres may hold them, and one such text from a client must
 * not fail the commit of everybody.
 */
export function cleaned(text: string): string {
  return text.replaceAll(/\0|\p{Surrogate}/gu, '\uFFFD');
}
