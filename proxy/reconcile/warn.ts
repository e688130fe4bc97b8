/** Says in the log that calls do not clear: at once, and then at most once a minute for all that came since. */
import type { Logger } from 'pino';
import { formatUsd } from '../contract';
import { seldom } from '../seldom';
import type { CallRow } from '../stores/tables';

export interface StuckWarning {
  add(call: Pick<CallRow, 'call_id' | 'quote_micros'>, why: string): void;
  /** Says what is due to be said. */
  flush(): void;
}

export function stuckWarning(logger: Logger, now?: () => number): StuckWarning {
  const warning = seldom(now);
  let calls = 0;
  let micros = 0;
  let first: { readonly call_id: string; readonly why: string } | undefined;
  const flush = (): void => {
    if (first === undefined || !warning.isDue()) return;
    const text = 'calls stay unknown and their money held: look them up at the vendor, then keybrake resolve';
    logger.warn({ calls, usd: formatUsd(micros), ...first }, text);
    [calls, micros, first] = [0, 0, undefined];
  };
  return {
    add({ call_id, quote_micros }, why) {
      calls += 1;
      micros += quote_micros;
      first ??= { call_id, why };
      flush();
    },
    flush,
  };
}
