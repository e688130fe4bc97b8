/** What is to be done about an unknown call: DESIGN 5.6. Pure. */
import { RESUME_MS_MAX } from '../ledger/resume';
import type { CallRow } from '../stores/tables';

/** A call, and what could be done about it. */
export interface Situation {
  readonly call: Pick<CallRow, 'created_at' | 'object_id' | 'stuck_at'>;
  readonly now: number;
  /** From when on nobody can be at work on the call. */
  readonly deadAt: number;
  /** Nothing is held for it, and nothing that it does costs anything. */
  readonly free: boolean;
  /** Its key and those above it are. */
  readonly alive: boolean;
  /** What was sent is known, and the vendor executes it once, however often it comes. */
  readonly resendable: boolean;
  /** The vendor can be asked. */
  readonly findable: boolean;
  /** Attempts of this process so far, and when the first was. */
  readonly tries: number;
  readonly triedSince: number;
}

/** `rest`: it is left to an operator, and there is no more to try. */
export type Step = 'wait' | 'release' | 'resend' | 'look_up' | 'give_up' | 'rest';

/** How long a call that an operator was told of is still looked for. */
const LOOK_AFTER_STUCK_MS = 24 * 3_600_000;

/** `lookForMs`: how long the vendor is asked before an operator is told. */
export function decide(situation: Situation, lookForMs: number): Step {
  const { call, now, deadAt, free, alive, resendable, findable, tries, triedSince } = situation;
  if (now < deadAt) return 'wait';
  // A read, or a change that costs nothing: there is nothing to find out about its money.
  if (free && call.object_id === null) return 'release';

  const mayResend = resendable && alive && now - call.created_at <= RESUME_MS_MAX;
  const inTime = tries === 0 || now - triedSince < lookForMs;
  const mayLook = findable && (call.stuck_at === null || now - call.stuck_at < LOOK_AFTER_STUCK_MS);
  // Held by nothing, the cancel that was lost can only give back: that is forgone, and nobody need look.
  if (!mayResend && !(mayLook && inTime) && free) return 'release';
  if (!mayResend && !(mayLook && inTime) && call.stuck_at === null) return 'give_up';
  // In turn: a vendor that repeats a stored 500 for a day shows what it did all the same.
  if (mayResend && (!mayLook || tries % 2 === 0)) return 'resend';
  return mayLook ? 'look_up' : 'rest';
}

/** Milliseconds until the next attempt: twice as long each time. */
export function backOff(tries: number, firstMs: number): number {
  return Math.min(LONGEST_MS, firstMs * 2 ** Math.min(tries, 20));
}

const LONGEST_MS = 5 * 60_000;
