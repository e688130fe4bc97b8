/** Why a run stops or waits, for the person who is to do something about it. */
import { formatUsd, type TerminalRefusal, usdToMicros } from '../proxy/contract';
import type { LimitedPlan } from '../activities/contract/limits';
import type { VaultSpend } from '../activities/types';

export interface StopFacts {
  readonly plan: Pick<LimitedPlan, 'jobId' | 'key' | 'onCapExhausted'> | undefined;
  readonly keyId: string | undefined;
  /** The cap of the key's life, or of its job. */
  readonly capUsd: number | null;
  /** The budget that the proxy has latched, as far as is known: `job …`, `key key_…`, `day key_…:2026-11-24`. */
  readonly exhaustedBy: string | null;
  /** Dollars of the key, or its job, in calls of unknown outcome. */
  readonly unknownUsd: number;
  /** Does a run that waits go on by itself once that budget has room again? */
  readonly seesFreeCap: boolean;
}

/** What stops a run, and how to go on. */
export function stopWords(code: TerminalRefusal, facts: StopFacts): string {
  const { plan, keyId = 'the key' } = facts;
  const again = `start again with jobId "${plan?.jobId ?? ''}": what was executed is not executed twice.`;
  const words = {
    cap_exhausted: capWords(facts, again),
    key_revoked: `The key ${keyId} was revoked. To do the rest, ${again}`,
    key_expired: `The time to live or the lease of ${keyId} has ended. To do the rest, ${again}`,
    key_invalid: `The proxy does not know ${keyId}: is KEYBRAKE_URL that of the proxy which issued it?`,
  } as const satisfies Record<TerminalRefusal, string>;
  return words[code];
}

/** To raise a cap that is not the one which is spent would be in vain. */
function capWords(facts: StopFacts, again: string): string {
  const { cap: spent, raised } = spentCap(facts);
  const doubtful = facts.exhaustedBy === null && facts.unknownUsd > 0;
  const cap = doubtful ? `${spent}, less ${dollars(facts.unknownUsd)} in calls of unknown outcome,` : spent;
  if (facts.plan?.onCapExhausted !== 'pause') {
    return `${cap} is spent. To do the rest, ${raised === 'no' ? '' : 'raise it and '}${again}`;
  }
  const orEnd = 'or the signal revoke to end.';
  if (raised === 'here' && doubtful && facts.seesFreeCap) {
    return `${cap} is spent: the run goes on once they are known; send the update raiseCap to go on at once, ${orEnd}`;
  }
  if (raised === 'here') return `${cap} is spent: send the update raiseCap to go on, ${orEnd}`;
  if (facts.seesFreeCap) {
    const free =
      raised === 'there'
        ? 'once it is raised the run goes on'
        : 'it is free again at 00:00 UTC, and the run goes on then';
    return `${cap} is spent: ${free}; or send the signal revoke to end.`;
  }
  const first = raised === 'there' ? 'raise it first' : 'it is free again at 00:00 UTC';
  return `${cap} is spent: ${first}; then send the update raiseCap, whatever the higher cap, to go on, ${orEnd}`;
}

interface SpentCap {
  readonly cap: string;
  /** Whether the update raiseCap raises it, or somebody has to raise another key or job, or nobody can. */
  readonly raised: 'here' | 'there' | 'no';
}

function spentCap({ plan, keyId, capUsd, exhaustedBy }: StopFacts): SpentCap {
  const { dailyUsdCap, parentKeyId } = plan?.key ?? {};
  const day = exhaustedBy === null ? null : DAY.exec(exhaustedBy);
  if (day !== null) {
    const own = day[1] === keyId;
    const amount = own && dailyUsdCap !== undefined ? ` of ${dollars(dailyUsdCap)}` : '';
    return { cap: `The daily cap${amount}${own ? '' : ` of ${day[1]}, above this key,`}`, raised: 'no' };
  }
  const ours = [null, `key ${keyId}`, `job ${plan?.jobId}`].includes(exhaustedBy);
  if (!ours) return { cap: `The cap of ${exhaustedBy?.replace(/^key /, '')}, above this key,`, raised: 'there' };
  const several = dailyUsdCap !== undefined || parentKeyId !== undefined;
  if (capUsd === null || (exhaustedBy === null && several)) return { cap: 'A cap', raised: 'here' };
  return { cap: `The cap of ${dollars(capUsd)}`, raised: 'here' };
}

const DAY = /^day (.*):\d{4}-\d\d-\d\d$/;

/** What a key has spent of its cap, and all keys of its job, where earlier ones (of a run that was continued) have too. */
export function spentWords(last: VaultSpend | undefined): string {
  if (last === undefined) return '';
  const { spend, jobSpend, capUsd } = last;
  const own = `; ${dollars(spend.settled_usd)} spent${capUsd === null ? '' : ` of ${dollars(capUsd)}`}`;
  const byJob = jobSpend?.settled_usd ?? spend.settled_usd;
  return byJob === spend.settled_usd ? own : `${own}, ${dollars(byJob)} by all keys of its job`;
}

function dollars(usd: number): string {
  return formatUsd(usdToMicros(usd) ?? 0);
}
