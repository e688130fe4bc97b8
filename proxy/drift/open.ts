/**
 * Objects that no call has settled while calls are open: one of those may have made it. Nothing here is known for
 * certain until the call has ended, so each open call accounts for one object, and only for one that it can have made.
 */
import type { ListedCall } from '../stores/store';
import type { Listed } from '../vendors/statement';
import type { DriftParts } from './index';
import { uncounted } from './known';
import type { Tally } from './tally';

/** Of calls that are held, and of unknown ones; the newest. */
const OPEN_MAX = 1_000;
/** Of our clock and the vendor's. */
const CLOCKS_DIFFER_MS = 5_000;
/** From when a call must have left to when the vendor is done with it, however long that takes. */
const AT_WORK_MS = 60_000;

export interface Missing {
  readonly item: Listed;
  /** The open call that may have made it. */
  readonly call: ListedCall | undefined;
}

/** Those of the items that no call settled, each with the call that may do so yet. */
export async function missingOf(
  parts: DriftParts,
  tally: Tally,
  items: readonly Listed[],
): Promise<readonly Missing[]> {
  const suspects = await uncounted(parts, tally, items);
  if (suspects.length === 0) return [];
  const open = await openCalls(parts, tally);
  // In this order: a call that was open a moment ago and is no more has settled what it made.
  const missing = await uncounted(parts, tally, suspects);
  const makers = new Map<Listed, ListedCall>();
  // The calls that hold just what an object is worth have the first choice.
  for (const holdsJustThat of [true, false]) {
    for (const item of missing) {
      const fits = (call: ListedCall) =>
        !tally.makers.has(call.call_id) &&
        canHaveMade(call, item) &&
        (call.quote_micros === item.valueMicros || !holdsJustThat);
      const maker = makers.has(item) ? undefined : open.find(fits);
      if (maker === undefined) continue;
      tally.makers.add(maker.call_id);
      makers.set(item, maker);
    }
  }
  return missing.map((item) => ({ item, call: makers.get(item) }));
}

/** Those of the account that hold money: the ones that hold least first, as they fit the fewest objects. */
async function openCalls({ ledger }: DriftParts, { vendor, account }: Tally): Promise<readonly ListedCall[]> {
  const states = ['held', 'unknown'] as const;
  const lists = states.map((state) => ledger.store.listCalls({ state, order: 'newest', limit: OPEN_MAX }));
  const open = (await Promise.all(lists)).flat().filter((call) => call.vendor === vendor && call.account === account);
  return open.toSorted((a, b) => a.quote_micros - b.quote_micros);
}

type Spell = Pick<ListedCall, 'created_at' | 'send_by' | 'quote_micros'>;

/** Made while the call was under way, and for no more than it holds. */
export function canHaveMade(
  { created_at: createdAt, send_by: sendBy, quote_micros: quote }: Spell,
  { madeMs, valueMicros }: Pick<Listed, 'madeMs' | 'valueMicros'>,
): boolean {
  const atWork = madeMs >= createdAt - CLOCKS_DIFFER_MS && madeMs <= sendBy + AT_WORK_MS;
  return atWork && quote > 0 && (valueMicros ?? 0) <= quote;
}
