/** The refusals that end a call on its way: not sent, sent without a clear answer, or a ledger that cannot be written. */
import type { Logger } from 'pino';
import { type Micros, microsToUsd, Refusal, type RefusalDetails } from './contract';
import type { Sent } from './forward';
import type { Passage } from './passage';
import { StoreError } from './stores/store';

/** A call that was reserved, and what is left in the least of its budgets; null where there is no cap. */
interface Reserved {
  readonly callId: string;
  readonly remaining: Micros | null;
}

const detailsOf = ({ callId, remaining }: Reserved) => ({
  call_id: callId,
  ...(remaining !== null && { remaining_usd: microsToUsd(remaining) }),
});

/** What a caller does by sending its call once more: it learns the outcome, spends anew, or nobody can tell. */
export type Repeat = 'learns' | 'spends again' | 'cannot tell';

/** `claimed`: the call has an idempotency key, its client's or one that comes out the same for a repeat. */
export function repeatOf({ authorised, request }: Passage, claimed: boolean): Repeat {
  const { route, price } = authorised;
  if (!route.idempotent) return 'cannot tell';
  const read = request.method !== 'POST' && price.kind === 'free';
  return claimed || read ? 'learns' : 'spends again';
}

const ADVICE: Readonly<Record<Repeat, string>> = {
  learns: 'Repeat it with the same idempotency key to learn the outcome.',
  'spends again':
    'It had no idempotency key, so a repeat would be another call: the audit log says what the proxy finds out; ' +
    'else look it up at the vendor.',
  'cannot tell': 'The vendor knows no idempotency keys: look it up there, do not repeat it.',
};

const mayRetry = (repeat: Repeat): RefusalDetails => (repeat === 'learns' ? {} : { may_retry: false });

/** The call was sent and its outcome is not known. */
export function unknownRefusal(reserved: Reserved, sent: Sent, repeat: Repeat): Refusal {
  const why = sent.kind === 'answered' ? `the vendor answered ${sent.status}` : sent.reason;
  const text =
    `outcome_unknown: call ${reserved.callId} was sent and its outcome is not known (${why}); the money stays held. ` +
    ADVICE[repeat];
  return new Refusal('outcome_unknown', text, { ...detailsOf(reserved), ...mayRetry(repeat) });
}

/** Whatever is not a refusal already is an outage or a bug: no call goes out, and the log says why. */
export function asRefusal(error: unknown, logger: Logger): Refusal {
  if (error instanceof Refusal) return error;
  if (!(error instanceof StoreError)) logger.error({ err: error }, 'a vendor call failed inside the proxy');
  const text = 'store_unavailable: the ledger cannot be read or written now, so no call goes out.';
  return new Refusal('store_unavailable', text, { retry_after_seconds: 1 }, { cause: error });
}

/** No slot for the call in time: too many calls to the vendor account. */
export function pacedRefusal(account: string, retryAfterSeconds: number): Refusal {
  const text =
    `rate_limited: calls to the account ${account} are paced, and no slot came in time; nothing was sent. ` +
    `Try again in ${retryAfterSeconds} s, or raise max_rps of the account if the vendor takes more.`;
  return new Refusal('rate_limited', text, { retry_after_seconds: retryAfterSeconds });
}

/** The call was executed, and its outcome could be kept nowhere. */
export function unrecordedRefusal(callId: string, repeat: Repeat, cause?: unknown): Refusal {
  const text = `outcome_unknown: call ${callId} was sent, and the ledger cannot be written now; its money stays held.`;
  return new Refusal('outcome_unknown', text, { call_id: callId, ...mayRetry(repeat) }, { cause });
}

/** Nothing was sent, and the hold is released. */
export function unsentRefusal(reserved: Reserved, reason: string): Refusal {
  const text = `upstream_unreachable: nothing was sent and the hold is released: ${reason}.`;
  return new Refusal('upstream_unreachable', text, detailsOf(reserved));
}

/** The call that this one waits for: the first with its idempotency key, or one that it could be taken for. */
export function inProgressRefusal(callId: string, retryAfterMs = 1_000): Refusal {
  const text = `idempotency_in_progress: call ${callId} has not ended yet; what it came to is being found out.`;
  return new Refusal('idempotency_in_progress', text, { retry_after_seconds: Math.ceil(retryAfterMs / 1_000) });
}
