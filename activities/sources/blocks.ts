/**
 * Parts of source files that were read a moment ago. The records of a run are asked for one at a time and lie side by
 * side, so that one look at the file serves many. What is kept was read from the file as it was planned, and is looked
 * up anew after a second: a source that changes is noticed as before, only so much later.
 */
import type { Span } from './scanner';

export const BLOCK_BYTES = 64 * 1024;
const BLOCKS_MAX = 16;
const FRESH_MS = 1_000;

type Place = Pick<Span, 'offset' | 'length'>;

interface Block extends Place {
  /** Which file, as of when. */
  readonly file: string;
  readonly bytes: Promise<Buffer>;
  readonly until: number;
}

export class Blocks {
  readonly #now: () => number;
  /** The newest last. */
  #blocks: Block[] = [];

  constructor(now: () => number = Date.now) {
    this.#now = now;
  }

  /** The bytes at a place of a file that ends at `end`. `load` reads more than was asked for, and fails for both. */
  async read(file: string, place: Place, end: number, load: (place: Place) => Promise<Buffer>): Promise<Buffer> {
    const block = this.#holding(file, place) ?? this.#load(file, place, end, load);
    const from = place.offset - block.offset;
    return (await block.bytes).subarray(from, from + place.length);
  }

  #holding(file: string, { offset, length }: Place): Block | undefined {
    const now = this.#now();
    return this.#blocks.find(
      (block) =>
        block.file === file &&
        block.until > now &&
        block.offset <= offset &&
        offset + length <= block.offset + block.length,
    );
  }

  #load(file: string, { offset, length }: Place, end: number, load: (place: Place) => Promise<Buffer>): Block {
    const place = { offset, length: Math.max(length, Math.min(BLOCK_BYTES, end - offset)) };
    const block = { file, ...place, bytes: load(place), until: this.#now() + FRESH_MS };
    this.#blocks = [...this.#blocks.slice(1 - BLOCKS_MAX), block];
    block.bytes.catch(() => {
      this.#blocks = this.#blocks.filter((other) => other !== block);
    });
    return block;
  }
}
