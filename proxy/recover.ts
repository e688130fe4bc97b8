/** What a process that died has left behind. */
import type { Logger } from 'pino';
import { finish } from './ledger/finish';
import type { Ledger } from './ledger/ledger';
import { StoreError } from './stores/store';

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
  const failed = new Set<string>();
  const next = async () => (await page()).filter((id) => !failed.has(id));
  for (let ids = await next(); ids.length > 0; ids = await next()) {
    count += ids.length - (await markPage(ledger, logger, ids, failed));
  }
  if (count > 0) logger.warn({ calls: count }, 'calls of a former process are unknown now; their money stays held');
  return count;
}

/** In one commit or, where a row makes that fail, each by itself. Answers how many could not be marked. */
async function markPage(ledger: Ledger, logger: Logger, ids: readonly string[], failed: Set<string>): Promise<number> {
  try {
    await mark(ledger, ids);
    return 0;
  } catch (error) {
    if (error instanceof StoreError) throw error;
  }
  const before = failed.size;
  for (const id of ids) {
    await mark(ledger, [id]).catch((error: unknown) => {
      if (error instanceof StoreError) throw error;
      failed.add(id);
      logger.error({ err: error, call_id: id }, 'a call of a former process cannot be marked unknown; it stays held');
    });
  }
  return failed.size - before;
}

function mark(ledger: Ledger, ids: readonly string[]): Promise<void> {
  return ledger.submit((rows, now) => {
    for (const id of ids) finish(rows, now, id, { state: 'unknown', httpStatus: null, code: 'outcome_unknown' });
  });
}
