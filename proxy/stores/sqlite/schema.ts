/** Opens the ledger file, makes its tables, and holds the lock that keeps other processes out. */
import { closeSync, existsSync, openSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import type Database from 'better-sqlite3';
import { StoreError } from '../store';
import { columnTypes, SCHEMA_VERSION, TABLES, type Table } from '../tables';
import { loadDriver, unbuilt } from './driver';

const Driver: typeof Database = loadDriver();

/** Name of the `meta` row that tells up to which record of the log the tables are. */
export const APPLIED = 'applied';
/** Name of the `meta` row that is there while a process has the ledger open: until then the log belongs to it. */
const OPEN = 'open';

export function lockPath(ledger: string): string {
  return `${ledger}-lock`;
}

/**
 * Held as long as the process lives. The lock is the kernel's and ends with the process, so a crash leaves nothing
 * behind that must be cleaned up. Throws {@link StoreError} when another process has it.
 */
export function lock(path: string): Database.Database {
  return opening(
    path,
    () => newDriver(lockPath(path), 2_000),
    (db) => db.exec('BEGIN EXCLUSIVE'),
  );
}

/** Throws {@link StoreError} when the file was written by a newer version, or cannot be written. */
export function openLedger(path: string): Database.Database {
  return opening(
    path,
    () => connect(path),
    (db) => {
      db.exec('BEGIN IMMEDIATE');
      migrate(db);
      db.exec('COMMIT');
    },
  );
}

const WAL_BYTES_MAX = 64 * 1024 * 1024;

/** One more connection to a ledger that is open. */
export function connect(path: string): Database.Database {
  const db = newDriver(path, 1_000);
  // A commit writes whole pages, and many of ours hold one changed row.
  db.pragma('page_size = 2048');
  db.pragma('journal_mode = WAL');
  // The log is synced at every commit; SQLite only before a record of the log is given up: see `checkpoint`.
  db.pragma('synchronous = NORMAL');
  db.pragma('wal_autocheckpoint = 0');
  // A reader makes the write-ahead log long; once it has left, the file is cut to this.
  db.pragma(`journal_size_limit = ${WAL_BYTES_MAX}`);
  // KiB. SQLite goes through the whole cache at most commits (pcache1Truncate); the system's own cache has the rest.
  db.pragma('cache_size = -4096');
  return db;
}

/**
 * A file that is made is for nobody else to read; what SQLite puts beside it has its mode. One that is there is not
 * opened: to close it would end all locks that this process has on it (sqlite.org/howtocorrupt.html, 2.2).
 */
function newDriver(path: string, timeoutMs: number): Database.Database {
  try {
    closeSync(openSync(path, 'ax', 0o600));
  } catch {
    // It is there, or SQLite says why not, in its own words.
  }
  return new Driver(path, { timeout: timeoutMs });
}

/** Brings all that was committed into the ledger's file, synced. False: a reader was in the way, try again later. */
export function checkpoint(db: Database.Database, mode: 'PASSIVE' | 'TRUNCATE'): boolean {
  const [told] = db.pragma(`wal_checkpoint(${mode})`) as { busy: number; log: number; checkpointed: number }[];
  return told !== undefined && told.busy === 0 && told.log === told.checkpointed;
}

export function appliedIn(db: Database.Database): number {
  const row = db.prepare('SELECT value FROM meta WHERE name = ?').get(APPLIED) as { value: string } | undefined;
  return Number(row?.value ?? 0);
}

/** Was the ledger left without being closed? Then the last commits are in its log. */
export function wasLeftOpen(db: Database.Database): boolean {
  return db.prepare('SELECT 1 FROM meta WHERE name = ?').get(OPEN) !== undefined;
}

/** Answers whether the word is in the ledger's file, synced. */
export function markOpen(db: Database.Database, open: boolean): boolean {
  if (open) db.prepare('INSERT OR REPLACE INTO meta (name, value) VALUES (?, ?)').run(OPEN, '1');
  else db.prepare('DELETE FROM meta WHERE name = ?').run(OPEN);
  return checkpoint(db, 'TRUNCATE');
}

/**
 * SQLite's code of an error; undefined: it is none of SQLite's. Told by what it looks like: the native driver throws the
 * class of whichever copy of it was loaded first in the process, which need not be one that this module knows.
 */
export function sqliteCode(error: unknown): string | undefined {
  const { name, code } = (error ?? {}) as { readonly name?: unknown; readonly code?: unknown };
  return name === 'SqliteError' && typeof code === 'string' ? code : undefined;
}

function opening(path: string, open: () => Database.Database, begin: (db: Database.Database) => void) {
  let db: Database.Database | undefined;
  try {
    db = open();
    begin(db);
    return db;
  } catch (cause) {
    db?.close();
    if (cause instanceof StoreError) throw cause;
    throw new StoreError(`The ledger ${path} ${whyNot(path, cause)}`, { cause });
  }
}

const OR_ANOTHER = 'or name another ledger with KEYBRAKE_STORE';

/** Why a ledger does not open, and what to do. */
function whyNot(path: string, cause: unknown): string {
  const folder = dirname(resolve(path));
  const code = sqliteCode(cause);
  const driver = unbuilt(cause);
  if (driver !== undefined) return `cannot be opened, as ${driver}`;
  if (code?.startsWith('SQLITE_BUSY') === true) return `is open in another process: end that one, ${OR_ANOTHER}.`;
  if (!existsSync(folder)) return `cannot be opened, as there is no folder ${folder}: make it, ${OR_ANOTHER}.`;
  if (code === 'SQLITE_NOTADB') return `cannot be opened, as it is no SQLite file: restore it, ${OR_ANOTHER}.`;
  const what = code ?? (cause instanceof Error ? cause.message : String(cause));
  return `cannot be opened (${what}): see that the file and its folder ${folder} can be written, ${OR_ANOTHER}.`;
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
