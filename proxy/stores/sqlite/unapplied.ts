import type { RowTypes, TableName } from '../tables';
import type { Change, Removal } from '../workingSet';

type AnyRow = RowTypes[TableName];

interface Slot {
  readonly seq: number;
  /** Undefined: it was removed. */
  readonly row: AnyRow | undefined;
}

/** Rows that the log has and the tables do not have yet. */
export class Unapplied {
  readonly #tables = new Map<TableName, Map<string, Slot>>();
  readonly #written: { readonly seq: number; readonly slots: readonly (Change | Removal)[] }[] = [];

  get<T extends TableName>(table: T, id: string): { readonly row: RowTypes[T] | undefined } | undefined {
    return this.#tables.get(table)?.get(id) as { readonly row: RowTypes[T] | undefined } | undefined;
  }

  wrote(seq: number, changes: readonly Change[], removals: readonly Removal[]): void {
    for (const { table, id, row } of changes) this.#of(table).set(id, { seq, row });
    for (const { table, id } of removals) this.#of(table).set(id, { seq, row: undefined });
    this.#written.push({ seq, slots: removals.length === 0 ? changes : [...changes, ...removals] });
  }

  /** The tables have every record up to this one. */
  applied(upTo: number): void {
    const over = this.#written.findIndex(({ seq }) => seq > upTo);
    for (const { seq, slots } of this.#written.splice(0, over === -1 ? this.#written.length : over)) {
      for (const { table, id } of slots) {
        const rows = this.#of(table);
        if (rows.get(id)?.seq === seq) rows.delete(id);
      }
    }
  }

  #of(table: TableName): Map<string, Slot> {
    let rows = this.#tables.get(table);
    if (rows === undefined) this.#tables.set(table, (rows = new Map()));
    return rows;
  }
}
