/**
 * One pace for all processes on a ledger. Each has an equal share of every account: the more there are, the smaller. A
 * share grows when a process has left or was declared dead, never before; who joins lets nothing leave until all others
 * have said that they count it, or cannot have failed to see it. What one hears from the vendor is told to all.
 */
import type { Pacer, RateLimit } from './pace';
import type { Living, Shared } from './stores/store';

/**
 * Whoever can send looks at the store that often: it is reached, or no call leaves. One that has said nothing until then
 * is dead and not declared so yet.
 */
const SEEN_AFTER_MS = 3_000;

export type PaceMessage =
  /** Whom a process shares with; `joining`: all others are to look, and to say so too. */
  | { readonly kind: 'sharing'; readonly epoch: string; readonly joining: boolean; readonly epochs: readonly string[] }
  | { readonly kind: 'limited'; readonly epoch: string; readonly account: string; readonly retryAfterMs?: number };

export interface SharedPaceDeps {
  readonly shared: Pick<Shared, 'epoch' | 'living' | 'tell' | 'onNewEpoch'>;
  /** By account. */
  readonly pacers: ReadonlyMap<string, Pacer>;
}

export interface SharedPace {
  /** Joins the others. */
  start(): void;
  /** Counts who lives. */
  look(): Promise<readonly Living[]>;
  heard(message: PaceMessage): void;
  close(): void;
}

export function createSharedPace({ shared, pacers }: SharedPaceDeps): SharedPace {
  /** Those that count this process; undefined: it has joined. */
  let countedBy: Set<string> | undefined;
  let joinedAt = 0;
  let timer: NodeJS.Timeout | undefined;

  // A message makes it faster, or slower, and nothing depends on it: a look at the store comes too.
  const tell = (message: PaceMessage): void => void shared.tell(JSON.stringify(message)).catch(() => undefined);
  let [lastBegun, lastCounted] = [0, 0];
  const look = async (): Promise<readonly Living[]> => {
    const turn = (lastBegun += 1);
    const living = await shared.living();
    // What was asked later is later news, whichever answer comes first.
    if (turn > lastCounted) counted(living);
    lastCounted = Math.max(turn, lastCounted);
    return living;
  };

  function counted(living: readonly Living[]): void {
    // Not there: taken for dead, and about to join again.
    if (!living.some(({ epoch }) => epoch === shared.epoch)) return;
    for (const pacer of pacers.values()) pacer.share(1 / living.length);
    if (countedBy === undefined) return;
    const known = countedBy;
    const all = living.every(({ epoch }) => epoch === shared.epoch || known.has(epoch));
    if (!all && performance.now() - joinedAt < SEEN_AFTER_MS) return;
    countedBy = undefined;
    clearTimeout(timer);
    for (const pacer of pacers.values()) pacer.release();
  }

  function lookAndSay(joining: boolean): void {
    look().then(
      (living) => {
        const epochs = living.map(({ epoch }) => epoch);
        tell({ kind: 'sharing', epoch: shared.epoch, joining, epochs });
      },
      () => undefined,
    );
  }

  function join(): void {
    countedBy = new Set();
    joinedAt = performance.now();
    for (const pacer of pacers.values()) pacer.hold();
    clearTimeout(timer);
    timer = setTimeout(() => void look().catch(() => undefined), SEEN_AFTER_MS).unref();
    lookAndSay(true);
  }

  return {
    start() {
      shared.onNewEpoch(join);
      for (const [account, pacer] of pacers) {
        pacer.onLimited(({ retryAfterMs }: RateLimit) => {
          tell({ kind: 'limited', epoch: shared.epoch, account, ...(retryAfterMs !== undefined && { retryAfterMs }) });
        });
      }
      join();
    },
    look,
    heard(message) {
      if (message.epoch === shared.epoch) return;
      if (message.kind === 'limited') {
        pacers.get(message.account)?.limitedElsewhere({ retryAfterMs: message.retryAfterMs });
        return;
      }
      if (message.epochs.includes(shared.epoch)) countedBy?.add(message.epoch);
      if (message.joining) lookAndSay(false);
      else if (countedBy !== undefined) look().catch(() => undefined);
    },
    close: () => clearTimeout(timer),
  };
}
