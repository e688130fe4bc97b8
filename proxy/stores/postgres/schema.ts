import type pg from 'pg';
import { StoreError } from '../store';
import { columnTypes, SCHEMA_VERSION, TABLES } from '../tables';
import { SCHEMA, storeError } from './connect';

/** Any number that nothing else in the database locks: replicas that start at once make the tables one by one. */
const MIGRATION_LOCK = 7_032_114_601;

/** `C`: ids sort by their bytes, as they do everywhere else. */
const TYPES = { text: 'text COLLATE "C"', integer: 'bigint', blob: 'bytea' } as const;

/**
 * What only a shared store has: the processes on it. `beats` rises while the process lives; `commits` says which of
 * its commits was the last to be written, which settles what a lost answer leaves open.
 */
const OWN_TABLES = `
  CREATE TABLE IF NOT EXISTS epochs (epoch text COLLATE "C" PRIMARY KEY, beats bigint NOT NULL, commits bigint NOT NULL,
    dead_at bigint) WITH (fillfactor = 50);
  CREATE TABLE IF NOT EXISTS events (seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, at bigint NOT NULL,
    kind text NOT NULL, actor text NOT NULL, key_id text, job_id text, call_id text, data text);`;

/** Makes what is missing, like the SQLite store. Throws {@link StoreError} when a newer version made the tables. */
export async function migrate(client: pg.ClientBase): Promise<void> {
  try {
    await client.query('BEGIN');
    await client.query('SELECT pg_advisory_xact_lock($1)', [MIGRATION_LOCK]);
    const version = await versionOf(client);
    if (version > SCHEMA_VERSION) {
      throw new StoreError(`The ledger has schema ${version}, this version knows ${SCHEMA_VERSION}: upgrade keybrake.`);
    }
    if (version < SCHEMA_VERSION) await client.query(ddl());
    await client.query('COMMIT');
  } catch (error) {
    await client.query('ROLLBACK').catch(() => undefined);
    throw storeError(error);
  }
}

async function versionOf(client: pg.ClientBase): Promise<number> {
  const { rows: there } = await client.query("SELECT 1 FROM pg_tables WHERE schemaname = $1 AND tablename = 'meta'", [
    SCHEMA,
  ]);
  if (there.length === 0) return 0;
  const { rows } = await client.query<{ value: string }>("SELECT value FROM meta WHERE name = 'schema'");
  return Number(rows[0]?.value ?? 0);
}

/** A new version brings tables, columns and indices, and never changes any. */
function ddl(): string {
  const statements = [`CREATE SCHEMA IF NOT EXISTS ${SCHEMA}`];
  for (const [name, table] of Object.entries(TABLES)) {
    const columns = columnTypes(table).map(([column, type]) => `"${column}" ${TYPES[type]}`);
    // Totals are written again and again: room in their pages keeps the index out of it.
    const room = name === 'budgets' ? ' WITH (fillfactor = 50)' : '';
    statements.push(`CREATE TABLE IF NOT EXISTS ${name} (${columns.join(', ')}, PRIMARY KEY ("${table.key}"))${room}`);
    for (const column of columns) statements.push(`ALTER TABLE ${name} ADD COLUMN IF NOT EXISTS ${column}`);
    for (const index of table.indices) statements.push(`CREATE INDEX IF NOT EXISTS ${index}`);
  }
  const version = `INSERT INTO meta (name, value) VALUES ('schema', '${SCHEMA_VERSION}')
    ON CONFLICT (name) DO UPDATE SET value = excluded.value`;
  return [...statements, OWN_TABLES.trim().replace(/;$/, ''), version].join(';\n');
}
