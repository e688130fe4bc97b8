/**
 * The durable word of every commit, before SQLite has it: two files beside the ledger, written in turn, each record
 * synced before anybody hears of it. A file is written anew from its start once SQLite has, synced, all that it holds.
 */
import { closeSync, constants, existsSync, fstatSync, openSync, readSync, rmSync } from 'node:fs';
import { StoreError } from '../store';
import { HEAD_BYTES, headFrom, lengthAt, recordAt } from './record';
import { SyncedFile } from './syncedFile';
import { syncFolderOf } from './syncFolder';

/**
 * A record up to this size is written without a thread while that takes less than {@link QUICK_MS}: waking a thread, and
 * this one again, costs more than to wait for a quick disk, and few calls are there that would wait too.
 */
const SMALL_BYTES = 16 * 1024;
const QUICK_MS = 0.5;
/** A file that other programs' reading has made long is cut, but not below this. */
const KEPT_BYTES_MIN = 4 * 1024 * 1024;
/** What is damaged is searched for the next record in pieces of this size. */
const SEARCHED_BYTES = 1024 * 1024;

export function logPaths(ledger: string): readonly [string, string] {
  return [`${ledger}-log.0`, `${ledger}-log.1`];
}

/**
 * The records after `applied`, in order. Throws {@link StoreError} when one is missing between: the log and the ledger
 * are not of one time, or the log is damaged. Somebody has heard of each of them, so none is passed over.
 */
export function readLog(ledger: string, applied: number): Buffer[] {
  const found = logPaths(ledger).flatMap((path) => (existsSync(path) ? recordsIn(path, applied) : []));
  const after = found.toSorted((one, other) => one.seq - other.seq);
  for (const [index, { seq }] of after.entries()) {
    if (seq === applied + 1 + index) continue;
    throw new StoreError(
      `The ledger ${ledger} ends at commit ${applied + index}, its log goes on at ${seq}: they were not copied together, ` +
        `or the log is damaged. Restore ${ledger}, ${ledger}-wal, ${ledger}-log.0 and ${ledger}-log.1 from one copy.`,
    );
  }
  return after.map(({ record }) => record);
}

/**
 * Makes the files that are not there, durably, before the ledger is marked open: one that is and has none has lost its
 * last commits.
 */
export function makeLog(ledger: string): void {
  for (const path of logPaths(ledger)) closeSync(openSync(path, 'a', 0o600));
  syncFolderOf(ledger);
}

interface Found {
  readonly at: number;
  readonly seq: number;
  readonly record: Buffer;
}

/**
 * The records after `applied`. Records follow one another; what follows the last is older, or was cut short when the
 * process died. Behind what is damaged are later ones: they tell that some are missing, if the tables have not got them.
 * Read one by one: while another program reads the tables, a file may become longer than memory is.
 */
function recordsIn(path: string, applied: number): Found[] {
  const fd = openSync(path, constants.O_RDONLY);
  try {
    const { size } = fstatSync(fd);
    const records: Found[] = [];
    let last: number | undefined;
    for (let at = 0; ;) {
      let next = readRecord(fd, at, size);
      if (next === undefined || (last !== undefined && next.seq !== last + 1)) {
        next = laterRecord(fd, at, size, Math.max(last ?? 0, applied));
      }
      if (next === undefined) return records;
      if (next.seq > applied) records.push(next);
      last = next.seq;
      at = next.at + next.record.length;
    }
  } finally {
    closeSync(fd);
  }
}

function readRecord(fd: number, at: number, size: number): Found | undefined {
  const length = lengthAt(readBytes(fd, at, HEAD_BYTES), 0);
  if (length === undefined || length > size - at) return undefined;
  const found = recordAt(readBytes(fd, at, length), 0);
  return found && { ...found, at };
}

/** The first record from `at` on that is later than `seq`. */
function laterRecord(fd: number, at: number, size: number, seq: number): Found | undefined {
  for (let from = at; from < size; from += SEARCHED_BYTES) {
    const bytes = readBytes(fd, from, SEARCHED_BYTES + HEAD_BYTES);
    for (let head = headFrom(bytes, 0); head !== -1 && head < SEARCHED_BYTES; head = headFrom(bytes, head + 1)) {
      const found = readRecord(fd, from + head, size);
      if (found !== undefined && found.seq > seq) return found;
    }
  }
  return undefined;
}

/** Fewer where the file ends before. */
function readBytes(fd: number, at: number, length: number): Buffer {
  const bytes = Buffer.allocUnsafeSlow(length);
  let read = 0;
  for (let more = -1; more !== 0 && read < length; read += more) {
    more = readSync(fd, bytes, read, length - read, at + read);
  }
  return bytes.subarray(0, read);
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
  /** A record is being written, or its writing failed: it may be in the file, and the next one must be written over it. */
  #busy = false;

  /** Begins anew: what the files hold must be in SQLite, synced. From `fileBytes` on the other one is written, when it is free. */
  constructor(ledger: string, seq: number, fileBytes: number) {
    this.#paths = logPaths(ledger);
    const [one, other] = this.#paths.map((path) => ({ file: new SyncedFile(path, constants.O_DIRECT), lastSeq: 0 }));
    this.#files = [one as LogFile, other as LogFile];
    this.#syncedSeq = seq;
    this.#fileBytes = fileBytes;
  }

  /** Resolves once the record is durable. One at a time. After a failure the next record takes the failed one's place. */
  async append(seq: number, record: Buffer): Promise<void> {
    this.#takeTurns();
    const current = this.#files[this.#current];
    await this.#grow(current, record.length);
    const small = record.length <= SMALL_BYTES;
    const started = performance.now();
    await current.file.add(record, small && this.#usualMs < QUICK_MS);
    if (small) this.#usualMs += (performance.now() - started - this.#usualMs) / 8;
    this.#busy = false;
    current.lastSeq = seq;
  }

  /** Where there is no room, nothing of the record is in the file: the other one may be cut, and may have room for it. */
  async #grow({ file }: LogFile, bytes: number): Promise<void> {
    const wasBusy = this.#busy;
    this.#busy = true;
    try {
      await file.grow(bytes);
    } catch (error) {
      this.#busy = wasBusy;
      throw error;
    }
  }

  /** SQLite has, synced, every record up to this one. */
  synced(seq: number): void {
    this.#syncedSeq = seq;
    // Not with the next record only: a disk that is full of the log takes none.
    this.#takeTurns();
  }

  #takeTurns(): void {
    if (this.#busy) return;
    const other = this.#current === 0 ? 1 : 0;
    if (this.#files[this.#current].file.end >= this.#fileBytes && this.#isFree(other)) {
      this.#free(other);
      this.#current = other;
    }
    const left = this.#current === 0 ? 1 : 0;
    if (this.#isFree(left)) this.#free(left);
  }

  /** Is all that the file holds in SQLite, synced? */
  #isFree(file: 0 | 1): boolean {
    return this.#files[file].lastSeq <= this.#syncedSeq;
  }

  #free(file: 0 | 1): void {
    this.#files[file].file.rewind(Math.max(KEPT_BYTES_MIN, 4 * this.#fileBytes));
  }

  /** With `done`, the files are not needed any more. */
  close(done: boolean): void {
    for (const { file } of this.#files) file.close();
    if (done) for (const path of this.#paths) rmSync(path, { force: true });
  }
}
