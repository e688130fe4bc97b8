/** Brings records of the log into the tables: many in one transaction, and a row that changed often is written once. */
import type Database from 'better-sqlite3';
import { TABLES, type TableName } from '../tables';
import { decodeRecord, LAYOUTS, type Record, type Value, type WrittenRow } from './record';
import { APPLIED, appliedIn } from './schema';

type Merged = Map<TableName, Map<string, WrittenRow | 'removed'>>;

export class Applier {
  readonly #db: Database.Database;
  readonly #statements: ReturnType<typeof prepare>;
  #applied: number;

  constructor(db: Database.Database) {
    this.#db = db;
    this.#statements = prepare(db);
    this.#applied = appliedIn(db);
  }

  /** Answers the number of the last record that the tables have. Records that they have already change nothing. */
  apply(records: readonly Buffer[]): number {
    // A disk that is full takes no word of it either, and may be waiting for what follows.
    if (records.length === 0) return this.#applied;
    this.#statements.begin.run();
    try {
      const last = this.#write(records);
      this.#statements.commit.run();
      return (this.#applied = last);
    } catch (cause) {
      if (this.#db.inTransaction) this.#db.exec('ROLLBACK');
      throw cause;
    }
  }

  #write(records: readonly Buffer[]): number {
    const { event, forget, mark } = this.#statements;
    let last = this.#applied;
    let merged: Merged = new Map();
    for (const bytes of records) {
      const record = decodeRecord(bytes);
      if (record.seq <= last) continue;
      if (!merge(merged, record)) {
        this.#flush(merged);
        merge((merged = new Map()), record);
      }
      for (const seq of record.forgotten) forget.run(seq);
      for (const values of record.events) event.run(record.now, ...values);
      last = record.seq;
    }
    this.#flush(merged);
    mark.run(APPLIED, String(last));
    // ⚠ SQLITE_FULL and SQLITE_IOERR may have ended the transaction already; later statements would autocommit.
    if (!this.#db.inTransaction) throw new Error('The transaction was rolled back by SQLite.');
    return last;
  }

  #flush(merged: Merged): void {
    const { insert, update, remove } = this.#statements;
    for (const [table, rows] of merged) {
      for (const [id, row] of rows) {
        if (row === 'removed') remove[table].run(id);
        else (row.isNew ? insert : update)[table]?.run(...row.values);
      }
    }
  }
}

/** Adds what a record changed. False, and nothing added: a row that was removed is there again. */
function merge(merged: Merged, { rows, removals }: Record): boolean {
  if (rows.some((row) => merged.get(row.table)?.get(idOf(row)) === 'removed')) return false;
  for (const row of rows) {
    const of = rowsOf(merged, row.table);
    const before = of.get(idOf(row));
    of.set(idOf(row), before === undefined || before === 'removed' ? row : over(before, row));
  }
  for (const { table, id } of removals) {
    const of = rowsOf(merged, table);
    const before = of.get(id);
    if (before !== undefined && before !== 'removed' && before.isNew) of.delete(id);
    else of.set(id, 'removed');
  }
  return true;
}

function rowsOf(merged: Merged, table: TableName): Map<string, WrittenRow | 'removed'> {
  let rows = merged.get(table);
  if (rows === undefined) merged.set(table, (rows = new Map()));
  return rows;
}

function idOf({ table, isNew, values }: WrittenRow): string {
  const { update, keyAt } = LAYOUTS[table];
  return values[isNew ? keyAt : update.length - 1] as string;
}

/** The later row; it stays new where the earlier was, with its columns that never change. */
function over(before: WrittenRow, after: WrittenRow): WrittenRow {
  if (!before.isNew) return after;
  const mutable = after.values.slice(0, -1);
  return { ...before, values: [...before.values.slice(0, before.values.length - mutable.length), ...mutable] };
}

function prepare(db: Database.Database) {
  const each = <T>(make: (name: TableName) => T) =>
    Object.fromEntries((Object.keys(TABLES) as TableName[]).map((name) => [name, make(name)])) as PerTable<T>;
  return {
    begin: db.prepare('BEGIN IMMEDIATE'),
    commit: db.prepare('COMMIT'),
    insert: each((name) => {
      const { insert } = LAYOUTS[name];
      return db.prepare<Value[]>(
        `INSERT INTO ${name} (${insert.join(', ')}) VALUES (${insert.map(() => '?').join(', ')})`,
      );
    }),
    update: each((name) => {
      const { update, key } = LAYOUTS[name];
      const set = update.slice(0, -1).map((column) => `${column} = ?`);
      return set.length === 0
        ? undefined
        : db.prepare<Value[]>(`UPDATE ${name} SET ${set.join(', ')} WHERE ${key} = ?`);
    }),
    remove: each((name) => db.prepare(`DELETE FROM ${name} WHERE ${LAYOUTS[name].key} = ?`)),
    forget: db.prepare('DELETE FROM events WHERE seq = ?'),
    event: db.prepare<Value[]>(
      'INSERT INTO events (at, kind, actor, key_id, job_id, call_id, data) VALUES (?, ?, ?, ?, ?, ?, ?)',
    ),
    mark: db.prepare('INSERT OR REPLACE INTO meta (name, value) VALUES (?, ?)'),
  };
}

type PerTable<T> = { readonly [N in TableName]: T };
