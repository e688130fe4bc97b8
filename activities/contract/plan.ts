/**
 * What passes between the workflows and the activities: the raw input of `pipelineRun`, the normalised plan, pages of
 * records, outcomes and the report. Types and pure functions only; safe in the workflow sandbox.
 * Everything here is carried in histories: change it only by adding optional fields.
 */
import type { Spend, VendorId } from '../../proxy/contract';
import type { BodyKind } from '../../proxy/endpoints';

/** Names of the pack's activities: versioned contract. */
export const ACTIVITIES = {
  prepare: 'keybrake.prepare',
  page: 'keybrake.page',
  callRecord: 'keybrake.callRecord',
  callChunk: 'keybrake.callChunk',
  issue: 'keybrake.issue',
  revoke: 'keybrake.revoke',
  raise: 'keybrake.raise',
  spend: 'keybrake.spend',
  lookUp: 'keybrake.lookUp',
  guard: 'keybrake.guard',
  writeResults: 'keybrake.writeResults',
} as const;

export const DEFAULT_TASK_QUEUE = 'keybrake';

/** How a record ended. Exactly one for each record of the source. */
export const OUTCOMES = [
  'succeeded',
  'replayed',
  'declined',
  'failed',
  'refused',
  'unknown',
  'duplicate',
  'not_started',
] as const;
export type Outcome = (typeof OUTCOMES)[number];
export type OutcomeCounts = Readonly<Record<Outcome, number>>;

export function noOutcomes(): Record<Outcome, number> {
  return { succeeded: 0, replayed: 0, declined: 0, failed: 0, refused: 0, unknown: 0, duplicate: 0, not_started: 0 };
}

/** The plan's source. Paths are relative to `KEYBRAKE_SOURCE_DIR`, forward slashes. */
export type PlannedSource =
  | {
      readonly kind: 'jsonl' | 'csv';
      readonly path: string;
      /** Seen by `prepare`; every reader checks them and fails with `keybrake.source_changed`. */
      readonly sizeBytes: number;
      readonly mtimeMs: number;
      /** Column names of a CSV file; empty for JSON lines. */
      readonly header: readonly string[];
    }
  | { readonly kind: 'inline'; readonly records: readonly Readonly<Record<string, unknown>>[] }
  /** The user's own reader: `reader({ cursor, limit }) -> { records, nextCursor }`. */
  | { readonly kind: 'activity'; readonly activity: string; readonly args: unknown };

/** A contiguous part of the source, at record boundaries. Bytes for files, record indices for inline. */
export interface ShardRange {
  readonly index: number;
  readonly start: number;
  /** Exclusive. */
  readonly end: number;
  /** 1-based line (file) or index (inline) of the first record. */
  readonly firstLine: number;
  readonly records: number;
}

/** Parameters of a call; a list where the vendor's JSON is one: Resend's batch. */
export type Params = Readonly<Record<string, unknown>> | readonly unknown[];

/** What the call of a record is. */
export type PlannedCall =
  | {
      readonly kind: 'endpoint';
      readonly method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
      readonly path: string;
      /** Values may hold `{{field}}`; nested objects and lists as the vendor's API has them. */
      readonly params: Params;
      /** Whose route it is, and how that takes its parameters. Absent in plans of 0.1.0: Stripe's form. */
      readonly vendor?: VendorId;
      readonly body?: BodyKind;
    }
  | { readonly kind: 'activity'; readonly activity: string };

/** The normalised, complete input: what `keybrake.prepare` answers. Durations are milliseconds, caps dollars. */
export interface Plan {
  readonly label: string;
  readonly jobId: string;
  readonly source: PlannedSource;
  /** Number of records; null when only the user's own reader knows. */
  readonly records: number | null;
  readonly shards: readonly ShardRange[];
  /** Name of the field that holds the record id; a dotted path reaches into nested objects. */
  readonly recordId: string;
  readonly call: PlannedCall;
  readonly key: {
    readonly vendor: VendorId;
    readonly usdCap: number;
    readonly dailyUsdCap?: number;
    readonly allowedEndpoints: readonly string[];
    readonly ttlMs: number;
    readonly leaseMs: number;
    readonly account?: string;
    readonly maxUsdPerCall?: number;
    readonly parentKeyId?: string;
    readonly fx?: Readonly<Record<string, number>>;
    readonly metadata?: Readonly<Record<string, string>>;
  };
  /** Records in flight over the whole run. */
  readonly concurrency: number;
  readonly recordsPerActivity: number;
  readonly onCapExhausted: 'cancel' | 'pause';
  /** `declined`: records that a former run of the job saw declined are sent again. */
  readonly retry: readonly 'declined'[];
  readonly results: { readonly path: string } | null;
}

/** One record of a page. The record itself stays in the source, except for inline and activity sources. */
export interface RecordRef {
  /** Null: missing, empty or not a scalar; the record is `failed: invalid_record`. */
  readonly id: string | null;
  /** Byte offset (file) or index (inline, activity). Kept in the audit row to tell a duplicate from a retry. */
  readonly offset: number;
  /** Bytes of the record in the file; 0 elsewhere. */
  readonly length: number;
  readonly line: number;
  readonly record?: Readonly<Record<string, unknown>>;
  /** The record's activity id and `Keybrake-Record-Id`, where it is not `id` itself: hashed by the reader. */
  readonly activityId?: string;
  /** Why `id` is null: the line or the field, never the record's content. */
  readonly reason?: string;
}

export interface RecordPage {
  readonly refs: readonly RecordRef[];
  /** Where the next page starts; null at the end of the range. A string for the user's own reader. */
  readonly next: { readonly offset: number; readonly line: number; readonly cursor?: unknown } | null;
}

/** What a record's call came to. `code` is a refusal code, a vendor error code or `invalid_record`. */
export interface RecordResult {
  readonly outcome: Outcome;
  readonly code?: string;
  /** For people; the field or line, never the record's content. */
  readonly reason?: string;
}

/** Why a run or a chunk stopped early. */
export type StopCode = 'cap_exhausted' | 'key_revoked' | 'key_expired' | 'key_invalid';

export const RUN_STATUSES = ['completed', 'cap_exhausted', 'revoked', 'expired', 'cancelled', 'failed'] as const;
export type RunStatus = (typeof RUN_STATUSES)[number];

/** The result of `pipelineRun`. */
export interface RunReport {
  readonly status: RunStatus;
  /** In words: why it ended so, and what to do next. */
  readonly reason: string;
  readonly keyId: string | null;
  readonly jobId: string;
  readonly label: string;
  readonly records: OutcomeCounts & { readonly total: number | null };
  /** Spend of this run's key. */
  readonly spend: Spend | null;
  /** Spend of the job over all its runs. */
  readonly jobSpend: Spend | null;
  readonly results: string | null;
  /** False: the proxy did not confirm that the key is revoked; `reason` says what ends it. Absent where there was none. */
  readonly revokeConfirmed?: boolean;
}
