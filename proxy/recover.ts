/** What a process that died has left behind. */
import type { Logger } from 'pino';
import { finish } from './ledger/finish';
import type { Ledger } from './ledger/ledger';

const PAGE = 500;

/** Marks the holds of former processes as unknown. Only for a store that one process has at a time. */
export function recover(ledger: Ledger, logger: Logger): Promise<number> {
  return markUnknown(ledger, logger, async () => {
    const held = await ledger.store.listCalls({ state: 'held', order: 'oldest', limit: PAGE });
    return held.map(({ call_id: id }) => id);
  });
}

/**
 * Marks holds of dead processes as unknown, a page after the other: nobody can say whether those calls left. Their
 * money stays held until the client repeats the call, or somebody resolves it.
 */
export async function markUnknown(
  ledger: Ledger,
  logger: Logger,
  page: () => Promise<readonly string[]>,
): Promise<number> {
  let count = 0;
  for (let ids = await page(); ids.length > 0; ids = await page()) {
    const marking = ids;
    await ledger.submit((rows, now) => {
      for (const id of marking) {
        finish(rows, now, id, { state: 'unknown', httpStatus: null, code: 'outcome_unknown' });
      }
    });
    count += ids.length;
  }
  if (count > 0) logger.warn({ calls: count }, 'calls of a former process are unknown now; their money stays held');
  return count;
}
