/** The ledger's tables in Postgres: what of them is missing, and the statements that bring it. Pure. */
import { StoreError } from '../store';
import { columnTypes, SCHEMA_VERSION, TABLES, type Table } from '../tables';
import { SCHEMA } from './connect';

/** `C`: ids sort by their bytes, as they do everywhere else. */
const TYPES = { text: 'text COLLATE "C"', integer: 'bigint', blob: 'bytea' } as const;

/**
 * What only a shared store has: the processes on it. `beats` rises while the process lives; `commits` says which of
 * its commits was the last to be written, which settles what a lost answer leaves open.
 */
const OWN_TABLES = {
  epochs: `CREATE TABLE epochs (epoch text COLLATE "C" PRIMARY KEY, beats bigint NOT NULL, commits bigint NOT NULL,
    dead_at bigint) WITH (fillfactor = 50)`,
  events: `CREATE TABLE events (seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, at bigint NOT NULL,
    kind text NOT NULL, actor text NOT NULL, key_id text, job_id text, call_id text, data text)`,
} as const;

export interface Found {
  /** 0: there are no tables, or their making was interrupted. */
  readonly version: number;
  readonly columns: ReadonlyMap<string, ReadonlySet<string>>;
  /** By name, whether it can be used: one whose making was interrupted cannot. */
  readonly indices: ReadonlyMap<string, boolean>;
}

export interface Plan {
  /** Tables that are not there, with their indices: in one transaction, as nobody uses them yet. */
  readonly create: readonly string[];
  /** Columns for tables that are there: each statement has its table to itself, for a moment. */
  readonly alter: readonly string[];
  /** Indices for tables that are there, made while others use these. Each by itself, outside of a transaction. */
  readonly index: readonly string[];
}

/**
 * What brings the tables up to date. A new version brings tables, columns and indices, and never changes any. Throws
 * {@link StoreError} when a newer version made them.
 */
export function planFor(found: Found): Plan {
  if (found.version > SCHEMA_VERSION) {
    throw new StoreError(
      `The ledger has schema ${found.version}, this version knows ${SCHEMA_VERSION}: upgrade keybrake.`,
    );
  }
  const tables = Object.entries<Table>(TABLES);
  const isNew = ([name]: readonly [string, unknown]) => !found.columns.has(name);
  const create = [
    ...tables.filter(isNew).flatMap(([name, table]) => tableSql(name, table)),
    ...Object.entries(OWN_TABLES)
      .filter(isNew)
      .map(([, sql]) => sql),
  ];
  const old = tables.filter((table) => !isNew(table));
  return {
    create: found.columns.size === 0 ? [`CREATE SCHEMA IF NOT EXISTS ${SCHEMA}`, ...create] : create,
    alter: old.flatMap(([name, table]) => columnsSql(name, table, found.columns.get(name))),
    index: old.flatMap(([, table]) => table.indices.flatMap((index) => indexSql(index, found.indices))),
  };
}

/** Whether nothing is to be done. */
export function isComplete({ version }: Found, { create, alter, index }: Plan): boolean {
  return version === SCHEMA_VERSION && create.length + alter.length + index.length === 0;
}

/** Says that the tables are complete; the last thing to be done. */
export const COMPLETED = `INSERT INTO meta (name, value) VALUES ('schema', '${SCHEMA_VERSION}')
  ON CONFLICT (name) DO UPDATE SET value = excluded.value`;

function tableSql(name: string, table: Table): string[] {
  const columns = columnTypes(table).map(([column, type]) => `"${column}" ${TYPES[type]}`);
  // Totals are written again and again: room in their pages keeps the index out of it.
  const room = name === 'budgets' ? ' WITH (fillfactor = 50)' : '';
  return [
    `CREATE TABLE ${name} (${columns.join(', ')}, PRIMARY KEY ("${table.key}"))${room}`,
    ...table.indices.map((index) => `CREATE INDEX ${index}`),
  ];
}

function columnsSql(name: string, table: Table, there: ReadonlySet<string> | undefined): string[] {
  const missing = columnTypes(table).filter(([column]) => there?.has(column) !== true);
  const added = missing.map(([column, type]) => `ADD COLUMN "${column}" ${TYPES[type]}`);
  return added.length === 0 ? [] : [`ALTER TABLE ${name} ${added.join(', ')}`];
}

function indexSql(index: string, there: Found['indices']): string[] {
  const [name = ''] = index.split(' ', 1);
  if (there.get(name) === true) return [];
  return [...(there.has(name) ? [`DROP INDEX CONCURRENTLY ${name}`] : []), `CREATE INDEX CONCURRENTLY ${index}`];
}
