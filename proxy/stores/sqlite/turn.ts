/** A turn of work on the tables: applies records, and once enough has come together syncs. In a thread, or not. */
import type Database from 'better-sqlite3';
import { Applier } from './apply';
import { checkpoint } from './schema';

export interface Turn {
  /** Number of the last record that the tables have. */
  readonly applied: number;
  /** Number of the last record that they have synced, where that is news. */
  readonly synced?: number;
}

export class TableWorker {
  readonly #db: Database.Database;
  readonly #applier: Applier;
  readonly #syncBytes: number;
  #bytes = 0;

  /** After `syncBytes` of records SQLite is synced, so that the log can begin anew. */
  constructor(db: Database.Database, syncBytes: number) {
    this.#db = db;
    this.#syncBytes = syncBytes;
    this.#applier = new Applier(db);
  }

  turn(records: readonly Buffer[]): Turn {
    const applied = this.#applier.apply(records);
    this.#bytes += records.reduce((sum, { length }) => sum + length, 0);
    if (this.#bytes < this.#syncBytes || !checkpoint(this.#db, 'PASSIVE')) return { applied };
    this.#bytes = 0;
    return { applied, synced: applied };
  }

  /** False: what was applied is not synced, and the log is needed still. */
  sync(): boolean {
    return checkpoint(this.#db, 'TRUNCATE');
  }
}
