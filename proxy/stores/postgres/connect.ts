/** Connections to Postgres, and what its errors mean for a commit. */
import pg from 'pg';
import { StoreError } from '../store';

/** The schema that holds the ledger's tables, so that they stand apart from an application's own. */
export const SCHEMA = 'keybrake';

const VERSION_MIN = 15;
const CONNECT_TIMEOUT_MS = 3_000;
const QUERY_TIMEOUT_MS = 15_000;

/**
 * Who waits for whom: a commit for nobody but the commit before it; heartbeats, and the question what became of a commit,
 * for each other; listings, which may be slow and many, for listings. With the one to listen on these are 8.
 */
const POOLS = {
  /** It stays open between the calls of a process that makes few, but no longer than what lies in between forgets it. */
  commits: { max: 1, idleTimeoutMillis: 60_000 },
  life: { max: 2 },
  listings: { max: 4 },
} as const satisfies Record<string, pg.PoolConfig>;

export type Pools = Readonly<Record<keyof typeof POOLS, pg.Pool>>;

/**
 * A process that is paused in the middle of a commit must not keep the others from the budgets that it has locked.
 * Every row is reached by an index: a plan that was made while a table was empty must not scan it later, be it for a
 * join, nor read and sort all that an index finds for a page of it (bitmaps, incremental sorts). What such a plan is
 * said to cost has nothing to do with what it does, and must not make the server compile it: that took a second of its
 * processor at every heartbeat.
 */
const SESSION = `SET search_path = ${SCHEMA}; SET default_transaction_isolation = 'read committed';
  SET default_transaction_read_only = off; SET idle_in_transaction_session_timeout = 3000; SET lock_timeout = 8000;
  SET statement_timeout = 10000; SET enable_seqscan = off; SET enable_bitmapscan = off;
  SET enable_incremental_sort = off; SET enable_hashjoin = off;
  SET enable_mergejoin = off; SET jit = off`;

/** Money and times are safe integers; bigint arrives as text otherwise. */
const types = new pg.TypeOverrides();
types.setTypeParser(pg.types.builtins.INT8, Number);

function settings(url: string): pg.ClientConfig {
  return {
    connectionString: url,
    connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
    query_timeout: QUERY_TIMEOUT_MS,
    keepAlive: true,
    application_name: 'keybrake',
    types,
  };
}

export function openPools(url: string): Pools {
  const open = (of: pg.PoolConfig) => openPool({ ...settings(url), ...of });
  return { commits: open(POOLS.commits), life: open(POOLS.life), listings: open(POOLS.listings) };
}

export async function endPools(pools: Pools): Promise<void> {
  await Promise.all(Object.values(pools).map((pool) => pool.end()));
}

/** Connections whose statements are sent one after the other without waiting for answers in between. */
function openPool(config: pg.PoolConfig): pg.Pool {
  const verify: pg.PoolConfig['verify'] = (client, done) => void begin(client).then(() => done(), done);
  const pool = new pg.Pool({ ...config, pipeline: true, verify });
  // Whoever uses a connection that breaks hears of it by his query, and an idle one is replaced.
  pool.on('error', () => undefined);
  pool.on('connect', (client) => client.on('error', () => undefined));
  return pool;
}

/**
 * Makes a new connection one that the ledger can use, or throws. While a server is being replaced its name can lead to
 * a standby for a moment: nothing that was asked there would be true.
 */
async function begin(client: pg.PoolClient): Promise<void> {
  const [, asked] = await Promise.all([
    client.query(SESSION),
    client.query<{ standby: boolean }>('SELECT pg_is_in_recovery() AS standby'),
  ]);
  if (asked.rows[0]?.standby !== false) throw new StoreError('Postgres is a standby and takes no writes.');
}

/** A connection of its own: to listen on, or to make tables with. */
export function newClient(url: string, more: pg.ClientConfig = {}): pg.Client {
  return new pg.Client({ ...settings(url), ...more });
}

/** Throws {@link StoreError} when this is no server that a ledger can be kept on. Answers what to warn of. */
export async function checkServer(pool: pg.Pool): Promise<string | undefined> {
  const { rows } = await pool
    .query<Record<string, string>>(
      `SELECT current_setting('server_version_num') AS version, current_setting('server_encoding') AS encoding,
       current_setting('fsync') AS fsync, current_setting('server_version') AS named`,
    )
    .catch((error: unknown) => {
      throw storeError(error);
    });
  const unfit = unfitness(rows[0] ?? {});
  if (unfit !== undefined) throw new StoreError(unfit);
  if (rows[0]?.['fsync'] === 'on') return undefined;
  return 'Postgres runs with fsync=off: a crash of its machine may lose holds, so calls could be executed twice';
}

/** Why no ledger can be kept on a server with these settings, and what to do. Pure. */
export function unfitness({ version, encoding, named }: Readonly<Record<string, string>>): string | undefined {
  if (Number(version) < VERSION_MIN * 10_000) {
    return `The ledger needs Postgres ${VERSION_MIN} or later; this is ${named}: upgrade the server.`;
  }
  if (encoding === 'UTF8') return undefined;
  return `The ledger needs a database with the encoding UTF8; this one has ${encoding}: make another.`;
}

/** Nothing was committed, and it may be when it is tried again: other processes changed the same rows. */
const CONFLICTS = new Set(['40001', '40P01', '23505']);
/** The server has ended the connection, or is about to: what it was doing may be done or not. */
const BROKEN = /^(?:08|28|53|57P|58|XX)|^25P0[34]$/;

export function isConflict(error: unknown): boolean {
  return CONFLICTS.has(sqlState(error) ?? '');
}

/** Another session had the lock for longer than it was to be waited for. */
export function isLocked(error: unknown): boolean {
  return sqlState(error) === '55P03';
}

/**
 * Values that no server takes, however often it is asked: one that fits no index or type, or too much at a time. What else
 * was in the commit may be taken without it.
 */
const UNFIT = /^(?:22|54)/;

/** Is it about what was to be written, and not about the server or the connection? */
function isUnfit(error: unknown): boolean {
  // What V8 says of a text above half a gigabyte.
  return error instanceof RangeError || UNFIT.test(sqlState(error) ?? '');
}

/** The server refused the statement and goes on: its transaction has ended without an effect. */
export function isRefused(error: unknown): boolean {
  const state = sqlState(error);
  return state !== undefined && !BROKEN.test(state);
}

/** An error of the driver, or one that is a {@link StoreError} already, as a StoreError. */
export function storeError(error: unknown): StoreError {
  if (error instanceof StoreError) return error;
  const { code, message } = error as { code?: string; message?: string };
  const text = message === undefined || message === '' ? 'it cannot be reached' : message;
  const of = code === undefined ? '' : ` (${code})`;
  return new StoreError(`Postgres: ${text}${of}`, { cause: error, unfit: isUnfit(error) });
}

function sqlState(error: unknown): string | undefined {
  const cause = error instanceof StoreError ? error.cause : error;
  return cause instanceof pg.DatabaseError ? cause.code : undefined;
}
