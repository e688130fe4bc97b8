/** What a process that died has left behind, found at start. */
import type { Logger } from 'pino';
import { finish } from './ledger/finish';
import type { Ledger } from './ledger/ledger';

const PAGE = 500;

/**
 * Marks the holds of dead processes as unknown: nobody can say whether those calls left. Their money stays held until
 * the client repeats the call, or somebody resolves it. Only for a store that one process has at a time.
 */
export async function recover(ledger: Ledger, logger: Logger): Promise<number> {
  let count = 0;
  for (;;) {
    const held = await ledger.store.listCalls({ state: 'held', order: 'oldest', limit: PAGE });
    if (held.length === 0) break;
    await ledger.submit((rows, now) => {
      for (const { call_id: id } of held) {
        finish(rows, now, id, { state: 'unknown', httpStatus: null, code: 'outcome_unknown' });
      }
    });
    count += held.length;
  }
  if (count > 0) logger.warn({ calls: count }, 'calls of a former process are unknown now; their money stays held');
  return count;
}
