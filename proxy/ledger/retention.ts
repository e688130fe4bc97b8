/** Removing what has served its time. Pure but for `rows`. Totals are running totals, and do not change. */
import { nothingPruned, type PrunedCounts, type PrunedKind } from '../retention';
import type { Rows } from '../stores/store';
import type { CallRow, TableName } from '../stores/tables';

export interface Prune {
  readonly kind: PrunedKind;
  /** Listed before as old, and of no live key or job. */
  readonly ids: readonly (string | number)[];
  /** What ended at this time or later stays. */
  readonly endedBefore: number;
  /** Only count. */
  readonly dryRun: boolean;
  readonly actor: string;
}

/** Removes rows, with an event in the same commit. What is no longer as it was listed stays. */
export function forget(rows: Rows, { kind, ids, endedBefore, dryRun, actor }: Prune): PrunedCounts {
  const counts = nothingPruned();
  if (kind === 'events') {
    counts.events = ids.length;
    if (!dryRun) rows.forgetEvents(ids as readonly number[]);
  } else {
    for (const { table, id, as } of (ids as readonly string[]).flatMap((one) => overOf(rows, kind, one, endedBefore))) {
      counts[as] += 1;
      if (!dryRun) rows.remove(table, id);
    }
  }
  const removed = Object.fromEntries(Object.entries(counts).filter(([, count]) => count > 0));
  if (!dryRun && Object.keys(removed).length > 0) {
    rows.event({ kind: 'audit.pruned', actor, data: { ended_before: endedBefore, ...removed } });
  }
  return counts;
}

interface Over {
  readonly table: TableName;
  readonly id: string;
  readonly as: keyof PrunedCounts;
}

/** The rows that go with one that was listed; none where it is gone, or not over. */
function overOf(rows: Rows, kind: Exclude<PrunedKind, 'events'>, id: string, endedBefore: number): readonly Over[] {
  if (kind === 'refusal_counters') {
    return rows.get('refusals', id) === undefined ? [] : [{ table: 'refusals', id, as: kind }];
  }
  if (kind === 'late_prices') {
    const state = rows.get('late', id)?.state ?? 'waiting';
    return state === 'waiting' ? [] : [{ table: 'late', id, as: kind }];
  }
  const call = rows.get('calls', id);
  if (call === undefined || !isOver(call, kind, endedBefore)) return [];
  const over: Over = { table: 'calls', id, as: kind };
  // A released call has given its claim back, and a later call with the idempotency key may have taken it since.
  const claims = call.scope !== null && rows.get('claims', call.scope)?.call_id === id;
  return claims ? [{ table: 'claims', id: call.scope, as: 'claims' }, over] : [over];
}

/**
 * May the row of this call go? Never one without an end, nor one that was executed and holds a claim or an object, or
 * names what the vendor made: that this is taken is what keeps a look-up from finding it for another, unknown call.
 */
export function isOver(call: CallRow, state: PrunedKind, endedBefore: number): boolean {
  if (call.state !== state || call.ended_at === null || call.ended_at >= endedBefore) return false;
  return state !== 'settled' || (call.scope === null && call.object_id === null && call.vendor_id === null);
}
