/**
 * The durable word of every commit, before SQLite has it: two files beside the ledger, written in turn, each record
 * synced before anybody hears of it (`O_DSYNC`: one system call; on a thread of libuv, so that a slow disk does not block
 * the process). A file is written anew from its start once SQLite has, synced, all that it holds: its blocks are there
 * already, which makes a sync twice as fast.
 */
import { closeSync, constants, existsSync, fsyncSync, openSync, readFileSync, rmSync, write, writeSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { promisify } from 'node:util';
import { StoreError } from '../store';
import { recordAt } from './record';

const writeAt = promisify(write);

/**
 * A record up to this size is written without a thread while that takes less than {@link QUICK_MS}: waking a thread, and
 * this one again, costs more than to wait for a quick disk, and few calls are there that would wait too.
 */
const SMALL_BYTES = 16 * 1024;
const QUICK_MS = 0.5;
/** Grows by so much at a time, filled with zeros. */
const GROW_BYTES = 1024 * 1024;

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
  readonly fd: number;
  end: number;
  size: number;
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
    const open = (path: string): LogFile => {
      const fd = openSync(path, constants.O_RDWR | constants.O_CREAT | constants.O_DSYNC, 0o600);
      return { fd, end: 0, size: 0, lastSeq: 0 };
    };
    this.#paths = logPaths(ledger);
    this.#files = [open(this.#paths[0]), open(this.#paths[1])];
    this.#syncedSeq = seq;
    this.#fileBytes = fileBytes;
    syncFolder(ledger);
  }

  /** Resolves once the record is durable. One at a time. After a failure the next record takes the failed one's place. */
  async append(seq: number, record: Buffer): Promise<void> {
    const other = this.#files[this.#current === 0 ? 1 : 0];
    if (this.#files[this.#current].end >= this.#fileBytes && other.lastSeq <= this.#syncedSeq && !this.#failed) {
      this.#current = this.#current === 0 ? 1 : 0;
      other.end = 0;
    }
    const file = this.#files[this.#current];
    this.#failed = true;
    await this.#grow(file, file.end + record.length);
    const started = performance.now();
    if (record.length <= SMALL_BYTES && this.#usualMs < QUICK_MS) writeWholeSync(file.fd, record, file.end);
    else await writeWhole(file.fd, record, file.end);
    if (record.length <= SMALL_BYTES) this.#usualMs += (performance.now() - started - this.#usualMs) / 8;
    this.#failed = false;
    file.end += record.length;
    file.lastSeq = seq;
  }

  /** SQLite has, synced, every record up to this one. */
  synced(seq: number): void {
    this.#syncedSeq = seq;
  }

  /** With `done`, the files are not needed any more. */
  close(done: boolean): void {
    for (const { fd } of this.#files) closeSync(fd);
    if (done) for (const path of this.#paths) rmSync(path, { force: true });
  }

  async #grow(file: LogFile, needed: number): Promise<void> {
    if (needed <= file.size) return;
    const zeros = Buffer.alloc(Math.ceil((needed - file.size) / GROW_BYTES) * GROW_BYTES);
    await writeWhole(file.fd, zeros, file.size);
    file.size += zeros.length;
  }
}

async function writeWhole(fd: number, bytes: Buffer, position: number): Promise<void> {
  for (let at = 0; at < bytes.length;) {
    at += (await writeAt(fd, bytes, at, bytes.length - at, position + at)).bytesWritten;
  }
}

function writeWholeSync(fd: number, bytes: Buffer, position: number): void {
  for (let at = 0; at < bytes.length;) at += writeSync(fd, bytes, at, bytes.length - at, position + at);
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
