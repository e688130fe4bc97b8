/** Sends an unknown call again, or settles it with what the vendor shows. */
import { vendorReply, withoutSecret } from '../answers';
import type { Sent } from '../forward';
import { type Departures, hasPassed, moment } from '../inFlight';
import { judge } from '../judge';
import { finish } from '../ledger/finish';
import type { Ledger } from '../ledger/ledger';
import { type Live, resume, settleFound } from '../ledger/resume';
import { whenStopping } from '../lookup';
import { type OutcomeParts, sealedOutcome } from '../outcome';
import { rateLimitIn } from '../rateLimit';
import type { Shown, Vendor } from '../vendors/vendor';
import type { Case, Means } from './case';
import { search } from './search';

export interface ActParts extends OutcomeParts {
  readonly ledger: Ledger;
  readonly departures: Departures;
  readonly live: Live;
  /** Nothing more leaves, and nothing more is read: what has not ended by then is worked on after the next start. */
  readonly stopping: AbortSignal;
}

/** Did it end the call? If not, why. */
export interface Acted {
  readonly ended: boolean;
  readonly why: string;
}

/** Its client waits no more. */
const SLOT_WAIT_MS = 30_000;

/** Sends the call again, with its idempotency key, when there is a slot for it in its account's pace. */
export async function resend(parts: ActParts, { call, facts }: Case, means: Means): Promise<Acted> {
  const { ledger, departures, live, stopping } = parts;
  const { kept, vendor, account, route, price, request } = means;
  const { call_id: callId } = call;
  if (kept === undefined) return { ended: false, why: 'what was sent is not known' };
  const turn = await account.pacer.wait({ waitMs: SLOT_WAIT_MS, facts, onGone: whenStopping(stopping) });
  if (turn.kind !== 'slot') return { ended: false, why: 'no slot came in time' };
  const asked = moment();
  const forMs = await ledger.submit((rows, now) => {
    const resumed = resume(rows, now, callId, live);
    return resumed && resumed.sendBy - now;
  });
  if (forMs === undefined) {
    account.pacer.giveBack(turn.slot);
    return { ended: false, why: 'it may not be sent again' };
  }
  // The store's clock says how long, and ours, which may be another one, since when.
  const leaveBy = moment(forMs, asked);
  const departure = departures.begin(facts);
  try {
    const headers = { ...kept.headers, ...vendor.authorization(account) };
    const answered = await account.forwarder.send({ ...kept, headers }, () => {
      const dead = departures.isDead(facts) || hasPassed(leaveBy);
      departure.sent = !dead;
      return dead ? 'the key was revoked, or it is too late' : undefined;
    });
    if (answered.kind === 'unsent') account.pacer.giveBack(turn.slot);
    else account.pacer.answered(turn.slot, rateLimitIn(vendor, answered));
    const sent = withoutSecret(answered, account);
    const verdict = judge({ sent, vendor, route, price, request, terms: { fx: facts.fx }, first: false });
    const reply = sent.kind === 'answered' ? vendorReply(sent.status, sent.headers, sent.body) : null;
    const outcome = sealedOutcome(parts, verdict, reply, callId);
    const finished = await ledger.record((rows, now) => finish(rows, now, callId, outcome, 'reconciler'));
    ledger.changed(finished.budgets);
    return { ended: verdict.state !== 'unknown', why: whyOf(sent) };
  } finally {
    departures.end(departure);
  }
}

function whyOf(sent: Sent): string {
  if (sent.kind === 'answered') return `the vendor answered ${sent.status} to the same call again`;
  return `sent again, and no clear answer came (${sent.reason})`;
}

/** Looks the call up at the vendor, and settles it with what is found. */
export async function lookUp(parts: ActParts, { call, facts }: Case, means: Means): Promise<Acted> {
  const { ledger } = parts;
  const { vendor, route, price, request, find } = means;
  const byContent = find?.finder.by === 'content';
  const { taken, why } = await search({ means, stopping: parts.stopping }, async ({ vendorId, shown }) => {
    if (byContent && (await settledWith(ledger, vendor, vendorId))) return false;
    const sent = asAnswer(shown);
    const verdict = judge({ sent, vendor, route, price, request, terms: { fx: facts.fx }, first: false });
    const outcome = sealedOutcome(parts, verdict, vendorReply(sent.status, sent.headers, sent.body), call.call_id);
    if (outcome.state !== 'settled') return false;
    const settled = await ledger.submit((rows, now) => settleFound(rows, now, call.call_id, outcome, byContent));
    if (settled === undefined) return false;
    ledger.changed(settled.budgets);
    return true;
  });
  return { ended: taken, why };
}

/** Has a call been settled with this id already, also by an operator, and under any name of the vendor's account? */
async function settledWith({ store }: Ledger, { id }: Vendor, vendorId: string): Promise<boolean> {
  const calls = await store.listCalls({ vendor_id: vendorId, state: 'settled', order: 'oldest', limit: 100 });
  return calls.some((call) => call.vendor === id);
}

/** What is found, as the answer that never came. */
function asAnswer({ status, answer }: Shown): Extract<Sent, { kind: 'answered' }> {
  const headers = { 'content-type': 'application/json' };
  return { kind: 'answered', status, headers, body: Buffer.from(JSON.stringify(answer)) };
}
