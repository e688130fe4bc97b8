/** What a process that died has left behind. */
import type { Logger } from 'pino';
import { finish } from './ledger/finish';
import type { Ledger } from './ledger/ledger';
import { StoreError } from './stores/store';

const PAGE = 500;
/** A call that could not be marked is left alone for so long, and then tried, and complained of, again. */
const LEFT_ALONE_MS = 60_000;

/** Ids of held calls whose process is dead, in ascending order: the first ones after `after`. None: there are no more. */
type OrphansAfter = (after: string | undefined) => Promise<readonly string[]>;

/** Marks the holds of former processes as unknown. Only for a store that one process has at a time. */
export function recover(ledger: Ledger, logger: Logger): Promise<number> {
  const burial = new Burial(ledger, logger, async (after) => {
    const held = await ledger.store.listCalls({ state: 'held', order: 'oldest', limit: PAGE, after });
    return held.map(({ call_id: id }) => id);
  });
  return burial.round(performance.now());
}

/**
 * Marks holds of dead processes as unknown: nobody can say whether those calls left. Their money stays held until the
 * client repeats the call, or somebody resolves it. Remembers from round to round what could not be marked.
 */
export class Burial {
  readonly #ledger: Ledger;
  readonly #logger: Logger;
  readonly #orphans: OrphansAfter;
  /** Calls that could not be marked, and until when they are left alone. */
  readonly #leftAlone = new Map<string, number>();

  constructor(ledger: Ledger, logger: Logger, orphans: OrphansAfter) {
    this.#ledger = ledger;
    this.#logger = logger;
    this.#orphans = orphans;
  }

  /**
   * Goes through all, a page after the other. Answers how many were marked. Throws {@link StoreError} when the store
   * cannot be read or written, or did not take one of them: the next round goes on without that one.
   * @param now in milliseconds, of a clock that only goes forward
   */
  async round(now: number): Promise<number> {
    for (const [id, until] of this.#leftAlone) if (until <= now) this.#leftAlone.delete(id);
    let count = 0;
    try {
      for (let ids = await this.#orphans(undefined); ids.length > 0; ids = await this.#orphans(ids.at(-1))) {
        count += await this.#markPage(
          ids.filter((id) => !this.#leftAlone.has(id)),
          now,
        );
      }
    } finally {
      if (count > 0) {
        this.#logger.warn({ calls: count }, 'calls of a former process are unknown now; their money stays held');
      }
    }
    return count;
  }

  /** In one commit, in which each fails alone; where the store does not take that, in one commit for each. */
  async #markPage(ids: readonly string[], now: number): Promise<number> {
    const cameOf = await Promise.allSettled(ids.map((id) => this.#mark(id)));
    let count = 0;
    for (const [index, came] of cameOf.entries()) {
      const id = ids[index]!;
      if (came.status === 'fulfilled' || (await this.#markAfter(came.reason, id, now))) count += 1;
    }
    return count;
  }

  async #markAfter(error: unknown, id: string, now: number): Promise<boolean> {
    if (!(error instanceof StoreError)) {
      this.#leaveAlone(id, error, now);
      return false;
    }
    try {
      await this.#mark(id);
      return true;
    } catch (again) {
      // A store that can be written otherwise has something against this call.
      await this.#ledger.store.ping();
      this.#leaveAlone(id, again, now);
      throw again;
    }
  }

  #leaveAlone(id: string, error: unknown, now: number): void {
    this.#leftAlone.set(id, now + LEFT_ALONE_MS);
    const text = 'a call of a former process cannot be marked unknown; it stays held';
    this.#logger.error({ err: error, call_id: id }, text);
  }

  #mark(id: string): Promise<unknown> {
    const outcome = { state: 'unknown', httpStatus: null, code: 'outcome_unknown' } as const;
    return this.#ledger.submit((rows, now) => finish(rows, now, id, outcome));
  }
}
