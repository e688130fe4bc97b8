import type { CallRow, RowTypes, TableName } from './tables';
import type { Change, Removal } from './workingSet';

type AnyRow = RowTypes[TableName];

/** Rows of one table that are kept at most; with one more all are dropped and read anew. */
const ROWS_MAX = 10_000;

/**
 * Committed rows that the next commits will ask for again: keys, budgets and the calls in flight. They stay true as
 * long as one process has the store to itself and tells of each row that it wrote.
 */
export class Recent {
  readonly #tables: Partial<Record<TableName, Map<string, AnyRow>>> = {
    keys: new Map(),
    budgets: new Map(),
    calls: new Map(),
  };

  get<T extends TableName>(table: T, id: string): RowTypes[T] | undefined {
    return this.#tables[table]?.get(id) as RowTypes[T] | undefined;
  }

  /** Told of each row after the commit that wrote it. */
  wrote({ table, id, row }: Change): void {
    const rows = this.#tables[table];
    if (rows === undefined) return;
    if (rows.size >= ROWS_MAX) rows.clear();
    if (table === 'calls' && (row as CallRow).state !== 'held') rows.delete(id);
    else rows.set(id, row);
  }

  /** Told of each row after the commit that removed it. */
  removed({ table, id }: Removal): void {
    this.#tables[table]?.delete(id);
  }
}
