/**
 * The drift check: the vendor's own total for a run against the ledger's. It reads only, at the account's pace, and
 * changes nothing; the memory needed does not grow with the calls of the run.
 */
import type { Rows, Store } from '../stores/store';
import type { ListedCall } from '../stores/store';
import type { Vendors } from '../vendors';
import type { Readable } from '../lookup';
import type { DriftFilter, DriftLine, DriftRow } from './lines';
import { settledRows } from './settled';
import { overall, Tally } from './tally';
import { unaccountedRows, unknownRow } from './unaccounted';

export interface DriftParts {
  readonly ledger: {
    submit<T>(operation: (rows: Rows, now: number) => T): Promise<T>;
    readonly store: Store;
  };
  readonly accounts: ReadonlyMap<string, Readable>;
  readonly vendors: Vendors;
  /** Why nothing more is read; undefined while somebody waits for it. */
  readonly stopping: () => string | undefined;
}

const PAGE = 200;
/** Objects that are read at one time. */
const WIDTH = 8;

/** Every difference as it is found, then a total for each account, then the end. Throws when it is stopped. */
export async function* driftOf(parts: DriftParts, filter: DriftFilter): AsyncGenerator<DriftLine> {
  const tallies = new Map<string, Tally>();
  let calls = 0;
  let after: string | undefined;
  for (;;) {
    const page = await parts.ledger.store.listCalls({ ...filter, after, order: 'oldest', limit: PAGE });
    for (let at = 0; at < page.length; at += WIDTH) {
      stopIfTold(parts);
      const some = page.slice(at, at + WIDTH);
      const found = await Promise.all(some.map((call) => rowsOf(parts, filter, tallyOf(tallies, call), call)));
      yield* found.flat();
    }
    calls += page.length;
    yield { type: 'progress', calls };
    after = page.at(-1)?.call_id;
    if (page.length < PAGE) break;
  }
  for (const tally of tallies.values()) {
    for await (const rows of unaccountedRows(parts, tally)) {
      stopIfTold(parts);
      yield* rows;
      yield { type: 'progress', calls };
    }
    for (const call of tally.unknown.values()) {
      tally.row();
      yield unknownRow(call);
    }
  }
  const totals = [...tallies.values()].map((tally) => tally.line());
  yield* totals;
  yield { type: 'end', state: overall(totals.map(({ state }) => state)), calls };
}

function stopIfTold({ stopping }: DriftParts): void {
  const reason = stopping();
  if (reason !== undefined) throw new Error(`The comparison was broken off: ${reason}.`);
}

function tallyOf(tallies: Map<string, Tally>, { vendor, account }: ListedCall): Tally {
  const id = `${vendor}/${account}`;
  const tally = tallies.get(id) ?? new Tally(vendor, account);
  tallies.set(id, tally);
  return tally;
}

/** One call: what is wrong with it, or with the object that it is the first of the run to name. */
async function rowsOf(
  parts: DriftParts,
  filter: DriftFilter,
  tally: Tally,
  call: ListedCall,
): Promise<readonly DriftRow[]> {
  if (call.state === 'refused' || call.state === 'replayed') return [];
  tally.met(call.created_at, call.ended_at ?? call.created_at);
  if (call.state === 'settled') return settledRows(parts, filter, tally, call);
  if (call.state === 'held')
    tally.gap('it is still under way: compare again when the run has ended', call.quote_micros);
  if (call.state !== 'unknown') return [];
  if (tally.unknown.size < UNKNOWN_MAX) {
    tally.unknown.set(call.call_id, call);
    return [];
  }
  tally.row();
  return [unknownRow(call)];
}

/** Of an account, that wait for what they made; further ones are told at once. */
const UNKNOWN_MAX = 10_000;
