/** What `DELETE /vault/calls` takes and answers: rows of the audit log that have served their time. */

/**
 * What may be removed, in the order in which it is. Calls by their state: of the settled ones only those that hold no
 * idempotency key and name nothing at the vendor, such as lists that were read. All others that were executed, and the
 * unknown ones, prevent a second charge: they are no kind, and stay.
 */
export const PRUNED_KINDS = [
  'refused',
  'replayed',
  'released',
  'settled',
  'late_prices',
  'refusal_counters',
  'events',
] as const;

export type PrunedKind = (typeof PRUNED_KINDS)[number];

/** Rows by kind; `claims`: idempotency keys of released calls, which were free already. */
export type PrunedCounts = Readonly<Record<PrunedKind | 'claims', number>>;

export interface PruneQuery {
  /** `"90d"`: only what ended longer ago; at least a day. */
  readonly older_than: string;
  /** Only count what would be removed. */
  readonly dry_run?: boolean;
  readonly cursor?: string;
}

/** What one request removed. It works for a few seconds at most: `next_cursor` says where the next one goes on. */
export interface PruneView {
  /** What ended before this time was old enough. */
  readonly ended_before: string;
  readonly dry_run: boolean;
  readonly removed: PrunedCounts;
  /** Rows that were old enough and stay because their key, or a key of their job, is alive. */
  readonly kept_for_live_keys: number;
  readonly next_cursor: string | null;
}

/** Nothing of any kind. */
export function nothingPruned(): Record<PrunedKind | 'claims', number> {
  const none = PRUNED_KINDS.map((kind) => [kind, 0] as const);
  return { ...(Object.fromEntries(none) as Record<PrunedKind, number>), claims: 0 };
}
