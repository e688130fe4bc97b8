/**
 * The durable word of every commit, before SQLite has it: two files beside the ledger, written in turn, each record
 * synced before anybody hears of it. A file is written anew from its start once SQLite has, synced, all that it holds.
 */
import { constants, closeSync, existsSync, fsyncSync, openSync, readFileSync, rmSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { StoreError } from '../store';
import { recordAt } from './record';
import { SyncedFile } from './syncedFile';

/**
 * A record up to this size is written without a thread while that takes less than {@link QUICK_MS}: waking a thread, and
 * this one again, costs more than to wait for a quick disk, and few calls are there that would wait too.
 */
const SMALL_BYTES = 16 * 1024;
const QUICK_MS = 0.5;

export function logPaths(ledger: string): readonly [string, string] {
  return [`${ledger}-log.0`, `${ledger}-log.1`];
}

/**
 * The records after `applied`, in order. Throws {@link StoreError} when one is missing between: the log and the ledger
 * are not of one time.
 */
export function readLog(ledger: string, applied: number): Buffer[] {
  const found = logPaths(ledger).flatMap((path) => (existsSync(path) ? recordsIn(readFileSync(path)) : []));
  const after = found.filter(({ seq }) => seq > applied).toSorted((one, other) => one.seq - other.seq);
  for (const [index, { seq }] of after.entries()) {
    if (seq === applied + 1 + index) continue;
    throw new StoreError(
      `The ledger ${ledger} ends at commit ${applied + index}, its log goes on at ${seq}: they were not copied together.`,
    );
  }
  return after.map(({ record }) => record);
}

/** Records follow one another; what follows the last is older, or was cut short when the process died. */
function recordsIn(bytes: Buffer) {
  const records: { readonly seq: number; readonly record: Buffer }[] = [];
  for (let at = 0; ;) {
    const next = recordAt(bytes, at);
    const last = records.at(-1);
    if (next === undefined || (last !== undefined && next.seq !== last.seq + 1)) return records;
    records.push(next);
    at += next.record.length;
  }
}

interface LogFile {
  readonly file: SyncedFile;
  /** Number of the last record in it. */
  lastSeq: number;
}

export class Log {
  readonly #paths: readonly [string, string];
  readonly #files: readonly [LogFile, LogFile];
  readonly #fileBytes: number;
  #current: 0 | 1 = 0;
  #syncedSeq: number;
  /** What small records took lately. */
  #usualMs = 0;
  /** A record that failed may stand in the file nevertheless: the next one is written over it. */
  #failed = false;

  /** Begins anew: what the files hold must be in SQLite, synced. From `fileBytes` on the other one is written, when it is free. */
  constructor(ledger: string, seq: number, fileBytes: number) {
    this.#paths = logPaths(ledger);
    const [one, other] = this.#paths.map((path) => ({ file: new SyncedFile(path, constants.O_DIRECT), lastSeq: 0 }));
    this.#files = [one as LogFile, other as LogFile];
    this.#syncedSeq = seq;
    this.#fileBytes = fileBytes;
    syncFolder(ledger);
  }

  /** Resolves once the record is durable. One at a time. After a failure the next record takes the failed one's place. */
  async append(seq: number, record: Buffer): Promise<void> {
    const other = this.#files[this.#current === 0 ? 1 : 0];
    if (this.#files[this.#current].file.end >= this.#fileBytes && other.lastSeq <= this.#syncedSeq && !this.#failed) {
      this.#current = this.#current === 0 ? 1 : 0;
      other.file.rewind();
    }
    const current = this.#files[this.#current];
    this.#failed = true;
    await current.file.grow(record.length);
    const small = record.length <= SMALL_BYTES;
    const started = performance.now();
    await current.file.add(record, small && this.#usualMs < QUICK_MS);
    if (small) this.#usualMs += (performance.now() - started - this.#usualMs) / 8;
    this.#failed = false;
    current.lastSeq = seq;
  }

  /** SQLite has, synced, every record up to this one. */
  synced(seq: number): void {
    this.#syncedSeq = seq;
  }

  /** With `done`, the files are not needed any more. */
  close(done: boolean): void {
    for (const { file } of this.#files) file.close();
    if (done) for (const path of this.#paths) rmSync(path, { force: true });
  }
}

/** Else a file that was just made can be gone after a power cut. */
function syncFolder(ledger: string): void {
  const folder = openSync(dirname(resolve(ledger)), constants.O_RDONLY);
  try {
    fsyncSync(folder);
  } finally {
    closeSync(folder);
  }
}
