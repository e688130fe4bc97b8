import type { Rows } from './store';
import { type NewEvent, type RowTypes, TABLES, type TableName } from './tables';

type AnyRow = RowTypes[TableName];
type Loader = <T extends TableName>(table: T, id: string) => RowTypes[T] | undefined;

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

/** A row as the commit sees it; undefined: there is none. */
interface Slot {
  readonly table: TableName;
  readonly id: string;
  row: AnyRow | undefined;
  readonly stored: boolean;
  dirty: boolean;
}

/** A slot before an operation changed it. */
interface Before {
  readonly slot: Slot;
  readonly row: AnyRow | undefined;
  readonly dirty: boolean;
}

/** Rows of one commit: loaded once, changed in memory, with a way back for an operation that fails. */
export class WorkingSet implements Rows {
  readonly #load: Loader;
  readonly #slots = new Map<TableName, Map<string, Slot>>();
  readonly #events: NewEvent[] = [];
  readonly #forgotten: number[] = [];
  readonly #undo: Before[] = [];

  constructor(load: Loader) {
    this.#load = load;
  }

  get<T extends TableName>(table: T, id: string): RowTypes[T] | undefined {
    return this.#slot(table, id).row as RowTypes[T] | undefined;
  }

  put<T extends TableName>(table: T, row: RowTypes[T]): void {
    this.#change(this.#slot(table, idOf(table, row)), row);
  }

  add<T extends TableName>(table: T, row: RowTypes[T]): void {
    const id = idOf(table, row);
    const slot: Slot = { table, id, row: undefined, stored: false, dirty: false };
    this.#slotsOf(table).set(id, slot);
    this.#change(slot, row);
  }

  remove(table: TableName, id: string): void {
    this.#change(this.#slot(table, id), undefined);
  }

  event(event: NewEvent): void {
    this.#events.push(event);
  }

  forgetEvents(seqs: readonly number[]): void {
    this.#forgotten.push(...seqs);
  }

  attempt<T>(work: (rows: Rows, now: number) => T, now: number): T {
    const [events, forgotten] = [this.#events.length, this.#forgotten.length];
    this.#undo.length = 0;
    try {
      return work(this, now);
    } catch (error) {
      for (const { slot, row, dirty } of this.#undo.toReversed()) Object.assign(slot, { row, dirty });
      this.#events.length = events;
      this.#forgotten.length = forgotten;
      throw error;
    }
  }

  changes(): readonly Change[] {
    const changes: Change[] = [];
    for (const slots of this.#slots.values()) {
      for (const slot of slots.values()) if (slot.dirty && isThere(slot)) changes.push(slot);
    }
    return changes;
  }

  /** Rows that are in the store and are to go. */
  removals(): readonly Removal[] {
    const removals: Removal[] = [];
    for (const slots of this.#slots.values()) {
      for (const slot of slots.values()) if (slot.stored && slot.row === undefined) removals.push(slot);
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

  #change(slot: Slot, row: AnyRow | undefined): void {
    this.#undo.push({ slot, row: slot.row, dirty: slot.dirty });
    slot.row = row;
    slot.dirty = true;
  }

  #slot(table: TableName, id: string): Slot {
    const slots = this.#slotsOf(table);
    let slot = slots.get(id);
    if (slot === undefined) {
      const row = this.#load(table, id);
      slots.set(id, (slot = { table, id, row, stored: row !== undefined, dirty: false }));
    }
    return slot;
  }

  #slotsOf(table: TableName): Map<string, Slot> {
    let slots = this.#slots.get(table);
    if (slots === undefined) this.#slots.set(table, (slots = new Map()));
    return slots;
  }
}

function isThere(slot: Slot): slot is Slot & { row: AnyRow } {
  return slot.row !== undefined;
}

function idOf<T extends TableName>(table: T, row: RowTypes[T]): string {
  return (row as unknown as Record<string, string>)[TABLES[table].key] as string;
}
