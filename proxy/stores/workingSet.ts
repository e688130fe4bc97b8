import type { Rows } from './store';
import { type NewEvent, type RowTypes, TABLES, type TableName } from './tables';

type AnyRow = RowTypes[TableName];
type Loader = <T extends TableName>(table: T, id: string) => RowTypes[T] | undefined;

interface Slot {
  row: AnyRow | undefined;
  readonly stored: boolean;
  dirty: boolean;
}

export interface Change {
  readonly table: TableName;
  readonly id: string;
  readonly row: AnyRow;
  /** Is there a row with this key in the store already? */
  readonly stored: boolean;
}

export interface Removal {
  readonly table: TableName;
  readonly id: string;
}

/** Rows of one commit: loaded once, changed in memory, with a way back for an operation that fails. */
export class WorkingSet implements Rows {
  readonly #load: Loader;
  readonly #slots = new Map<TableName, Map<string, Slot>>();
  readonly #events: NewEvent[] = [];
  readonly #forgotten: number[] = [];
  readonly #undo: (() => void)[] = [];

  constructor(load: Loader) {
    this.#load = load;
  }

  get<T extends TableName>(table: T, id: string): RowTypes[T] | undefined {
    return this.#slot(table, id).row as RowTypes[T] | undefined;
  }

  put<T extends TableName>(table: T, row: RowTypes[T]): void {
    const slot = this.#slot(table, idOf(table, row));
    const { row: before, dirty } = slot;
    this.#undo.push(() => {
      slot.row = before;
      slot.dirty = dirty;
    });
    slot.row = row;
    slot.dirty = true;
  }

  add<T extends TableName>(table: T, row: RowTypes[T]): void {
    const id = idOf(table, row);
    const slots = this.#slotsOf(table);
    this.#undo.push(() => slots.delete(id));
    slots.set(id, { row, stored: false, dirty: true });
  }

  remove(table: TableName, id: string): void {
    const slot = this.#slot(table, id);
    const { row: before } = slot;
    this.#undo.push(() => (slot.row = before));
    slot.row = undefined;
  }

  event(event: NewEvent): void {
    this.#undo.push(() => this.#events.pop());
    this.#events.push(event);
  }

  forgetEvents(seqs: readonly number[]): void {
    this.#undo.push(() => this.#forgotten.splice(-seqs.length, seqs.length));
    this.#forgotten.push(...seqs);
  }

  attempt<T>(work: (rows: Rows, now: number) => T, now: number): T {
    this.#undo.length = 0;
    try {
      return work(this, now);
    } catch (error) {
      for (const step of this.#undo.toReversed()) step();
      throw error;
    }
  }

  changes(): readonly Change[] {
    const changes: Change[] = [];
    for (const [table, slots] of this.#slots) {
      slots.forEach(({ row, stored, dirty }, id) => {
        if (dirty && row !== undefined) changes.push({ table, id, row, stored });
      });
    }
    return changes;
  }

  /** Rows that are in the store and are to go. */
  removals(): readonly Removal[] {
    const removals: Removal[] = [];
    for (const [table, slots] of this.#slots) {
      slots.forEach(({ row, stored }, id) => {
        if (stored && row === undefined) removals.push({ table, id });
      });
    }
    return removals;
  }

  /** Numbers of the events that are to go. */
  get forgotten(): readonly number[] {
    return this.#forgotten;
  }

  get events(): readonly NewEvent[] {
    return this.#events;
  }

  #slot(table: TableName, id: string): Slot {
    const slots = this.#slotsOf(table);
    let slot = slots.get(id);
    if (slot === undefined) {
      const row = this.#load(table, id);
      slots.set(id, (slot = { row, stored: row !== undefined, dirty: false }));
    }
    return slot;
  }

  #slotsOf(table: TableName): Map<string, Slot> {
    let slots = this.#slots.get(table);
    if (slots === undefined) this.#slots.set(table, (slots = new Map()));
    return slots;
  }
}

function idOf<T extends TableName>(table: T, row: RowTypes[T]): string {
  return (row as unknown as Record<string, string>)[TABLES[table].key] as string;
}
