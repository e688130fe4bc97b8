/** Brings what the log has into the tables: in this thread as long as that is little, else in one of its own. */
import { existsSync } from 'node:fs';
import { join, sep } from 'node:path';
import { Worker } from 'node:worker_threads';
import type Database from 'better-sqlite3';
import { StoreError } from '../store';
import type { FromThread, ThreadData, ToThread } from './thread';
import { TableWorker, type Turn } from './turn';

/** A row that changes twice within this time is written once. */
const APPLY_AFTER_MS = 300;
/** From so many bytes on nothing is waited for. */
const APPLY_BYTES = 2 * 1024 * 1024;
/** With more than this waiting nothing new is held: the tables can't keep up, or can't be written. */
const WAITING_BYTES_MAX = 128 * 1024 * 1024;
const RETRY_MS = 200;
/** So long after a sync that a reader prevented it is tried again. */
const LATE_MS = 1_000;

export interface BacklogOptions {
  readonly path: string;
  readonly db: Database.Database;
  /** Number of the last record that the tables have. */
  readonly applied: number;
  readonly syncBytes: number;
  /** With more than this waiting, a thread is started. */
  readonly ownBytesMax: number;
  readonly onTurn: (turn: Turn) => void;
}

export class Backlog {
  readonly #options: BacklogOptions;
  readonly #own: TableWorker;
  #thread: Worker | undefined;
  #ended: Promise<void> | undefined;
  /** The thread has ended: what it was sent is in the log only, and nobody answers any more. */
  #over = false;
  /** What waits for a turn: of this thread's, or to be sent. */
  #waiting: Buffer[] = [];
  #heldBytes = 0;
  #waitingBytes = 0;
  readonly #sizes: { readonly seq: number; readonly bytes: number }[] = [];
  #timer: NodeJS.Timeout | undefined;
  #added: number;
  #applied: number;
  #failed: string | undefined;
  #flushes: { readonly upTo: number; readonly resolve: () => void; readonly reject: (error: Error) => void }[] = [];

  constructor(options: BacklogOptions) {
    this.#options = options;
    this.#own = new TableWorker(options.db, options.syncBytes);
    this.#added = this.#applied = options.applied;
  }

  /** Why the tables cannot be written; undefined while they can. */
  get failed(): string | undefined {
    if (this.#failed !== undefined) return this.#failed;
    return this.#waitingBytes > WAITING_BYTES_MAX ? 'its tables are far behind its log' : undefined;
  }

  /** A record that is durable. Its buffer must not be used any more. */
  add(seq: number, record: Buffer): void {
    this.#added = seq;
    this.#waitingBytes += record.length;
    this.#sizes.push({ seq, bytes: record.length });
    this.#waiting.push(record);
    this.#heldBytes += record.length;
    if (this.#heldBytes > this.#options.ownBytesMax) this.#thread ??= this.#startThread();
    if (this.#heldBytes >= APPLY_BYTES && this.#thread !== undefined) this.#turn();
    else this.#later(APPLY_AFTER_MS);
  }

  /** Resolves when the tables have what the log had when it was called. Rejects when they cannot be written. */
  flush(): Promise<void> {
    if (this.#applied === this.#added) return Promise.resolve();
    if (this.#over) return Promise.reject(notWritten(this.#failed));
    const upTo = this.#added;
    return new Promise((resolve, reject) => {
      this.#flushes.push({ upTo, resolve, reject });
      this.#turn();
    });
  }

  /** Answers whether all that was added is in SQLite, synced. */
  async close(): Promise<boolean> {
    clearTimeout(this.#timer);
    if (this.#thread !== undefined) {
      let synced = false;
      this.#thread.on('message', (told: FromThread) => (synced ||= 'closed' in told && told.synced === this.#added));
      this.#send(true);
      await this.#ended;
      return synced;
    }
    this.#turn();
    // Where it failed there is no further turn: the log has what is missing.
    clearTimeout(this.#timer);
    return this.#applied === this.#added && this.#ownSynced();
  }

  #ownSynced(): boolean {
    try {
      return this.#own.sync();
    } catch (error) {
      // The disk is full, or worse: the log is not given up.
      this.#isFailed(error instanceof Error ? error.message : String(error));
      return false;
    }
  }

  #later(ms: number): void {
    this.#timer ??= setTimeout(() => this.#turn(), ms);
  }

  #turn(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (this.#thread !== undefined) {
      this.#send(false);
      return;
    }
    try {
      const turn = this.#own.turn(this.#waiting);
      this.#waiting = [];
      this.#heldBytes = 0;
      this.#turned(turn);
    } catch (error) {
      this.#isFailed(error instanceof Error ? error.message : String(error));
      this.#later(RETRY_MS);
    }
  }

  #startThread(): Worker {
    const { path, syncBytes } = this.#options;
    const workerData: ThreadData = { path, syncBytes, distrusted: this.#own.distrusted };
    const thread = new Worker(threadFile(), { workerData });
    thread.on('message', (told: FromThread) => {
      if ('failed' in told) this.#isFailed(told.failed);
      else this.#turned(told);
    });
    thread.on('error', (error) => this.#isFailed(`its thread ended: ${String(error)}`));
    this.#ended = new Promise((resolve) => {
      thread.once('exit', () => {
        this.#over = true;
        this.#isFailed(this.#failed ?? 'its thread ended');
        resolve();
      });
    });
    return thread;
  }

  /** The buffers are the thread's from now on: nothing is copied. */
  #send(close: boolean): void {
    const records = this.#waiting;
    this.#waiting = [];
    this.#heldBytes = 0;
    const message: ToThread = { records, close };
    this.#thread?.postMessage(
      message,
      records.map(({ buffer }) => buffer as ArrayBuffer),
    );
  }

  #turned(turn: Turn): void {
    this.#failed = undefined;
    this.#applied = turn.applied;
    while (this.#sizes[0] !== undefined && this.#sizes[0].seq <= turn.applied) {
      this.#waitingBytes -= this.#sizes.shift()?.bytes ?? 0;
    }
    this.#options.onTurn(turn);
    if (turn.late === true) this.#later(LATE_MS);
    const over = this.#flushes.filter(({ upTo }) => upTo <= turn.applied);
    this.#flushes = this.#flushes.filter(({ upTo }) => upTo > turn.applied);
    for (const { resolve } of over) resolve();
  }

  #isFailed(why: string): void {
    this.#failed = why;
    const flushes = this.#flushes;
    this.#flushes = [];
    for (const { reject } of flushes) reject(notWritten(why));
  }
}

function notWritten(why: string | undefined): StoreError {
  return new StoreError(`The ledger's tables cannot be written: ${why}.`);
}

/** Threads run built files: from the sources, those that were built last. */
function threadFile(): string {
  const beside = join(__dirname, 'thread.js');
  if (existsSync(beside)) return beside;
  const from = ['proxy', 'stores', 'sqlite'].join(sep);
  return join(__dirname.slice(0, -from.length), 'lib', from, 'thread.js');
}
