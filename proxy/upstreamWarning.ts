/** Says in the log that a vendor does not answer: at once, and then at most once a minute for all that came since. */
import type { Logger } from 'pino';
import type { Sent } from './forward';

const EVERY_MS = 60_000;

/** A call of this account that never left, or that no whole answer came to. */
export type UpstreamWarning = (account: string, failed: Exclude<Sent, { kind: 'answered' }>) => void;

interface Tally {
  saidAt: number;
  unsent: number;
  lost: number;
}

export function upstreamWarning(logger: Logger, now: () => number = Date.now): UpstreamWarning {
  const tallies = new Map<string, Tally>();
  return (account, { kind, reason }) => {
    const tally = tallies.get(account) ?? { saidAt: -Infinity, unsent: 0, lost: 0 };
    tallies.set(account, tally);
    tally[kind] += 1;
    if (now() - tally.saidAt < EVERY_MS) return;
    const { unsent, lost } = tally;
    logger.warn(
      { account, reason, unsent, lost },
      'the vendor does not answer: unsent calls cost nothing, lost ones stay held',
    );
    tallies.set(account, { saidAt: now(), unsent: 0, lost: 0 });
  };
}
