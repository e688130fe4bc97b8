/** From a verdict to what the ledger records: what may have to be read again is sealed. */
import { pack, type Reply } from './answers';
import { type Kept, sealKept } from './kept';
import type { Verdict } from './judge';
import type { Outcome } from './ledger/finish';
import type { Seal } from './seal';

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
