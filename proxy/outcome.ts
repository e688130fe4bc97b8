/** From a verdict to what the ledger records: what may have to be read again is sealed. */
import { pack, type Reply } from './answers';
import { Deadlines } from './deadlines';
import { type Repeat, unrecordedRefusal } from './failures';
import { type Kept, sealKept } from './kept';
import type { Verdict } from './judge';
import { finish, type Finished, type Outcome } from './ledger/finish';
import type { Ledger } from './ledger/ledger';
import type { Seal } from './seal';
import type { Spool } from './spool';

/** How long an executed call waits for a store that cannot be written, before its caller hears `outcome_unknown`. */
const settleWait = new Deadlines(10_000);
/** The same, before its outcome is spooled. */
const spoolWait = new Deadlines(2_000);

export interface OutcomeParts {
  readonly seal: Seal;
  /** After how long a price that the vendor tells later is looked for first. */
  readonly lookAfterMs: number;
}

/** `kept`: what was sent; absent where nobody could use it. */
export function sealedOutcome(
  { seal, lookAfterMs }: OutcomeParts,
  verdict: Verdict,
  reply: Reply | null,
  callId: string,
  kept?: Kept,
): Outcome {
  if (verdict.state === 'released') return verdict;
  const { httpStatus, code } = verdict;
  if (verdict.state === 'unknown') {
    return { state: 'unknown', httpStatus, code, ...(kept && { request: sealKept(seal, kept, callId) }) };
  }
  const packed = verdict.keepAnswer && reply !== null ? pack(reply) : undefined;
  const answer = packed === undefined ? null : seal.seal(packed, callId);
  return { state: 'settled', httpStatus, code, spend: verdict.spend, answer, lookAfterMs };
}

/**
 * Records how a call ended; once this resolves, its caller may hear it. Undefined: it is spooled, because the store
 * cannot be written now. Throws a refusal `outcome_unknown` when it cannot be kept anywhere.
 */
export async function recordOutcome(
  { ledger, spool }: { readonly ledger: Ledger; readonly spool: Spool | undefined },
  callId: string,
  outcome: Outcome,
  repeat: Repeat,
): Promise<Finished | undefined> {
  const recorded = ledger.record((rows, now) => finish(rows, now, callId, outcome));
  const finished = await (spool === undefined ? settleWait : spoolWait).within(recorded);
  if (finished !== undefined) {
    ledger.changed(finished.budgets);
    return finished;
  }
  if (spool === undefined) throw unrecordedRefusal(callId, repeat);
  await spool.keepUntil(recorded, callId, outcome, repeat);
  return undefined;
}
