/**
 * Postgres: several processes on one ledger. A commit is two round trips: all that its operations read is locked, in
 * one order that all processes keep, and read; then all that changed is written and committed. Which rows these are is
 * found out beforehand, by running the operations on what the commits before have left in memory.
 */
import assert from 'node:assert';
import type pg from 'pg';
import { callsByKeySql, COUNT_LATE, keysSql, lateSql, oldSql, OPEN_SUMS, type Sql } from '../listings';
import { Recent } from '../recent';
import type { ListedCall, OldRow, OpenSum, Rows, Shared, Store } from '../store';
import { StoreError } from '../store';
import { type KeyRow, type LateRow, TABLES, type TableName } from '../tables';
import { type Change, WorkingSet } from '../workingSet';
import { checkServer, endPools, isConflict, isLocked, isRefused, openPools, type Pools, storeError } from './connect';
import { CLOCK, Epoch } from './epoch';
import { migrate } from './migrate';
import { openShared } from './shared';
import { cleaned, forgetEvents, LOCK_ORDER, lockRows, removeRows, writeEvents, writeRows } from './statements';
import { Wanted } from './wanted';

type Work = (rows: Rows, now: number) => void;

/**
 * `SET LOCAL`: whatever the role, the database or a pooler has set, a commit is on disk before it is told of. Its
 * statements reach rows by their keys, so that one plan for each is as good as one made anew every time.
 */
const BEGIN = `BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; SET LOCAL synchronous_commit = on;
  SET LOCAL plan_cache_mode = force_generic_plan`;
/** Each time more rows are known, or another process has just changed one. */
const TRIES_MAX = 20;
/** How long it is tried to find out what became of a commit whose answer was lost. */
const DOUBT_MS = 3_000;
const ASK_AGAIN_MS = 100;

export interface SharedStore extends Store {
  readonly shared: Shared;
}

/**
 * Connects, makes or completes the tables, and begins an epoch. Throws {@link StoreError} when the server cannot be
 * reached, is too old, or has tables of a newer version.
 * @param warn told of settings of the server that endanger the ledger, and of what keeps it from being opened at once
 */
export async function openPostgres(url: string, warn: (text: string) => void = () => {}): Promise<SharedStore> {
  const pools = openPools(url);
  const epoch = new Epoch(pools.life);
  try {
    const warning = await checkServer(pools.life);
    if (warning !== undefined) warn(warning);
    await migrate(url, warn);
    await epoch.join();
  } catch (error) {
    await endPools(pools);
    throw error;
  }
  const shared = openShared(url, pools.life, epoch);
  const committer = new Committer(pools, epoch);

  async function listed<T extends pg.QueryResultRow>({ sql, values }: Sql, pool = pools.listings): Promise<T[]> {
    let count = 0;
    const text = sql.replaceAll('?', () => `$${(count += 1)}`);
    const { rows } = await pool.query<T>(text, [...values]).catch((error: unknown) => {
      throw storeError(error);
    });
    return rows;
  }

  return {
    exclusive: false,
    shared,
    commit: (work) => committer.commit(work),
    listCalls: (query) => listed<ListedCall>(callsByKeySql(query)),
    listKeys: (query) => listed<KeyRow>(keysSql(query)),
    listLate: (query) => listed<LateRow>(lateSql(query)),
    sumOpen: () => listed<OpenSum>({ sql: OPEN_SUMS, values: [] }),
    async countLate() {
      const [{ count } = { count: 0 }] = await listed<{ count: number }>({ sql: COUNT_LATE, values: [] });
      return count;
    },
    listOld: (query) => listed<OldRow>(oldSql(query)),
    acceptsHolds: () => true,
    async ping() {
      const sql = 'SELECT pg_is_in_recovery() AS standby';
      const [{ standby } = { standby: true }] = await listed<{ standby: boolean }>({ sql, values: [] }, pools.life);
      if (standby) throw new StoreError('Postgres is a standby and takes no writes.');
    },
    async close() {
      await shared.close();
      await epoch.leave().catch(() => undefined);
      await endPools(pools);
    },
  };
}

function connection(pool: pg.Pool): Promise<pg.PoolClient> {
  return pool.connect().catch((error: unknown) => {
    throw storeError(error);
  });
}

type Row = Readonly<Record<string, unknown>>;

interface Loaded {
  readonly rows: ReadonlyMap<TableName, ReadonlyMap<string, Row>>;
  readonly now: number;
}

class Committer {
  /** A commit that is under way has the one connection for commits: what it has to ask beside, it asks on another. */
  readonly #pools: Pick<Pools, 'commits' | 'life'>;
  readonly #epoch: Epoch;
  readonly #recent = new Recent();
  /** One commit at a time: were a later one signed, nobody could tell whether the one before was written. */
  #last: Promise<unknown> = Promise.resolve();

  constructor(pools: Pick<Pools, 'commits' | 'life'>, epoch: Epoch) {
    this.#pools = pools;
    this.#epoch = epoch;
  }

  commit(work: Work): Promise<void> {
    const next = this.#last.then(() => this.#commit(work));
    this.#last = next.catch(() => undefined);
    return next;
  }

  async #commit(work: Work): Promise<void> {
    const wanted = this.#foresee(work);
    for (let tries = 0; tries < TRIES_MAX; tries += 1) {
      const client = await connection(this.#pools.commits);
      let [ended, broken] = [false, false];
      try {
        ended = await this.#attempt(client, work, wanted);
        if (ended) return;
      } catch (cause) {
        const error = cause instanceof RangeError ? storeError(cause) : cause;
        // A refusal of anything else may be this connection's fault: it leads to a standby, or something was set on it.
        broken = error instanceof StoreError && !error.unfit && !isConflict(error) && !isLocked(error);
        if (!isConflict(error)) throw error;
      } finally {
        // Nobody waits for it: whoever uses the connection next stands behind it.
        if (!ended && !broken) client.query('ROLLBACK').catch(() => undefined);
        client.release(broken);
      }
    }
    throw new StoreError('Postgres: other processes changed the same rows again and again.');
  }

  /** The rows that the operations ask for, going by what is remembered; it need not be true any more. */
  #foresee(work: Work): Wanted {
    const wanted = new Wanted();
    const rows = new WorkingSet((table, id) => {
      // Going by rows that are not there, an operation may arrive at ids that are none.
      if (typeof id === 'string') wanted.add(table, id);
      return this.#recent.get(table, id);
    });
    try {
      work(rows, Date.now());
    } catch {
      // It counts only when it happens on the true rows.
    }
    return wanted;
  }

  /** Answers false when it must be tried again: more rows are `wanted` than were locked. */
  async #attempt(client: pg.PoolClient, work: Work, wanted: Wanted): Promise<boolean> {
    const loaded = await this.#load(client, wanted);
    if (loaded === undefined) {
      await this.#epoch.join();
      return false;
    }
    const missed = new Wanted();
    const rows = new WorkingSet((table, id) => {
      if (!wanted.has(table, id)) missed.add(table, id);
      return loaded.rows.get(table)?.get(cleaned(id)) as never;
    });
    try {
      work(rows, loaded.now);
    } catch (error) {
      if (missed.none) throw error;
    }
    wanted.addAll(missed);
    if (!missed.none) return false;
    const changes = rows.changes();
    const removals = rows.removals();
    const statements = [
      ...writeRows(changes),
      ...removeRows(removals),
      ...(rows.forgotten.length === 0 ? [] : [forgetEvents(rows.forgotten)]),
      ...(rows.events.length === 0 ? [] : [writeEvents(rows.events, loaded.now)]),
    ];
    if (statements.length === 0) {
      client.query('ROLLBACK').catch(() => undefined);
      return true;
    }
    await this.#write(client, statements);
    for (const change of changes) this.#recent.wrote(change);
    for (const removal of removals) this.#recent.removed(removal);
    return true;
  }

  /**
   * Locks and reads. Each statement sees what was committed when it began, so a claim is read after the lock on its
   * budgets was had; and the clock is read last. Undefined: this process was taken for dead.
   */
  async #load(client: pg.PoolClient, wanted: Wanted): Promise<Loaded | undefined> {
    const tables = LOCK_ORDER.filter((table) => wanted.of(table) !== undefined);
    const [, own, ...results] = await pipelined(client, [
      { text: BEGIN },
      this.#epoch.lock(),
      ...tables.map((table) => lockRows(table, wanted.of(table) ?? [])),
      { name: 'clock', text: `SELECT ${CLOCK} AS now` },
    ]);
    const [me] = own?.rows ?? [];
    if (me === undefined || me['dead_at'] !== null) return undefined;
    const now = results.pop()?.rows[0]?.['now'] as number;
    const rows = new Map(tables.map((table, index) => [table, this.#read(table, results[index]?.rows ?? [])]));
    return { rows, now };
  }

  #read(table: TableName, found: readonly Row[]): Map<string, Row> {
    const rows = new Map<string, Row>();
    const { key } = TABLES[table];
    for (const row of found) {
      const id = row[key] as string;
      rows.set(id, row);
      this.#recent.wrote({ table, id, row: row as unknown as Change['row'], stored: true });
    }
    return rows;
  }

  async #write(client: pg.PoolClient, statements: readonly pg.QueryConfig[]): Promise<void> {
    const { id } = this.#epoch;
    const { number, statement } = this.#epoch.sign();
    try {
      const results = await pipelined(client, [...statements, statement, { text: 'COMMIT' }]);
      assert(results.at(-1)?.command === 'COMMIT', 'a transaction without a failure was rolled back');
    } catch (error) {
      if (isRefused(error) || !(await this.#wasWritten(id, number))) throw error;
    }
  }

  /** The answer to COMMIT was lost. Waits until that commit has ended, one way or the other, and asks which way. */
  async #wasWritten(epoch: string, number: number): Promise<boolean> {
    const deadline = performance.now() + DOUBT_MS;
    for (;;) {
      try {
        const sql = 'SELECT commits FROM epochs WHERE epoch = $1 FOR UPDATE';
        const [row] = (await this.#pools.life.query<{ commits: number }>(sql, [epoch])).rows;
        if (row !== undefined) return row.commits === number;
      } catch {
        // It is still down, or the commit is still under way.
      }
      if (performance.now() > deadline) {
        throw new StoreError('Postgres: the answer to a commit was lost.', { uncertain: true });
      }
      await new Promise((resolve) => setTimeout(resolve, ASK_AGAIN_MS));
    }
  }
}

/** The socket, which the driver's types do not show. */
interface Socketed {
  readonly connection?: { readonly stream?: { cork?(): void; uncork?(): void } };
}

/** Sends all in one piece, without waiting in between. Throws the first failure, once all have been answered. */
async function pipelined(client: pg.PoolClient, queries: readonly pg.QueryConfig[]): Promise<pg.QueryResult<Row>[]> {
  const { stream } = (client as Socketed).connection ?? {};
  stream?.cork?.();
  const sent = queries.map((query) => client.query<Row>(query));
  stream?.uncork?.();
  const answers = await Promise.allSettled(sent);
  return answers.map((answer) => {
    if (answer.status === 'rejected') throw storeError(answer.reason);
    return answer.value;
  });
}
