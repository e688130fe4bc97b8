/** `DELETE /vault/calls`: removes what has served its time, page by page, so that vendor calls get their turn. */
import { setTimeout as sleep } from 'node:timers/promises';
import { forget } from '../ledger/retention';
import { nothingPruned, PRUNED_KINDS, type PrunedKind, type PruneView } from '../retention';
import type { Reader } from './listings';
import type { Role } from './terms';
import { iso } from './views';

/** Rows that one commit removes. */
const PAGE = 500;
/** A request ends after the page in which so much time has passed; well within what clients wait. */
const WORK_MS = 2_000;

export interface PruneInput {
  readonly role: Role;
  readonly olderThanMs: number;
  readonly dryRun: boolean;
  /** `<kind>:<cursor>`, as {@link PruneView.next_cursor} had it. */
  readonly cursor: string | undefined;
}

/**
 * Each page is one commit of its own, and what is left when the process ends between two of them goes with the next
 * request. A key that is dead stays dead, so what it left can be decided about before the commit that removes it.
 */
export async function prune(
  ledger: Reader,
  { role, olderThanMs, dryRun, cursor }: PruneInput,
  workMs = WORK_MS,
): Promise<PruneView> {
  const started = performance.now();
  const endedBefore = (await ledger.submit((_, now) => now)) - olderThanMs;
  const removed = nothingPruned();
  let kept = 0;
  let place = placeOf(cursor);
  do {
    const { kind, after } = place;
    const begun = performance.now();
    const page = await pageOf(ledger, kind, after, endedBefore);
    kept += page.kept;
    if (page.ids.length > 0) {
      const work = { kind, ids: page.ids, endedBefore, dryRun, actor: role };
      const counts = await ledger.submit((rows) => forget(rows, work));
      for (const name of [...PRUNED_KINDS, 'claims'] as const) removed[name] += counts[name];
    }
    const next = PRUNED_KINDS[PRUNED_KINDS.indexOf(kind) + 1];
    if (page.after === undefined && next === undefined) return viewOf(null);
    // As long as the page took, nothing of it stands in the way of vendor calls.
    await sleep(performance.now() - begun);
    place = page.after === undefined ? { kind: next ?? kind } : { kind, after: page.after };
  } while (performance.now() - started < workMs);
  return viewOf(`${place.kind}:${place.after ?? ''}`);

  function viewOf(nextCursor: string | null): PruneView {
    const ended_before = iso(endedBefore);
    return { ended_before, dry_run: dryRun, removed, kept_for_live_keys: kept, next_cursor: nextCursor };
  }
}

interface Place {
  readonly kind: PrunedKind;
  readonly after?: string;
}

function placeOf(cursor: string | undefined): Place {
  const [, kind = PRUNED_KINDS[0], after = ''] = /^(\w+):(.*)$/.exec(cursor ?? '') ?? [];
  return after === '' ? { kind: kind as PrunedKind } : { kind: kind as PrunedKind, after };
}

interface OldPage {
  readonly ids: readonly (string | number)[];
  /** Old enough, but of a live key or job. */
  readonly kept: number;
  /** Where the next page begins; undefined: there is none, because all later rows are younger. */
  readonly after: string | undefined;
}

async function pageOf(
  ledger: Reader,
  kind: PrunedKind,
  after: string | undefined,
  endedBefore: number,
): Promise<OldPage> {
  const now = await ledger.submit((_, time) => time);
  const rows = await ledger.store.listOld({ kind, after, now, limit: PAGE });
  const old = rows.filter(({ ended_at: ended }) => ended !== null && ended < endedBefore);
  const ids = old.filter(({ live }) => live === 0).map(({ id }) => id);
  const last = rows.at(-1);
  const done = rows.length < PAGE || (last?.made_at ?? 0) >= endedBefore;
  return { ids, kept: old.length - ids.length, after: done ? undefined : String(last?.cursor) };
}
