/**
 * SQLite: one process per ledger. A commit is durable once its record is in the log (`log.ts`), one write; the tables
 * follow (`backlog.ts`), many commits at a time. What they do not have yet is in memory (`unapplied.ts`), and is brought
 * into them when a ledger is opened that was not closed.
 */
import assert from 'node:assert';
import { existsSync, statfsSync, statSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import type Database from 'better-sqlite3';
import { callsSql, COUNT_LATE, keysSql, lateSql, oldSql, OPEN_SUMS, type Sql } from '../listings';
import { Recent } from '../recent';
import type { ListedCall, OldRow, OpenSum, Rows, Store } from '../store';
import { isClosed, StoreError } from '../store';
import { type KeyRow, type LateRow, type RowTypes, TABLES, type TableName } from '../tables';
import { WorkingSet } from '../workingSet';
import { Backlog } from './backlog';
import { Log, logPaths, makeLog, readLog } from './log';
import { ledgerPath, nameOf } from './place';
import { encodeRecord, LAYOUTS } from './record';
import { appliedIn, lock, lockPath, markOpen, openLedger, sqliteCode, wasLeftOpen } from './schema';
import { TableWorker } from './turn';
import { Unapplied } from './unapplied';

const MIB = 1024 * 1024;

/**
 * Below this many free bytes on the ledger's disk nothing new is held, so that what is held can still be settled; nor
 * once a file is gone from its place: the system goes on writing to it unseen, and a restart would not know what was spent.
 */
const FREE_BYTES_MIN = 64 * MIB;
const DISK_CHECK_MS = 2_000;

export interface Sizes {
  /** From this size on the other file of the log is written. */
  readonly logFileBytes: number;
  /** After so many bytes of the log the tables are synced. */
  readonly syncBytes: number;
  /** With so many bytes to be brought into the tables at one time, a thread does it. */
  readonly ownBytesMax: number;
}
const SIZES: Sizes = { logFileBytes: 16 * MIB, syncBytes: 8 * MIB, ownBytesMax: MIB / 4 };

/**
 * Opens, or makes, the ledger file. Throws {@link StoreError} when another process has it open, when it was written
 * by a newer version, when it cannot be written, or when its log is not of one time with it.
 */
export function openSqlite(given: string, sizes = SIZES): Store {
  const link = nameOf(given);
  const real = ledgerPath(given);
  // Messages say the name that was given, where it is none of a link.
  const path = real === link ? given : real;
  if (real !== link && logPaths(link).some((log) => existsSync(log))) {
    throw new StoreError(
      `The ledger ${given} is a link to ${path}, and its log stands beside the link: move ${link}-log.* to ${path}-log.*`,
    );
  }
  const locked = lock(path);
  let db: Database.Database | undefined;
  try {
    db = openLedger(path);
    return storeOn({ path, link }, locked, db, recoverTables(path, db), sizes);
  } catch (cause) {
    db?.close();
    locked.close();
    if (cause instanceof StoreError) throw cause;
    throw new StoreError(`The ledger ${path} cannot be opened: ${String(cause)}.`, { cause });
  }
}

/** Brings the log of a process that died into the tables. Answers the number of the last record. */
function recoverTables(path: string, db: Database.Database): number {
  const [log, other] = logPaths(path);
  if (wasLeftOpen(db) && !existsSync(log) && !existsSync(other)) {
    throw new StoreError(
      `The ledger ${path} was not closed, and its log is missing: the last commits are in ${log} and ${other}. Bring them ` +
        `from where it was copied. If they are lost for good, make an empty ${log}: what they held may be charged again.`,
    );
  }
  const records = readLog(path, appliedIn(db));
  if (records.length > 0) new TableWorker(db, Infinity).turn(records);
  makeLog(path);
  if (!markOpen(db, true)) throw new StoreError(`The ledger ${path} is being read by another process.`);
  return appliedIn(db);
}

function storeOn(
  { path, link }: { readonly path: string; readonly link: string },
  locked: Database.Database,
  db: Database.Database,
  seqBefore: number,
  { logFileBytes, syncBytes, ownBytesMax }: Sizes,
): Store {
  // Nobody else has business with the tables; whoever has them all the same must not stop this process.
  db.pragma('busy_timeout = 50');
  const log = new Log(path, seqBefore, logFileBytes);
  const select = prepare(db);
  const recent = new Recent();
  const unapplied = new Unapplied();
  // Without the lock's file another process would think itself alone; a link may come to name another file.
  const files = [link, path, ...logPaths(path), lockPath(path)];
  const places = files.map(placeOf);
  const backlog = new Backlog({
    path,
    db,
    applied: seqBefore,
    syncBytes,
    ownBytesMax,
    onTurn: ({ applied, synced }) => {
      unapplied.applied(applied);
      if (synced !== undefined) log.synced(synced);
    },
  });
  let seq = seqBefore;
  let closed = false;
  /** Settles when the record that is being written is written, or has failed. */
  let committing: Promise<unknown> | undefined;
  /** Rows of this commit that came from the tables. */
  let loads = 0;
  let diskCheckedAt = 0;
  let diskFull = false;
  /** What follows from the record that was written last. Those who waited for it go on first. */
  let owed: (() => void) | undefined;

  function catchUp(): void {
    const work = owed;
    owed = undefined;
    work?.();
  }

  function acceptsHolds(): boolean {
    const now = Date.now();
    if (now - diskCheckedAt > DISK_CHECK_MS) {
      diskCheckedAt = now;
      diskFull = files.some((file, index) => placeOf(file) !== places[index]) || freeBytes(path) < FREE_BYTES_MIN;
    }
    return !diskFull && backlog.failed === undefined;
  }

  function load<T extends TableName>(table: T, id: string): RowTypes[T] | undefined {
    const known = recent.get(table, id);
    if (known !== undefined) return known;
    const slot = unapplied.get(table, id);
    if (slot !== undefined) return slot.row;
    loads += 1;
    return ofSqlite(() => {
      // From the second on one read of the tables for all rows: SQLite need not look for changes at each.
      if (loads === 2) select.begin.run();
      return select.rows[table].get(id) as RowTypes[T] | undefined;
    });
  }

  function changed(work: (rows: Rows, now: number) => void, now: number): WorkingSet {
    const rows = new WorkingSet(load);
    loads = 0;
    try {
      work(rows, now);
    } finally {
      if (loads > 1 && db.inTransaction) select.end.run();
    }
    return rows;
  }

  async function commit(work: (rows: Rows, now: number) => void): Promise<void> {
    if (closed) throw isClosed();
    assert(committing === undefined, 'one commit at a time');
    catchUp();
    const now = Date.now();
    const rows = changed(work, now);
    const [changes, removals] = [rows.changes(), rows.removals()];
    const { events, forgotten } = rows;
    if (changes.length + removals.length + events.length + forgotten.length === 0) return;
    const record = encodeRecord(seq + 1, now, { changes, removals, forgotten, events });
    const appended = log.append(seq + 1, record);
    committing = appended.catch(() => undefined);
    try {
      await appended;
    } catch (cause) {
      // Whatever of the record is in the file, the next one is written over it.
      throw new StoreError(`The ledger's log cannot be written: ${(cause as NodeJS.ErrnoException).code}`, { cause });
    } finally {
      committing = undefined;
    }
    const written = (seq += 1);
    owed = () => {
      unapplied.wrote(written, changes, removals);
      backlog.add(written, record);
      for (const change of changes) recent.wrote(change);
      for (const removal of removals) recent.removed(removal);
    };
    setImmediate(catchUp);
  }

  async function list({ sql, values }: Sql): Promise<unknown[]> {
    catchUp();
    await backlog.flush();
    return ofSqlite(() => db.prepare(sql).all(...values));
  }

  return {
    exclusive: true,
    commit,
    listCalls: async (query) => (await list(callsSql(query))) as ListedCall[],
    listKeys: async (query) => (await list(keysSql(query))) as KeyRow[],
    listLate: async (query) => (await list(lateSql(query))) as LateRow[],
    listOld: async (query) => (await list(oldSql(query))) as OldRow[],
    sumOpen: async () => (await list({ sql: OPEN_SUMS, values: [] })) as OpenSum[],
    async countLate() {
      const [counted] = (await list({ sql: COUNT_LATE, values: [] })) as { readonly count: number }[];
      return counted?.count ?? 0;
    },
    acceptsHolds,
    async ping() {
      if (closed) throw isClosed();
      if (backlog.failed !== undefined)
        throw new StoreError(`The ledger's tables cannot be written: ${backlog.failed}.`);
      if (acceptsHolds()) return;
      const least = FREE_BYTES_MIN / MIB;
      throw new StoreError(`The ledger was moved, or less than ${least} MiB is free on its disk.`);
    },
    async close() {
      if (closed) return;
      closed = true;
      // Else its bytes would go to whatever file has the number of the log's by then.
      await committing;
      catchUp();
      const done = (await backlog.close()) && isMarkedClosed(db);
      db.close();
      log.close(done);
      locked.close();
    },
  };
}

/** Where it cannot be, the log stays. */
function isMarkedClosed(db: Database.Database): boolean {
  try {
    return markOpen(db, false);
  } catch {
    return false;
  }
}

/** What SQLite throws is a failure of the store, which the ledger tells from one operation's. */
function ofSqlite<T>(work: () => T): T {
  try {
    return work();
  } catch (cause) {
    const code = sqliteCode(cause);
    if (code === undefined) throw cause;
    throw new StoreError(`SQLite: ${code}`, { cause });
  }
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

function prepare(db: Database.Database) {
  const names = Object.keys(TABLES) as TableName[];
  const row = (name: TableName) =>
    db.prepare(`SELECT ${LAYOUTS[name].insert.join(', ')} FROM ${name} WHERE ${LAYOUTS[name].key} = ?`);
  return {
    begin: db.prepare('BEGIN'),
    end: db.prepare('COMMIT'),
    rows: Object.fromEntries(names.map((name) => [name, row(name)])) as {
      readonly [T in TableName]: Database.Statement<[string]>;
    },
  };
}
