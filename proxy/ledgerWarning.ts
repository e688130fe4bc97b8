/** Says in the log why the ledger takes nothing: at once, then at most once a minute, and once when it does again. */
import type { Logger } from 'pino';
import { seldom } from './seldom';

const LOOK_MS = 5_000;

export interface LedgerWarning {
  /** The ledger could not be read or written, or takes no holds. */
  failed(error: unknown): void;
  close(): void;
}

interface Options {
  readonly logger: Logger;
  /** Rejects while the ledger cannot be written. */
  readonly tryIt: () => Promise<void>;
  readonly now?: () => number;
  readonly lookMs?: number;
}

export function ledgerWarning({ logger, tryIt, now, lookMs = LOOK_MS }: Options): LedgerWarning {
  const warning = seldom(now);
  let looking: NodeJS.Timeout | undefined;
  let closed = false;
  const look = (): void => {
    looking = undefined;
    if (closed) return;
    tryIt().then(
      () => {
        warning.reset();
        logger.info('the ledger is written again: calls are taken');
      },
      () => lookLater(),
    );
  };
  const lookLater = (): void => {
    if (!closed) looking ??= setTimeout(look, lookMs).unref();
  };
  return {
    failed(error) {
      if (!warning.isDue()) return;
      const reason = error instanceof Error ? error.message : String(error);
      logger.warn({ reason }, 'the ledger takes nothing: calls are refused as store_unavailable, outcomes wait');
      lookLater();
    },
    close() {
      closed = true;
      clearTimeout(looking);
    },
  };
}
