import type { TableName } from '../tables';

/** Ids of rows by table: what a commit must lock before it may decide. */
export class Wanted {
  readonly #ids = new Map<TableName, Set<string>>();

  add(table: TableName, id: string): void {
    const ids = this.#ids.get(table);
    if (ids === undefined) this.#ids.set(table, new Set([id]));
    else ids.add(id);
  }

  has(table: TableName, id: string): boolean {
    return this.#ids.get(table)?.has(id) === true;
  }

  of(table: TableName): ReadonlySet<string> | undefined {
    return this.#ids.get(table);
  }

  addAll(other: Wanted): void {
    for (const [table, ids] of other.#ids) for (const id of ids) this.add(table, id);
  }

  get none(): boolean {
    return this.#ids.size === 0;
  }
}
