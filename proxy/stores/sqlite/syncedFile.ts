/**
 * A file to which records are added, each durable before the next (`O_DSYNC`: one system call). Where the file system
 * can, they go to the disk past its cache (`O_DIRECT`), which spares most of the way there: then whole blocks are written,
 * the last one again with each record, its older bytes as they were.
 */
import { closeSync, constants, ftruncateSync, openSync, write, writeSync } from 'node:fs';
import { promisify } from 'node:util';

const writeAt = promisify(write);

/** A multiple of what any disk reads and writes at a time. */
const BLOCK_BYTES = 4096;
/** Grows by so much at a time, filled with zeros: a sync is twice as fast where a file's blocks are there already. */
const GROW_BYTES = 1024 * 1024;
/** Memory comes with some alignment by itself. */
const STEP_BYTES = 16;

export class SyncedFile {
  readonly #fd: number;
  /** What is written past the cache stands here; undefined: nothing is. */
  readonly #blocks: Buffer | undefined;
  /** The bytes of the last block that are there already. */
  readonly #tail = Buffer.alloc(BLOCK_BYTES);
  #end = 0;
  #size = 0;

  /** What the file holds is not needed any more. `direct`: the system's flag `O_DIRECT`; undefined where there is none. */
  constructor(path: string, direct: number | undefined) {
    const flags = constants.O_RDWR | constants.O_CREAT | constants.O_DSYNC;
    const past = direct === undefined ? undefined : openDirect(path, flags | direct);
    this.#fd = past?.fd ?? openSync(path, flags, 0o600);
    this.#blocks = past?.blocks;
  }

  /** Bytes of the records that it has. */
  get end(): number {
    return this.#end;
  }

  /** The next record is the first. What the file holds is not needed any more: above `bytesMax` it is cut. */
  rewind(bytesMax = Infinity): void {
    this.#end = 0;
    if (this.#size <= bytesMax) return;
    try {
      ftruncateSync(this.#fd);
      this.#size = 0;
    } catch {
      // It stays as long as it is.
    }
  }

  /** Makes room for a record. */
  async grow(bytes: number): Promise<void> {
    while (this.#size < this.#end + bytes + BLOCK_BYTES) {
      const zeros = this.#blocks?.fill(0) ?? Buffer.alloc(GROW_BYTES);
      await this.#write(zeros, this.#size, false);
      this.#size += GROW_BYTES;
    }
  }

  /** Adds a record behind those that were added without an error. With `wait` this thread waits for the disk. */
  async add(record: Buffer, wait: boolean): Promise<void> {
    if (this.#blocks === undefined) await this.#write(record, this.#end, wait);
    else await this.#addBlocks(record, this.#blocks, wait);
    this.#end += record.length;
  }

  close(): void {
    closeSync(this.#fd);
  }

  async #addBlocks(record: Buffer, blocks: Buffer, wait: boolean): Promise<void> {
    let before = this.#end % BLOCK_BYTES;
    let position = this.#end - before;
    this.#tail.copy(blocks, 0, 0, before);
    for (let at = 0; at < record.length;) {
      const copied = record.copy(blocks, before, at);
      const after = before + copied;
      const whole = after - (after % BLOCK_BYTES);
      const written = whole === after ? whole : whole + BLOCK_BYTES;
      await this.#write(blocks.fill(0, after, written).subarray(0, written), position, wait);
      blocks.copyWithin(0, whole, after);
      before = after - whole;
      position += whole;
      at += copied;
    }
    blocks.copy(this.#tail, 0, 0, before);
  }

  async #write(bytes: Buffer, position: number, wait: boolean): Promise<void> {
    for (let at = 0; at < bytes.length;) {
      at += wait
        ? writeSync(this.#fd, bytes, at, bytes.length - at, position + at)
        : (await writeAt(this.#fd, bytes, at, bytes.length - at, position + at)).bytesWritten;
    }
  }
}

/** The file, and memory that the disk can read from; undefined where the file system, or its disk, has no such way. */
function openDirect(path: string, flags: number): { readonly fd: number; readonly blocks: Buffer } | undefined {
  let fd: number;
  try {
    fd = openSync(path, flags, 0o600);
  } catch (error) {
    if (isRefusal(error)) return undefined;
    throw error;
  }
  // Where in the memory a block may begin nobody says: the first place that the disk takes.
  const memory = Buffer.allocUnsafeSlow(GROW_BYTES + BLOCK_BYTES).fill(0);
  for (let from = 0; from < BLOCK_BYTES; from += STEP_BYTES) {
    try {
      writeSync(fd, memory, from, BLOCK_BYTES, 0);
      return { fd, blocks: memory.subarray(from, from + GROW_BYTES) };
    } catch (error) {
      if (isRefusal(error)) continue;
      closeSync(fd);
      throw error;
    }
  }
  closeSync(fd);
  return undefined;
}

/** open(2), write(2): `EINVAL` for a file system, or memory, that a write past the cache is not possible with. */
function isRefusal(error: unknown): boolean {
  return (error as NodeJS.ErrnoException).code === 'EINVAL';
}
