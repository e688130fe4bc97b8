/**
 * Lines on disk, cut by a hash of what they belong to: what does not fit into memory as a whole is worked off a part
 * at a time. Parts keep the order in which they were written.
 */
import { createReadStream, createWriteStream, type WriteStream } from 'node:fs';
import { once } from 'node:events';
import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { finished } from 'node:stream/promises';

/** Characters that are gathered for a part before they are written. */
const WRITE_CHARS = 32 * 1024;

export class Partitions<T> {
  readonly #files: readonly WriteStream[];
  readonly #paths: readonly string[];
  readonly #gathered: string[];

  private constructor(paths: readonly string[]) {
    this.#paths = paths;
    this.#files = paths.map((path) => createWriteStream(path, { flags: 'wx', mode: 0o600 }));
    // Told to whoever writes next: an error that nobody listens to would end the process.
    for (const file of this.#files) file.on('error', () => undefined);
    this.#gathered = paths.map(() => '');
  }

  /** `folder` is made when it is absent; `name` tells several sets in one folder apart. */
  static async open<T>(folder: string, name: string, count: number): Promise<Partitions<T>> {
    await mkdir(folder, { recursive: true, mode: 0o700 });
    return new Partitions<T>(Array.from({ length: count }, (_, index) => join(folder, `${name}-${index}.ndjson`)));
  }

  get count(): number {
    return this.#paths.length;
  }

  /** The part that a text belongs to. */
  partOf(text: string): number {
    let hash = 5381;
    for (let at = 0; at < text.length; at += 1) hash = (hash * 33 + text.charCodeAt(at)) % 2_147_483_647;
    return hash % this.count;
  }

  async write(part: number, value: T): Promise<void> {
    const text = `${this.#gathered[part]}${JSON.stringify(value)}\n`;
    this.#gathered[part] = text.length < WRITE_CHARS ? text : '';
    if (text.length >= WRITE_CHARS) await this.#flush(part, text);
  }

  /** Nothing is written any more. */
  async close(): Promise<void> {
    for (const [part, text] of this.#gathered.entries()) {
      if (text !== '') await this.#flush(part, text);
      this.#files[part]?.end();
    }
    await Promise.all(this.#files.map((file) => finished(file)));
  }

  /** Closes the files of a set that is given up. */
  async abandon(): Promise<void> {
    const open = this.#files.filter(({ closed }) => !closed);
    const closed = open.map((file) => once(file, 'close').catch(() => undefined));
    for (const file of open) file.destroy();
    await Promise.all(closed);
  }

  async *read(part: number): AsyncGenerator<T> {
    const path = this.#paths[part];
    if (path === undefined) return;
    let rest = '';
    // Not by readline: it leaves an error of the file to the process.
    for await (const chunk of createReadStream(path, { encoding: 'utf8' })) {
      const lines = `${rest}${String(chunk)}`.split('\n');
      rest = lines.pop() ?? '';
      for (const line of lines) yield JSON.parse(line) as T;
    }
  }

  async #flush(part: number, text: string): Promise<void> {
    const file = this.#files[part];
    if (file === undefined) return;
    if (file.errored) throw file.errored;
    if (file.write(text)) return;
    await new Promise<void>((resolve, reject) => {
      const done = (): void => {
        file.off('drain', done).off('error', reject);
        resolve();
      };
      file.once('drain', done).once('error', reject);
    });
  }
}

/** Merges sequences that are each in the order of `rankOf` into one. */
export async function* merged<T>(parts: readonly AsyncGenerator<T>[], rankOf: (value: T) => number): AsyncGenerator<T> {
  try {
    const heads = await Promise.all(parts.map((part) => part.next()));
    for (;;) {
      let first = -1;
      for (const [index, { done, value }] of heads.entries()) {
        if (done === true) continue;
        const least = heads[first];
        if (least === undefined || rankOf(value) < rankOf(least.value as T)) first = index;
      }
      const head = heads[first];
      const part = parts[first];
      if (head === undefined || part === undefined || head.done === true) return;
      yield head.value;
      heads[first] = await part.next();
    }
  } finally {
    await Promise.all(parts.map((part) => part.return(undefined)));
  }
}

/** Takes the folder of closed partitions away. */
export function discard(folder: string): Promise<void> {
  return rm(folder, { recursive: true, force: true });
}
