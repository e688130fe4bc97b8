/** The JSON of `GET /vault/drift`: a line each. It imports types only, so that the client can use it. */
import type { CallView } from '../contract';

/**
 * Why a line is there. `value`: the vendor counts another amount. `price`: its price came later. `refund`: money back
 * that the ledger does not know. `gone`: the vendor does not know the object. `unaccounted`: no call of any key made it.
 * `unknown`: the outcome of the call is not known; what the vendor made then, for no more than it holds, is named with it.
 */
export const DRIFT_WHYS = ['value', 'price', 'refund', 'gone', 'unaccounted', 'unknown'] as const;
export type DriftWhy = (typeof DRIFT_WHYS)[number];

/** `equal`: the vendor's total is the ledger's. `unreadable`: no difference was seen, but not all could be compared. */
export const DRIFT_STATES = ['equal', 'differs', 'unreadable'] as const;
export type DriftState = (typeof DRIFT_STATES)[number];

export interface DriftRow extends Pick<CallView, 'vendor' | 'account' | 'vendor_id' | 'record_id'> {
  readonly type: 'row';
  readonly why: DriftWhy;
  /** Null for what no call accounts for. */
  readonly call_id: string | null;
  /** What the ledger counts; of an unknown call, what it holds. */
  readonly ledger_usd: number | null;
  /** What the vendor counts; null where it does not tell. */
  readonly vendor_usd: number | null;
  readonly detail: string;
}

/** What could not be compared of an account, by its reason. */
export interface DriftGap {
  readonly reason: string;
  readonly count: number;
  readonly ledger_usd: number;
}

/** One vendor account. Money back and payouts count like charges, as they do against a cap. */
export interface DriftTotal extends Pick<CallView, 'vendor' | 'account'> {
  readonly type: 'total';
  readonly state: DriftState;
  /** Objects that were compared. */
  readonly objects: number;
  /** What the ledger counts for them. */
  readonly ledger_usd: number;
  /** What the vendor counts for them, and for what the ledger does not know. */
  readonly vendor_usd: number;
  readonly rows: number;
  readonly gaps: readonly DriftGap[];
}

/** Nothing that differs was seen for a while: the comparison goes on. */
export interface DriftProgress {
  readonly type: 'progress';
  readonly calls: number;
}

/** The last line. Without it the answer was broken off, and says nothing. */
export interface DriftEnd {
  readonly type: 'end';
  readonly state: DriftState;
  readonly calls: number;
}

export type DriftLine = DriftRow | DriftTotal | DriftProgress | DriftEnd;

/** The run: at least one of them. */
export interface DriftFilter {
  readonly label?: string;
  readonly job_id?: string;
  readonly key_id?: string;
}
