import type { RowTypes, TableName } from '../tables';
import type { Change, Removal } from '../workingSet';

/** Rows that the log has and the tables do not have yet. */
export class Unapplied {
  readonly #tables = new Map<TableName, Map<string, Change | Removal>>();
  readonly #written: { readonly seq: number; readonly slots: readonly (Change | Removal)[] }[] = [];

  /** Where the row is undefined, it was removed. */
  get<T extends TableName>(table: T, id: string): { readonly row: RowTypes[T] | undefined } | undefined {
    const slot = this.#tables.get(table)?.get(id);
    return slot && { row: ('row' in slot ? slot.row : undefined) as RowTypes[T] | undefined };
  }

  wrote(seq: number, changes: readonly Change[], removals: readonly Removal[]): void {
    const slots = removals.length === 0 ? changes : [...changes, ...removals];
    for (const slot of slots) this.#of(slot.table).set(slot.id, slot);
    this.#written.push({ seq, slots });
  }

  /** The tables have every record up to this one. */
  applied(upTo: number): void {
    const over = this.#written.findIndex(({ seq }) => seq > upTo);
    for (const { slots } of this.#written.splice(0, over === -1 ? this.#written.length : over)) {
      for (const slot of slots) {
        const rows = this.#of(slot.table);
        // A later record may have written it again.
        if (rows.get(slot.id) === slot) rows.delete(slot.id);
      }
    }
  }

  #of(table: TableName): Map<string, Change | Removal> {
    let rows = this.#tables.get(table);
    if (rows === undefined) this.#tables.set(table, (rows = new Map()));
    return rows;
  }
}
