/**
 * SQLite: one process per file, WAL, `synchronous=FULL`. better-sqlite3 is synchronous, so a commit blocks this
 * process for one fsync; what arrives meanwhile goes into the next commit (see `ledger.ts`). Syncing on a thread
 * instead was measured to be slower: waking the process again costs more than the wait.
 */
import { statfsSync, statSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import type Database from 'better-sqlite3';
import { loadDriver } from './driver';
import { callsSql, COUNT_LATE, keysSql, lateSql, oldSql } from './listings';
import { Recent } from './recent';
import type { ListedCall, OldRow, Rows, Store } from './store';
import { StoreError } from './store';
import {
  columnTypes,
  type KeyRow,
  type LateRow,
  type NewEvent,
  SCHEMA_VERSION,
  TABLES,
  type Table,
  type TableName,
} from './tables';
import { type Change, WorkingSet } from './workingSet';

/**
 * Below this many free bytes on the ledger's disk nothing new is held, so that what is held can still be settled; nor
 * once the file is gone from its place: SQLite goes on writing to it unseen, and a restart would not know what was spent.
 */
const FREE_BYTES_MIN = 64 * 1024 * 1024;
const DISK_CHECK_MS = 2_000;

const Driver = loadDriver();

/**
 * Opens, or makes, the ledger file. Throws {@link StoreError} when another process has it open, when it was written
 * by a newer version, or when it cannot be written.
 */
export function openSqlite(path: string): Store {
  const db = open(path);
  const statements = prepare(db);
  const recent = new Recent();
  const place = placeOf(path);
  let diskCheckedAt = 0;
  let diskFull = false;

  function acceptsHolds(): boolean {
    const now = Date.now();
    if (now - diskCheckedAt > DISK_CHECK_MS) {
      diskCheckedAt = now;
      diskFull = placeOf(path) !== place || freeBytes(path) < FREE_BYTES_MIN;
    }
    return !diskFull;
  }

  function commit(work: (rows: Rows, now: number) => void): void {
    const rows = new WorkingSet((table, id) => recent.get(table, id) ?? (statements.get[table].get(id) as never));
    const now = Date.now();
    statements.begin.run();
    try {
      work(rows, now);
      const changes = [...rows.changes()];
      for (const change of changes) writeRow(statements, change);
      const removals = [...rows.removals()];
      for (const { table, id } of removals) statements.remove[table].run(id);
      for (const seq of rows.forgotten) statements.forget.run(seq);
      for (const event of rows.events) statements.event.run(...eventValues(event, now));
      // ⚠ SQLITE_FULL and SQLITE_IOERR may have ended the transaction already; later statements would autocommit.
      if (!db.inTransaction) throw new StoreError('The transaction was rolled back by SQLite.');
      statements.commit.run();
      for (const change of changes) recent.wrote(change);
      for (const removal of removals) recent.removed(removal);
    } catch (cause) {
      if (db.inTransaction) db.exec('ROLLBACK');
      if (cause instanceof Driver.SqliteError) throw new StoreError(`SQLite: ${cause.code}`, { cause });
      throw cause;
    }
  }

  return {
    exclusive: true,
    async commit(work) {
      commit(work);
    },
    async listCalls(query) {
      const { sql, values } = callsSql(query);
      return db.prepare(sql).all(...values) as ListedCall[];
    },
    async listKeys(query) {
      const { sql, values } = keysSql(query);
      return db.prepare(sql).all(...values) as KeyRow[];
    },
    async listLate(query) {
      const { sql, values } = lateSql(query);
      return db.prepare(sql).all(...values) as LateRow[];
    },
    async countLate() {
      return (statements.countLate.get() as { count: number }).count;
    },
    async listOld(query) {
      const { sql, values } = oldSql(query);
      return db.prepare(sql).all(...values) as OldRow[];
    },
    acceptsHolds,
    async ping() {
      if (!acceptsHolds())
        throw new StoreError(
          `The ledger was moved, or less than ${FREE_BYTES_MIN / 1024 / 1024} MiB is free on its disk.`,
        );
      if (!db.open) throw new StoreError('The ledger is closed.');
      statements.get.meta.get('schema');
    },
    async close() {
      db.close();
    },
  };
}

/** Which file is at the path, as far as the system tells files apart; undefined: none. */
function placeOf(path: string): string | undefined {
  const found = statSync(path, { throwIfNoEntry: false });
  return found && `${found.dev}/${found.ino}`;
}

function freeBytes(path: string): number {
  const { bavail, bsize } = statfsSync(dirname(resolve(path)));
  return bavail * bsize;
}

function open(path: string): Database.Database {
  let db: Database.Database | undefined;
  try {
    db = new Driver(path, { timeout: 2_000 });
    // The lock is the kernel's and ends with the process, so a crash leaves nothing behind that must be cleaned up.
    db.pragma('locking_mode = EXCLUSIVE');
    // A commit writes whole pages, and many of ours hold one changed row.
    db.pragma('page_size = 2048');
    db.pragma('journal_mode = WAL');
    db.pragma('synchronous = FULL');
    db.pragma('wal_autocheckpoint = 8000');
    // KiB. SQLite goes through the whole cache at most commits (pcache1Truncate); the system's own cache has the rest.
    db.pragma('cache_size = -4096');
    db.exec('BEGIN IMMEDIATE');
    migrate(db);
    db.exec('COMMIT');
    return db;
  } catch (cause) {
    db?.close();
    if (cause instanceof StoreError) throw cause;
    const code = cause instanceof Driver.SqliteError ? cause.code : String(cause);
    const busy = code.startsWith('SQLITE_BUSY');
    throw new StoreError(
      busy ? `The ledger ${path} is open in another process.` : `The ledger ${path} cannot be opened: ${code}.`,
      { cause },
    );
  }
}

function migrate(db: Database.Database): void {
  db.exec('CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID');
  const row = db.prepare("SELECT value FROM meta WHERE name = 'schema'").get() as { value: string } | undefined;
  const version = Number(row?.value ?? 0);
  if (version > SCHEMA_VERSION) {
    throw new StoreError(`The ledger has schema ${version}, this version knows ${SCHEMA_VERSION}: upgrade keybrake.`);
  }
  if (version === SCHEMA_VERSION) return;
  // A new version brings tables, columns and indices, and never changes any: what is missing is made.
  for (const [name, table] of Object.entries(TABLES)) {
    const rowid = name === 'calls' ? '' : ' WITHOUT ROWID';
    db.exec(`CREATE TABLE IF NOT EXISTS ${name} (${columnsSql(table)}, PRIMARY KEY (${table.key}))${rowid}`);
    const there = new Set((db.pragma(`table_info(${name})`) as { name: string }[]).map((column) => column.name));
    for (const [column, type] of columnTypes(table)) {
      if (!there.has(column)) db.exec(`ALTER TABLE ${name} ADD COLUMN ${column} ${type.toUpperCase()}`);
    }
    for (const index of table.indices) db.exec(`CREATE INDEX IF NOT EXISTS ${index}`);
  }
  db.exec(`CREATE TABLE IF NOT EXISTS events (seq INTEGER PRIMARY KEY AUTOINCREMENT, at INTEGER NOT NULL,
    kind TEXT NOT NULL, actor TEXT NOT NULL, key_id TEXT, job_id TEXT, call_id TEXT, data TEXT)`);
  db.prepare("INSERT OR REPLACE INTO meta (name, value) VALUES ('schema', ?)").run(String(SCHEMA_VERSION));
}

function columnsSql(table: Table): string {
  return columnTypes(table)
    .map(([name, type]) => `${name} ${type.toUpperCase()}`)
    .join(', ');
}

type Statements = ReturnType<typeof prepare>;

function prepare(db: Database.Database) {
  const each = <T>(make: (name: TableName, table: Table) => T) =>
    Object.fromEntries((Object.keys(TABLES) as TableName[]).map((name) => [name, make(name, TABLES[name])])) as Record<
      TableName,
      T
    >;
  const columns = (table: Table) => [...Object.keys(table.fixed), ...Object.keys(table.mutable)];
  return {
    begin: db.prepare('BEGIN IMMEDIATE'),
    commit: db.prepare('COMMIT'),
    get: each((name, table) => db.prepare(`SELECT ${columns(table).join(', ')} FROM ${name} WHERE ${table.key} = ?`)),
    insert: each((name, table) =>
      db.prepare(
        `INSERT INTO ${name} (${columns(table).join(', ')}) VALUES (${columns(table)
          .map(() => '?')
          .join(', ')})`,
      ),
    ),
    update: each((name, table) => {
      const set = Object.keys(table.mutable).map((column) => `${column} = ?`);
      return set.length === 0 ? undefined : db.prepare(`UPDATE ${name} SET ${set.join(', ')} WHERE ${table.key} = ?`);
    }),
    insertColumns: each((_, table) => columns(table)),
    updateColumns: each((_, table) => [...Object.keys(table.mutable), table.key]),
    remove: each((name, table) => db.prepare(`DELETE FROM ${name} WHERE ${table.key} = ?`)),
    forget: db.prepare('DELETE FROM events WHERE seq = ?'),
    countLate: db.prepare(COUNT_LATE),
    event: db.prepare(
      'INSERT INTO events (at, kind, actor, key_id, job_id, call_id, data) VALUES (?, ?, ?, ?, ?, ?, ?)',
    ),
  };
}

function writeRow(statements: Statements, { table, row, stored }: Change): void {
  const columns = stored ? statements.updateColumns[table] : statements.insertColumns[table];
  const values = columns.map((column) => (row as unknown as Record<string, unknown>)[column]);
  (stored ? statements.update[table] : statements.insert[table])?.run(...values);
}

function eventValues({ kind, actor, key_id, job_id, call_id, data }: NewEvent, now: number) {
  const text = data === undefined ? null : JSON.stringify(data);
  return [now, kind, actor, key_id ?? null, job_id ?? null, call_id ?? null, text];
}
