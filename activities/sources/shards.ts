/** Cuts a source of unknown length into shards of even size, in constant memory. */
import type { ShardRange } from '../contract/plan';

export const SHARD_RECORDS = 20_000;
export const SHARDS_MAX = 500;

interface Shard {
  readonly start: number;
  readonly firstLine: number;
  readonly records: number;
}

/**
 * Told of each record in order. When there are too many shards, neighbours are joined and the size doubles;
 * `countMax` is even.
 */
export class ShardPlanner {
  readonly #countMax: number;
  #size: number;
  #shards: Shard[] = [];
  #start = 0;
  #firstLine = 0;
  #records = 0;

  constructor(size: number = SHARD_RECORDS, countMax: number = SHARDS_MAX) {
    this.#size = size;
    this.#countMax = countMax;
  }

  add(start: number, line: number): void {
    if (this.#records === this.#size) this.#close();
    if (this.#records === 0) {
      this.#start = start;
      this.#firstLine = line;
    }
    this.#records += 1;
  }

  /** `end` is the end of the source. */
  finish(end: number): readonly ShardRange[] {
    if (this.#records > 0) this.#shards.push(this.#current());
    this.#records = 0;
    return this.#shards.map((shard, index) => ({ index, ...shard, end: this.#shards[index + 1]?.start ?? end }));
  }

  #close(): void {
    this.#shards.push(this.#current());
    this.#records = 0;
    if (this.#shards.length < this.#countMax) return;
    this.#shards = this.#shards.flatMap((shard, index) => {
      const next = this.#shards[index + 1];
      if (index % 2 === 1) return [];
      return [{ ...shard, records: shard.records + (next?.records ?? 0) }];
    });
    this.#size *= 2;
  }

  #current(): Shard {
    return { start: this.#start, firstLine: this.#firstLine, records: this.#records };
  }
}
