/** Says in the log that a vendor does not answer: at once, and then at most once a minute for all that came since. */
import type { Logger } from 'pino';
import type { Sent } from './forward';
import { seldom } from './seldom';

/** A call of this account that never left, or that no whole answer came to. */
export type UpstreamWarning = (account: string, failed: Exclude<Sent, { kind: 'answered' }>) => void;

export function upstreamWarning(logger: Logger, now?: () => number): UpstreamWarning {
  const tallies = new Map<string, { readonly warning: ReturnType<typeof seldom>; unsent: number; lost: number }>();
  return (account, { kind, reason }) => {
    const tally = tallies.get(account) ?? { warning: seldom(now), unsent: 0, lost: 0 };
    tallies.set(account, tally);
    tally[kind] += 1;
    if (!tally.warning.isDue()) return;
    const { unsent, lost } = tally;
    [tally.unsent, tally.lost] = [0, 0];
    logger.warn(
      { account, reason, unsent, lost },
      'the vendor does not answer: unsent calls cost nothing, lost ones stay held',
    );
  };
}
