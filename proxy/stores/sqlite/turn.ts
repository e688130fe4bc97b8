/** A turn of work on the tables: applies records, and once enough has come together syncs. In a thread, or not. */
import type Database from 'better-sqlite3';
import { Applier } from './apply';
import { checkpoint, sqliteCode } from './schema';

export interface Turn {
  /** Number of the last record that the tables have. */
  readonly applied: number;
  /** Number of the last record that they have synced, where that is news. */
  readonly synced?: number;
  /** It was time to sync them, and another program was reading: try again. */
  readonly late?: boolean;
}

export class TableWorker {
  readonly #db: Database.Database;
  readonly #applier: Applier;
  readonly #syncBytes: number;
  #bytes = 0;
  #distrusted: boolean;

  /** After `syncBytes` of records SQLite is synced, so that the log can begin anew; not if it is `distrusted`. */
  constructor(db: Database.Database, syncBytes: number, distrusted = false) {
    this.#db = db;
    this.#syncBytes = syncBytes;
    this.#distrusted = distrusted;
    this.#applier = new Applier(db);
  }

  /** A sync failed: the next may say that all is well with what the disk has lost (fsync(2)). The log has it. */
  get distrusted(): boolean {
    return this.#distrusted;
  }

  turn(records: readonly Buffer[]): Turn {
    const applied = this.#applier.apply(records);
    this.#bytes += records.reduce((sum, { length }) => sum + length, 0);
    if (this.#bytes < this.#syncBytes || this.#distrusted) return { applied };
    if (!this.#checkpoint('PASSIVE')) return { applied, late: true };
    this.#bytes = 0;
    return { applied, synced: applied };
  }

  /** False: what was applied is not synced, and the log is needed still. Throws when SQLite cannot. */
  sync(): boolean {
    return this.#checkpoint('TRUNCATE') && !this.#distrusted;
  }

  #checkpoint(mode: 'PASSIVE' | 'TRUNCATE'): boolean {
    try {
      return checkpoint(this.#db, mode);
    } catch (error) {
      this.#distrusted ||= sqliteCode(error)?.startsWith('SQLITE_IOERR') === true;
      throw error;
    }
  }
}
