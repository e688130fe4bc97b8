/**
 * The narrow waist under the ledger. The ledger decides in plain functions over rows; a store finds rows by primary
 * key, writes what changed in one durable transaction, and answers a few listings. Everything that must be atomic is
 * one `commit`.
 */
import type { CallState } from '../contract';
import type { PrunedKind } from '../retention';
import type { CallRow, KeyRow, LateRow, NewEvent, RowTypes, SealedColumn, TableName } from './tables';

/** The rows as one commit sees and changes them. Reads see the writes before them. */
export interface Rows {
  get<T extends TableName>(table: T, id: string): RowTypes[T] | undefined;
  /** Inserts the row, or replaces its mutable columns. */
  put<T extends TableName>(table: T, row: RowTypes[T]): void;
  /** Inserts a row whose id was made for it, so that it need not be looked up. */
  add<T extends TableName>(table: T, row: RowTypes[T]): void;
  /** Deletes the row, if there is one. */
  remove(table: TableName, id: string): void;
  event(event: NewEvent): void;
  /** Deletes events by their numbers. */
  forgetEvents(seqs: readonly number[]): void;
  /** Runs `work`; when it throws, takes back what it changed and rethrows. Does not nest. */
  attempt<T>(work: (rows: Rows, now: number) => T, now: number): T;
}

/** A call as the audit log lists it: without what is sealed, with its key's label and vendor. */
export type ListedCall = Omit<CallRow, SealedColumn> & Pick<KeyRow, 'label' | 'vendor'>;

export interface CallQuery {
  readonly label?: string | undefined;
  readonly job_id?: string | undefined;
  readonly key_id?: string | undefined;
  readonly state?: CallState | undefined;
  readonly record_id?: string | undefined;
  readonly vendor_id?: string | undefined;
  /** A worker may see only what keys issued by a worker did. */
  readonly issued_by?: 'worker' | undefined;
  /** Call id of the last row seen. */
  readonly after?: string | undefined;
  readonly order: 'newest' | 'oldest';
  readonly limit: number;
}

/** The calls of a state together; of a great many, the oldest. */
export interface OpenSum {
  readonly state: 'held' | 'unknown';
  readonly count: number;
  readonly micros: number;
  /** Those that are left to an operator. */
  readonly stuck: number;
  /** When the oldest was made; null: there is none. */
  readonly oldest: number | null;
}

export interface KeyQuery {
  readonly label?: string | undefined;
  readonly job_id?: string | undefined;
  readonly parent_key_id?: string | undefined;
  readonly after?: string | undefined;
  readonly limit: number;
}

export interface LateQuery {
  readonly dueAt: number;
  readonly limit: number;
}

export interface OldQuery {
  readonly kind: PrunedKind;
  /** {@link OldRow.cursor} of the last row seen. */
  readonly after?: string | undefined;
  /** Keys that end later are alive. */
  readonly now: number;
  readonly limit: number;
}

/** A row that may have served its time. */
export interface OldRow {
  /** By which it is removed; the number of an event. */
  readonly id: string | number;
  readonly cursor: string | number;
  /** Rows come in about this order; null: in another one. */
  readonly made_at: number | null;
  /** Null: what it tells of has not ended. */
  readonly ended_at: number | null;
  /** 1: its key, or another key of its job, is neither revoked nor expired. A lease that lapsed can come back. */
  readonly live: 0 | 1;
}

export interface Store {
  /** One process has the store at a time, so that a call of another epoch is a dead process's. */
  readonly exclusive: boolean;
  /** The other processes on the store; undefined when it is exclusive. */
  readonly shared?: Shared;
  /**
   * Runs `work` on the rows and writes what it changed, durably (fsync) before the promise resolves, or nothing. One at a time:
   * the next is called once this one's promise has settled.
   * `work` is synchronous and pure but for `rows`: a store may run it again after loading more rows.
   * `now` is the store's clock in milliseconds.
   */
  commit(work: (rows: Rows, now: number) => void): Promise<void>;
  listCalls(query: CallQuery): Promise<ListedCall[]>;
  /** Newest first. */
  listKeys(query: KeyQuery): Promise<KeyRow[]>;
  /** Prices that are waited for and to be looked for by `dueAt`, the longest due first. */
  listLate(query: LateQuery): Promise<LateRow[]>;
  /** What the open calls come to, in each of their states. */
  sumOpen(): Promise<OpenSum[]>;
  /** How many calls wait for their price. */
  countLate(): Promise<number>;
  /** Rows of one kind that retention may remove, the oldest first. */
  listOld(query: OldQuery): Promise<OldRow[]>;
  /** False while nothing new may be held, so that what is held can still be settled: the disk is nearly full. */
  acceptsHolds(): boolean;
  /** Rejects when the store cannot be written, the disk being nearly full among the reasons. */
  ping(): Promise<void>;
  close(): Promise<void>;
}

/** A store that several processes share: who they are, what they may still do, and how to tell them something. */
export interface Shared {
  /** Names this process in the calls that it makes; another one after it was taken for dead. */
  readonly epoch: string;
  /** Says that this process is alive; begins a new epoch when it was taken for dead. */
  beat(): Promise<void>;
  /** The processes that have not been declared dead, this one too; `beats` rises while they live. */
  living(): Promise<readonly Living[]>;
  declareDead(epoch: string): Promise<void>;
  /**
   * Ids of held calls that no living process made, and that were to leave more than `ms` ago by the store's clock; the
   * first ones after `after`, in ascending order.
   */
  orphans(ms: number, limit: number, after?: string): Promise<readonly string[]>;
  /** Calls of other epochs with this key, or one below it, that may still leave; by epoch. */
  leaving(keyId: string): Promise<ReadonlyMap<string, number>>;
  /** Tells every process, this one too. Nobody may hear it: it makes things faster, never right. */
  tell(message: string): Promise<void>;
  /** `begun` is called when this process, having been taken for dead, has begun a new epoch. */
  onNewEpoch(begun: () => void): void;
  /** `heard` is called with what any process tells from now on. */
  onTold(heard: (message: string) => void): void;
}

export interface Living {
  readonly epoch: string;
  readonly beats: number;
}

interface StoreErrorOptions extends ErrorOptions {
  readonly uncertain?: boolean;
  readonly unfit?: boolean;
}

/** The store cannot be read or written now. Nothing of the commit has happened, unless it is `uncertain`. */
export class StoreError extends Error {
  override readonly name = 'StoreError';
  /** The commit may have been written: its answer was lost, and could not be learned since. */
  readonly uncertain: boolean;
  /** The store can be written, but not this: some of it fits nowhere, or it is too much for one commit. */
  readonly unfit: boolean;

  constructor(message: string, options: StoreErrorOptions = {}) {
    super(message, options);
    this.uncertain = options.uncertain ?? false;
    this.unfit = options.unfit ?? false;
  }
}

/** What whoever asks a store that has been closed hears. */
export function isClosed(): StoreError {
  return new StoreError('The ledger is closed.');
}
