/**
 * The ledger's tables as data: from them each store makes its DDL and its statements, so that a column is named once.
 * Money columns are micro-dollars, times are milliseconds since the epoch by the store's clock, lists are JSON text.
 */
import type { CallState, Micros, VendorId } from '../contract';

/** Facts of a vault key. All but the last four columns never change after issue. */
export interface KeyRow {
  readonly key_id: string;
  readonly vendor: VendorId;
  readonly account: string;
  readonly label: string;
  readonly job_id: string | null;
  readonly parent_key_id: string | null;
  /** JSON list of the key ids above, nearest first. */
  readonly ancestors: string;
  /** JSON list of the budget ids that every priced call must fit, without the daily ones. */
  readonly budgets: string;
  /** JSON list of `[key_id, daily cap]` of this key and of the keys above that have a daily cap. */
  readonly daily: string;
  /** JSON list of route names. */
  readonly allowed: string;
  readonly max_call_micros: Micros | null;
  /** JSON object: dollars per unit of currency. */
  readonly fx: string;
  readonly require_idempotency: 0 | 1;
  readonly on_cap: 'latch' | 'refuse';
  readonly lease_ms: number | null;
  readonly metadata: string;
  readonly issued_by: 'admin' | 'worker';
  readonly created_at: number;
  readonly expires_at: number;
  readonly lease_until: number | null;
  readonly revoked_at: number | null;
  readonly revoke_reason: string | null;
}

/**
 * A running total. `key:<key_id>` (every key has one; its cap is null when the key follows its job),
 * `job:<job_id>`, `day:<key_id>:<yyyy-mm-dd>`.
 */
export interface BudgetRow {
  readonly budget_id: string;
  readonly first_cap_micros: Micros | null;
  readonly created_at: number;
  readonly cap_micros: Micros | null;
  readonly settled_micros: Micros;
  readonly out_micros: Micros;
  readonly held_micros: Micros;
  readonly unknown_micros: Micros;
  readonly latched: 0 | 1;
  readonly n_held: number;
  readonly n_settled: number;
  readonly n_released: number;
  readonly n_unknown: number;
  readonly n_refused: number;
  readonly n_replayed: number;
}

/** Hold, outcome and audit row in one. */
export interface CallRow {
  readonly call_id: string;
  readonly key_id: string;
  readonly job_id: string | null;
  readonly account: string;
  readonly method: string;
  readonly path: string;
  readonly route: string | null;
  readonly record_id: string | null;
  readonly idempotency_key: string | null;
  /** Hash of the claim's scope; null when the call takes no claim. */
  readonly scope: string | null;
  /** Hash of the request, to tell a retry from another request with the same idempotency key. */
  readonly fingerprint: string | null;
  /** JSON list of `[budget id, micros held]`. */
  readonly budgets: string;
  readonly day: string;
  readonly quote_micros: Micros;
  /** What its object may ask for after it; null: it changes none. */
  readonly up_to_micros: Micros | null;
  readonly replay_of: string | null;
  readonly workflow_id: string | null;
  readonly activity_id: string | null;
  readonly attempt: number | null;
  readonly context: string | null;
  readonly created_at: number;
  readonly state: CallState;
  readonly object_id: string | null;
  readonly vendor_id: string | null;
  readonly http_status: number | null;
  readonly code: string | null;
  readonly cost_micros: Micros | null;
  readonly sends: number;
  /** The process that holds or sends the call. */
  readonly epoch: string;
  readonly send_by: number;
  readonly ended_at: number | null;
  /** Sealed status, headers and body of a 2xx or 402; null when there is none, or it was too large or pruned. */
  readonly answer: Buffer | null;
  /** Sealed request of a call whose outcome is, or may become, unknown; null once it has ended. */
  readonly request: Buffer | null;
  /** When it was given up to find out what became of an unknown call; null while it is tried, and once it has ended. */
  readonly stuck_at: number | null;
}

/** An idempotency key taken. It is free again when its call was released. */
export interface ClaimRow {
  readonly scope: string;
  readonly call_id: string;
}

/** Spend of a vendor object: DESIGN 5.10. */
export interface ObjectRow {
  /** `<account>/<vendor's id>`. */
  readonly object_id: string;
  readonly value_micros: Micros;
  readonly amount_micros: Micros;
  readonly currency: string;
  readonly out: 0 | 1;
  /** JSON list of {@link Share}. */
  readonly shares: string;
  /** When a call changed it last; null: an older version wrote it. */
  readonly changed_at: number | null;
  /** JSON list of {@link OpenChange}; null: there are none. */
  readonly open_changes: string | null;
}

/** A call whose outcome is unknown: the object may ask for more than is counted, up to this. */
export interface OpenChange {
  readonly call_id: string;
  readonly up_to_micros: Micros;
  /** They hold the money for it. */
  readonly budgets: readonly string[];
}

/** What one key pays of an object, on the budgets and the UTC day it was settled. */
export interface Share {
  readonly key: string;
  readonly micros: Micros;
  readonly budgets: readonly string[];
}

/** A call that was settled at its quote, because its vendor tells the price later. */
export interface LateRow {
  /** The object whose price it is: {@link ObjectRow.object_id}. */
  readonly object_id: string;
  readonly call_id: string;
  /** From when on the vendor may know: the call's end, or the time at which a scheduled message is sent. */
  readonly since: number;
  /** `known`: the price is settled. `given_up`: the vendor never told, and the quote stays. */
  readonly state: 'waiting' | 'known' | 'given_up';
  readonly next_look: number;
  readonly looked_at: number | null;
  readonly looks: number;
}

/** Refusals of one key and code, counted once they are no longer written as rows. */
export interface RefusalRow {
  /** `<key_id>/<code>`. */
  readonly refusal_id: string;
  readonly count: number;
}

/** An idempotency key of `POST /vault/keys`. */
export interface IssueRow {
  readonly issue_id: string;
  readonly key_id: string;
  readonly fingerprint: string;
}

export interface MetaRow {
  readonly name: string;
  readonly value: string;
}

export interface RowTypes {
  readonly keys: KeyRow;
  readonly budgets: BudgetRow;
  readonly calls: CallRow;
  readonly claims: ClaimRow;
  readonly objects: ObjectRow;
  readonly late: LateRow;
  readonly refusals: RefusalRow;
  readonly issues: IssueRow;
  readonly meta: MetaRow;
}
export type TableName = keyof RowTypes;

/** An append-only fact: every transition and every control-plane call, with its actor. */
export interface NewEvent {
  readonly kind: string;
  /** `admin`, `worker`, `key:<key_id>`, `proxy` or `reconciler`. */
  readonly actor: string;
  readonly key_id?: string | null;
  readonly job_id?: string | null;
  readonly call_id?: string | null;
  readonly data?: Readonly<Record<string, unknown>> | undefined;
}

type ColumnType = 'text' | 'integer' | 'blob';
export interface Table {
  readonly key: string;
  /** Written once, with the row. */
  readonly fixed: Readonly<Record<string, ColumnType>>;
  readonly mutable: Readonly<Record<string, ColumnType>>;
  readonly indices: readonly string[];
}

/** Every column of a table with its type, in one order. */
export function columnTypes(table: Table): readonly (readonly [name: string, type: ColumnType])[] {
  return Object.entries({ ...table.fixed, ...table.mutable });
}

// prettier-ignore
export const TABLES = {
  keys: {
    key: 'key_id',
    fixed: {
      key_id: 'text', vendor: 'text', account: 'text', label: 'text', job_id: 'text', parent_key_id: 'text',
      ancestors: 'text', budgets: 'text', daily: 'text', allowed: 'text', max_call_micros: 'integer', fx: 'text',
      require_idempotency: 'integer', on_cap: 'text', lease_ms: 'integer', metadata: 'text', issued_by: 'text',
      created_at: 'integer',
    },
    mutable: { expires_at: 'integer', lease_until: 'integer', revoked_at: 'integer', revoke_reason: 'text' },
    indices: ['keys_by_label ON keys (label, key_id)', 'keys_by_job ON keys (job_id, key_id)'],
  },
  budgets: {
    key: 'budget_id',
    fixed: { budget_id: 'text', first_cap_micros: 'integer', created_at: 'integer' },
    mutable: {
      cap_micros: 'integer', settled_micros: 'integer', out_micros: 'integer', held_micros: 'integer',
      unknown_micros: 'integer', latched: 'integer', n_held: 'integer', n_settled: 'integer', n_released: 'integer',
      n_unknown: 'integer', n_refused: 'integer', n_replayed: 'integer',
    },
    indices: [],
  },
  calls: {
    key: 'call_id',
    fixed: {
      call_id: 'text', key_id: 'text', job_id: 'text', account: 'text', method: 'text', path: 'text', route: 'text',
      record_id: 'text', idempotency_key: 'text', scope: 'text', fingerprint: 'text', budgets: 'text', day: 'text', quote_micros: 'integer',
      replay_of: 'text', workflow_id: 'text', activity_id: 'text', attempt: 'integer',
      context: 'text', created_at: 'integer',
    },
    mutable: {
      state: 'text', object_id: 'text', vendor_id: 'text', http_status: 'integer', code: 'text',
      cost_micros: 'integer', sends: 'integer', epoch: 'text', send_by: 'integer', ended_at: 'integer', answer: 'blob',
      request: 'blob', stuck_at: 'integer', up_to_micros: 'integer',
    },
    indices: [
      'calls_by_key ON calls (key_id, call_id)',
      'calls_by_record ON calls (record_id, call_id) WHERE record_id IS NOT NULL',
      'calls_by_vendor_id ON calls (vendor_id, call_id) WHERE vendor_id IS NOT NULL',
      "calls_open ON calls (state, call_id) WHERE state IN ('held', 'unknown')",
      "calls_over ON calls (state, call_id) WHERE state IN ('refused', 'replayed', 'released')",
      "calls_over_by_key ON calls (key_id, state, call_id) WHERE state NOT IN ('held', 'unknown', 'settled')",
      'calls_bare ON calls (call_id)' +
        " WHERE state = 'settled' AND scope IS NULL AND object_id IS NULL AND vendor_id IS NULL",
    ],
  },
  claims: {
    key: 'scope',
    fixed: { scope: 'text' },
    mutable: { call_id: 'text' },
    indices: [],
  },
  objects: {
    key: 'object_id',
    fixed: { object_id: 'text', currency: 'text', out: 'integer' },
    mutable: {
      value_micros: 'integer', amount_micros: 'integer', shares: 'text', changed_at: 'integer', open_changes: 'text',
    },
    indices: [],
  },
  late: {
    key: 'object_id',
    fixed: { object_id: 'text', call_id: 'text', since: 'integer' },
    mutable: { state: 'text', next_look: 'integer', looked_at: 'integer', looks: 'integer' },
    indices: [
      "late_waiting ON late (next_look, object_id) WHERE state = 'waiting'",
      "late_over ON late (call_id) WHERE state IN ('known', 'given_up')",
    ],
  },
  refusals: { key: 'refusal_id', fixed: { refusal_id: 'text' }, mutable: { count: 'integer' }, indices: [] },
  issues: { key: 'issue_id', fixed: { issue_id: 'text', key_id: 'text', fingerprint: 'text' }, mutable: {}, indices: [] },
  meta: { key: 'name', fixed: { name: 'text' }, mutable: { value: 'text' }, indices: [] },
} as const satisfies Record<TableName, Table>;

/** Columns of `calls` that listings leave out: large, and sealed. */
export type SealedColumn = 'answer' | 'request';

/** Bumped with every change of a table; a store written by a newer version is refused. */
export const SCHEMA_VERSION = 7;
