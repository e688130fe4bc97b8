/** This process among those that share the store: one row, which every commit of the process locks first. */
import { randomUUID } from 'node:crypto';
import type pg from 'pg';
import { storeError } from './connect';

/** Dead processes are remembered this long, so that a late question about a commit still finds the answer. */
const REMEMBERED_MS = 86_400_000;

export const CLOCK = 'floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint';

export class Epoch {
  readonly #pool: pg.Pool;
  #id = randomUUID();
  #commits = 0;
  #joining: Promise<void> | undefined;
  #begun: () => void = () => {};

  constructor(pool: pg.Pool) {
    this.#pool = pool;
  }

  get id(): string {
    return this.#id;
  }

  /** Begins a new epoch: at start, and when the others have taken this process for dead. */
  join(): Promise<void> {
    this.#joining ??= this.#begin().finally(() => (this.#joining = undefined));
    return this.#joining;
  }

  async #begin(): Promise<void> {
    const id = randomUUID();
    await this.#pool
      .query('INSERT INTO epochs (epoch, beats, commits) VALUES ($1, 0, $2)', [id, this.#commits])
      .catch((error: unknown) => {
        throw storeError(error);
      });
    this.#id = id;
    this.#begun();
  }

  /** `begun` is called at each epoch from now on. */
  onBegun(begun: () => void): void {
    this.#begun = begun;
  }

  async beat(): Promise<void> {
    const sql = 'UPDATE epochs SET beats = beats + 1 WHERE epoch = $1 AND dead_at IS NULL';
    const { rowCount } = await this.#pool.query({ name: 'beat', text: sql, values: [this.#id] });
    if (rowCount === 0) await this.join();
  }

  async leave(): Promise<void> {
    await this.#pool.query('DELETE FROM epochs WHERE epoch = $1', [this.#id]);
  }

  async declareDead(epoch: string): Promise<void> {
    const now = `(SELECT ${CLOCK})`;
    await this.#pool.query(`UPDATE epochs SET dead_at = ${now} WHERE epoch = $1 AND dead_at IS NULL`, [epoch]);
    await this.#pool.query(`DELETE FROM epochs WHERE dead_at < ${now} - $1::bigint`, [REMEMBERED_MS]);
  }

  /** Locks the row; whoever asks what became of a commit waits until that commit has ended. */
  lock(): pg.QueryConfig {
    const text = 'SELECT commits, dead_at FROM epochs WHERE epoch = $1 FOR UPDATE';
    return { name: 'lock epoch', text, values: [this.#id] };
  }

  /** The statement that signs the next commit, and its number. */
  sign(): { readonly number: number; readonly statement: pg.QueryConfig } {
    this.#commits += 1;
    const text = 'UPDATE epochs SET commits = $2 WHERE epoch = $1';
    return { number: this.#commits, statement: { name: 'sign epoch', text, values: [this.#id, this.#commits] } };
  }
}
