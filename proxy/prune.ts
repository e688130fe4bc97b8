/** Stored answers are kept for 30 days, DESIGN 5.9; the calls and their claims stay. */
import type { Logger } from 'pino';
import type { Ledger } from './ledger/ledger';

export const ANSWERS_KEPT_MS = 30 * 24 * 3_600_000;
const EVERY_MS = 3_600_000;
const PAGE = 200;

/** Forgets old answers now and every hour. Answers how to stop. */
export function startPruning(ledger: Ledger, logger: Logger): () => void {
  let cursor: string | undefined;
  const run = async () => {
    cursor = await forgetAnswers(ledger, Date.now() - ANSWERS_KEPT_MS, cursor);
  };
  const round = () =>
    void run().catch((error: unknown) => logger.error({ err: error }, 'old answers were not forgotten'));
  const timer = setInterval(round, EVERY_MS).unref();
  round();
  return () => clearInterval(timer);
}

/**
 * Takes the answers off calls made before `cutoff` (milliseconds), from the call after `cursor` on. Replays of those
 * calls are refused as `already_executed` from then on. Answers the new cursor.
 */
export async function forgetAnswers(ledger: Ledger, cutoff: number, cursor?: string): Promise<string | undefined> {
  let after = cursor;
  for (;;) {
    const page = await ledger.store.listCalls({ order: 'oldest', limit: PAGE, after });
    const old = page.filter(({ created_at: created }) => created < cutoff);
    await ledger.submit((rows) => {
      for (const { call_id: id, state } of old) {
        const call = state === 'settled' ? rows.get('calls', id) : undefined;
        if (call !== undefined && call.answer !== null) rows.put('calls', { ...call, answer: null });
      }
    });
    after = old.at(-1)?.call_id ?? after;
    if (old.length < PAGE) return after;
  }
}
