/** Brings the ledger's tables up to date while other processes, of the version before, go on working with them. */
import { setTimeout as pause } from 'node:timers/promises';
import type pg from 'pg';
import { isLocked, newClient, SCHEMA, storeError } from './connect';
import { COMPLETED, type Found, isComplete, type Plan, planFor } from './schema';

/** Any number that nothing else in the database locks: processes that start at once make the tables one by one. */
const TURN = 7_032_114_601;
/** Who waits in the server for his turn would keep an index of the one before from being completed. */
const ASK_AGAIN_MS = 250;
/**
 * Whoever waits to have a table to himself keeps all others waiting too. So it is given up after a moment, and these have
 * theirs, until nobody holds the table for long.
 */
const LOCK_MS = 500;
const LOCK_PAUSE_MS = 1_000;

/** An index of a large table takes its time, and so does whoever reads a table for long: nothing here is timed. */
const SESSION = `SET search_path = ${SCHEMA}; SET statement_timeout = 0; SET lock_timeout = 0;
  SET idle_in_transaction_session_timeout = 0`;

/**
 * Makes what is missing, however long that takes. Tables that are complete are only looked at. Throws {@link StoreError}
 * when the server cannot be reached, or a newer version made the tables.
 * @param say told what is waited for, or takes long
 */
export async function migrate(url: string, say: (text: string) => void): Promise<void> {
  const client = newClient(url, { query_timeout: 0 });
  // Whatever is asked next fails, and says why.
  client.on('error', () => undefined);
  try {
    await client.connect();
    await client.query(SESSION);
    const found = await look(client);
    if (isComplete(found, planFor(found))) return;
    await takeTurn(client, say);
    await carryOut(planFor(await look(client)), client, say);
  } catch (error) {
    throw storeError(error);
  } finally {
    // The turn ends with the connection.
    await client.end().catch(() => undefined);
  }
}

async function takeTurn(client: pg.ClientBase, say: (text: string) => void): Promise<void> {
  for (let told = false; ; told = true) {
    const { rows } = await client.query<{ mine: boolean }>('SELECT pg_try_advisory_lock($1) AS mine', [TURN]);
    if (rows[0]?.mine === true) return;
    if (!told) say("Another process brings the ledger's tables up to date; it is waited for.");
    await pause(ASK_AGAIN_MS);
  }
}

async function carryOut({ create, alter, index }: Plan, client: pg.ClientBase, say: (text: string) => void) {
  // Statements that are sent as one are one transaction.
  if (create.length > 0) await client.query(create.join(';\n'));
  for (const sql of alter) await whenFree(sql, client, say);
  for (const sql of index) {
    say(`The ledger's tables are brought up to date, which takes its time where they are large: ${sql}`);
    await client.query(sql);
  }
  await client.query(COMPLETED);
}

async function whenFree(sql: string, client: pg.ClientBase, say: (text: string) => void): Promise<void> {
  for (let told = false; ; told = true) {
    try {
      await client.query(`SET LOCAL lock_timeout = ${LOCK_MS}; ${sql}`);
      return;
    } catch (error) {
      if (!isLocked(error)) throw error;
    }
    if (!told) say(`A table of the ledger is in use by a long transaction, whose end is waited for: ${sql}`);
    await pause(LOCK_PAUSE_MS);
  }
}

async function look(client: pg.ClientBase): Promise<Found> {
  const columns = new Map<string, Set<string>>();
  const listed = await client.query<{ table: string; column: string }>(
    'SELECT table_name AS table, column_name AS column FROM information_schema.columns WHERE table_schema = $1',
    [SCHEMA],
  );
  for (const { table, column } of listed.rows) columns.set(table, (columns.get(table) ?? new Set()).add(column));
  const indices = await client.query<{ name: string; valid: boolean }>(
    `SELECT c.relname AS name, i.indisvalid AS valid FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
     JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1`,
    [SCHEMA],
  );
  return {
    version: columns.has('meta') ? await versionOf(client) : 0,
    columns,
    indices: new Map(indices.rows.map(({ name, valid }) => [name, valid])),
  };
}

async function versionOf(client: pg.ClientBase): Promise<number> {
  const { rows } = await client.query<{ value: string }>("SELECT value FROM meta WHERE name = 'schema'");
  return Number(rows[0]?.value ?? 0);
}
