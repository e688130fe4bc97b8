/** Stored answers are kept for 30 days, DESIGN 5.9; the calls and their claims stay. */
import type { Logger } from 'pino';
import type { Ledger } from './ledger/ledger';

const ANSWERS_KEPT_MS = 30 * 24 * 3_600_000;
const EVERY_MS = 3_600_000;
const PAGE = 200;
/** Name of the `meta` row that tells the last call whose answer was looked at. */
const FORGOTTEN = 'answers_forgotten';

/** Forgets old answers now and every hour. Answers how to stop: between two pages. */
export function startPruning(ledger: Ledger, logger: Logger): () => Promise<void> {
  const stopping = new AbortController();
  let running = Promise.resolve();
  const round = () => {
    running = running
      .then(() => forgetAnswers(ledger, Date.now() - ANSWERS_KEPT_MS, stopping.signal))
      .catch((error: unknown) => logger.error({ err: error }, 'old answers were not forgotten'));
  };
  const timer = setInterval(round, EVERY_MS).unref();
  round();
  return () => {
    clearInterval(timer);
    stopping.abort();
    return running;
  };
}

/**
 * Takes the answers off calls made before `cutoff` (milliseconds), from where it was left the last time, by whichever
 * process. Replays of those calls are refused as `already_executed` from then on.
 */
export async function forgetAnswers(ledger: Ledger, cutoff: number, stopping?: AbortSignal): Promise<void> {
  let after = await ledger.submit((rows) => rows.get('meta', FORGOTTEN)?.value);
  for (;;) {
    if (stopping?.aborted === true) return;
    const page = await ledger.store.listCalls({ order: 'oldest', limit: PAGE, after });
    const old = page.filter(({ created_at: created }) => created < cutoff);
    const last = old.at(-1)?.call_id;
    if (last === undefined) return;
    await ledger.submit((rows) => {
      for (const { call_id: id, state } of old) {
        const call = state === 'settled' ? rows.get('calls', id) : undefined;
        if (call !== undefined && call.answer !== null) rows.put('calls', { ...call, answer: null });
      }
      rows.put('meta', { name: FORGOTTEN, value: last });
    });
    after = last;
    if (old.length < PAGE) return;
  }
}
