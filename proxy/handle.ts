/** The whole story of a vendor call, in order. No other file knows this order. */
import assert from 'node:assert';
import { refusalReply, type Reply, unpack, vendorReply, withCall, withoutSecret, withRetryAfter } from './answers';
import { allowedRoute, authorise } from './authorise';
import {
  bodyOf,
  callFacts,
  claimKey,
  type DataRequest,
  destination,
  passedHeaders,
  upstreamCall,
  vendorShown,
} from './call';
import { Refusal } from './contract';
import type { Sent } from './forward';
import { asRefusal, inProgressRefusal, pacedRefusal, repeatOf, unknownRefusal, unsentRefusal } from './failures';
import { newId } from './ids';
import { hasPassed, type Moment, moment } from './inFlight';
import { judge, type Verdict } from './judge';
import { type Kept, keptEarly, ownKey, sealKept } from './kept';
import { leastRemaining } from './ledger/budgets';
import type { KeyFacts } from './ledger/facts';
import { type CallFacts, deadRefusal, refuseCall, reserve, type Reserved, type ReserveInput } from './ledger/reserve';
import { lookUp } from './lookup';
import { recordOutcome, sealedOutcome } from './outcome';
import type { Slot } from './pace';
import type { Attempt, Errand, Held, Passage, Ready, Steps } from './passage';
import { decodeBody, fingerprint, readPath, readRequest } from './reading';
import { rateLimitIn } from './rateLimit';
import { scopeHash } from './seal';
import { Turns } from './turns';
import { stripe } from './vendors/stripe';
import type { Vendor } from './vendors/vendor';

export type { Account, Steps } from './passage';

/** How often a call looks whether the one before, in another process, has ended. */
const CLAIM_LOOK_MS = 100;

/** Answers the handler of the data plane. It never rejects; undefined: the client has gone, nothing was reserved. */
export function createHandler(steps: Steps): (request: DataRequest) => Promise<Reply | undefined> {
  const { ledger, departures, metrics } = steps;
  const canRead = (answer: Buffer) => steps.seal.knows(answer);

  return async function handle(incoming) {
    let vendor: Vendor | undefined;
    try {
      const { authorization } = incoming.headers;
      const seen = steps.authenticator.seenBefore(authorization);
      const facts = seen ?? (await steps.authenticator.authenticate(authorization));
      vendor = vendorOf(facts);
      return await attempt(incoming, facts, vendor);
    } catch (error) {
      if (error === CLIENT_GONE) return undefined;
      const refusal = asRefusal(error, steps.logger);
      metrics.refusals.inc({ code: refusal.code });
      if (refusal.code === 'key_invalid') metrics.unknownKeys.inc();
      return refusalReply(vendorShown(incoming.url, steps.vendors, vendor) ?? stripe, refusal);
    }
  };

  function vendorOf(facts: KeyFacts): Vendor {
    const vendor = steps.vendors.get(facts.vendor);
    if (vendor !== undefined) return vendor;
    const text = `account_not_allowed: the proxy has no vendor ${facts.vendor} any more.`;
    throw new Refusal('account_not_allowed', text);
  }

  async function attempt(incoming: DataRequest, facts: KeyFacts, vendor: Vendor): Promise<Reply> {
    const call = callFacts(incoming, facts, newId('call'), steps.epoch, vendor.idempotencyHeader);
    let passage: Passage;
    try {
      passage = admit(incoming, facts, vendor, call);
    } catch (error) {
      throw await recorded(call, error);
    }
    return await spend(passage);
  }

  /** Reads and authorises, without the store. */
  function admit(incoming: DataRequest, facts: KeyFacts, vendor: Vendor, given: CallFacts): Passage {
    const body = bodyOf(incoming, vendor.idempotencyHeader);
    const target = destination(readPath(incoming.url), vendor, steps.vendors);
    const match = allowedRoute(facts, vendor, incoming.method, target.path);
    const bodyText = decodeBody(body);
    const { method, headers: sent, gone, onGone } = incoming;
    const { body: kind, name } = match.route;
    const request = readRequest({ method, target, headers: sent, bodyText, kind, repeats: vendor.repeats });
    const account = steps.accounts.get(facts.account);
    if (account === undefined) {
      const text = `account_not_allowed: the proxy has no credential for account ${facts.account} any more.`;
      throw new Refusal('account_not_allowed', text);
    }
    const authorised = authorise(facts, vendor, match, request, given.idempotencyKey !== null, account.accountId);
    const headers = passedHeaders(sent, vendor, account);
    const call = { ...given, route: name, path: request.path };
    const key = claimKey(call, request, authorised.price.kind === 'free', vendor.sameIsRetryMs !== undefined);
    return { facts, vendor, request, authorised, call, claimKey: key, account, headers, gone, onGone };
  }

  /** Holds the money, sends, settles; one at a time for an idempotency key, a likeness and a vendor object. */
  async function spend(passage: Passage): Promise<Reply> {
    const { facts, vendor, request, authorised, call, claimKey: key } = passage;
    const { route, price } = authorised;
    const bySaying = call.idempotencyKey === null && call.recordId === null ? vendor.sameIsRetryMs : undefined;
    const scope = key && scopeHash([facts.account, request.method, request.path, key].join('\n'));
    const claim = scope === undefined ? null : { scope, fingerprint: fingerprint(request), forMs: bySaying };
    const likeness = price.kind === 'free' ? undefined : route.find?.likeness?.(request);
    const twin = likeness && scopeHash(['likeness', facts.account, request.path, likeness].join('\n'));
    const object =
      'objectId' in price && price.objectId !== undefined ? `${facts.account}/${price.objectId}` : undefined;

    const turns = new Turns(steps, (refusal) => recorded(call, refusal));
    try {
      if (scope) await turns.takeClaim(scope, 'its idempotency key');
      if (twin) await turns.takeClaim(twin, 'the same content');
      if (object) await turns.takeObject(object);
      const takesKey = route.idempotent && (request.method === 'POST' || price.kind !== 'free');
      const keptFor = (callId: string) => upstreamCall(passage, takesKey ? (key ?? ownKey(callId)) : undefined);
      return await sendPaced(passage, { claim, twin: twin ?? null, turns }, keptFor);
    } finally {
      turns.giveBack();
    }
  }

  /**
   * Sends; and while the vendor says that there are too many calls and the time lasts, once more: the hold is given back
   * first, and the next attempt is a call of its own in the ledger, with the client's idempotency key or its own.
   */
  async function sendPaced(passage: Passage, asked: Omit<Errand, 'kept'>, keptFor: (callId: string) => Kept) {
    const until = Date.now() + steps.paceWaitMs;
    let last: Attempt | undefined;
    for (let on = passage; ; on = { ...on, call: { ...on.call, callId: newId('call') } }) {
      const errand = { ...asked, kept: keptFor(on.call.callId) };
      const ready = await reserveMoney(on, errand, until, last === undefined);
      if (ready?.slot === undefined && ready !== undefined) return replay(ready.reserved, on);
      if (ready !== undefined) last = await send(ready, on, errand);
      if (ready === undefined || last?.again === false) break;
    }
    assert(last !== undefined);
    if (last.answer instanceof Refusal) throw last.answer;
    return last.again ? withRetryAfter(last.answer, passage.account.pacer.retryAfterSeconds()) : last.answer;
  }

  /** Undefined: a further attempt has no slot in time. */
  async function reserveMoney(passage: Passage, { claim, twin, turns, kept }: Errand, until: number, first: boolean) {
    const { facts, vendor, authorised, call, onGone } = passage;
    const { pacer } = passage.account;
    const deadline = Date.now() + steps.budgetWaitMs;
    const claimDeadline = Date.now() + steps.claimWaitMs;
    const { route, price } = authorised;
    let input: ReserveInput = {
      call,
      price,
      claim,
      twin,
      turn: turns.inLedger,
      request: keptEarly(route, price, kept) ? sealKept(steps.seal, kept, call.callId) : null,
      vendorIdempotent: route.idempotent,
      findable: route.find !== undefined,
      canRead,
      toMicros: (minor, currency) => vendor.toMicros(minor, currency, { fx: facts.fx }),
    };
    let slot: Slot | undefined;
    for (;;) {
      if (passage.gone()) {
        if (slot !== undefined) pacer.giveBack(slot);
        throw CLIENT_GONE;
      }
      slot ??= pacer.take();
      const reserving = slot === undefined ? { ...input, unpaced: true } : input;
      const asked = moment();
      const held = ledger.hold((rows, at) => ({ reserved: reserve(rows, at, reserving), now: at }), call.callId);
      let came: Awaited<typeof held>;
      try {
        came = await held;
      } catch (error) {
        if (slot !== undefined) pacer.giveBack(slot);
        throw error;
      }
      const { reserved, now } = came;
      if (reserved.kind === 'held' || reserved.kind === 'resend') {
        assert(slot !== undefined);
        // The store's clock says how long; ours, from before it was asked, say since when.
        return { reserved, slot, leaveBy: moment(reserved.sendBy - now, asked) };
      }
      // Only what leaves uses up a slot: replays and refusals do not, and nobody waits for money with one.
      if (slot !== undefined) pacer.giveBack(slot);
      slot = undefined;
      const waiting = () => ({ waitMs: until - Date.now(), facts, onGone });
      switch (reserved.kind) {
        case 'replay':
          return { reserved };
        case 'refused':
          throw reserved.refusal;
        case 'in_progress':
          // In this process calls take turns: this one is in another, or its end is not in the store yet.
          if (reserved.call.state !== 'held' || Date.now() > claimDeadline) {
            throw inProgressRefusal(reserved.call.call_id);
          }
          await new Promise((resolve) => setTimeout(resolve, CLAIM_LOOK_MS));
          // The one before may have changed the object.
          input = { ...input, seen: undefined };
          break;
        case 'unresolved': {
          const { call_id: id } = reserved.call;
          const retryAfterMs = await steps.reconciler.lookUpNow(id);
          if (retryAfterMs !== null) throw inProgressRefusal(id, retryAfterMs);
          input = { ...input, findable: false };
          break;
        }
        case 'pace': {
          if (departures.isDead(facts)) break;
          const turned = await pacer.wait(waiting());
          if (turned.kind === 'slot') slot = turned.slot;
          if (turned.kind !== 'full') break;
          if (!first) return undefined;
          throw await recorded(call, pacedRefusal(facts.account, turned.retryAfterSeconds));
        }
        case 'lookup': {
          const { objectId, changedAt } = reserved;
          const mayLeave = () => mayNotLeave(facts);
          const looked = lookUp(passage, objectId, mayLeave, waiting());
          const seen = await looked.catch(async (error: unknown) => Promise.reject(await recorded(call, error)));
          // By its other name it may be changed right now: in its turn it is looked up again.
          const anew = seen.objectId !== null && (await turns.takeObject(`${facts.account}/${seen.objectId}`));
          input = anew ? { ...input, turn: turns.inLedger } : { ...input, seen, seenFrom: { at: now, changedAt } };
          break;
        }
        case 'busy':
          await waitForBudget(reserved, passage, deadline);
          break;
      }
    }
  }

  async function waitForBudget(busy: Extract<Reserved, { kind: 'busy' }>, { call }: Passage, deadline: number) {
    const left = deadline - Date.now();
    if (left > 0 && (await ledger.waitFor(busy.budgetId, busy.quoteMicros, left))) return;
    throw await recorded(call, busy.refusal);
  }

  function mayNotLeave(facts: KeyFacts, leaveBy?: Moment): string | undefined {
    if (departures.isDead(facts)) return 'the key was revoked';
    return leaveBy !== undefined && hasPassed(leaveBy) ? 'the reservation is too old to be sent' : undefined;
  }

  /** Past this line the call is finished and settled, whatever the client does. */
  async function send({ reserved: held, slot, leaveBy }: Ready, passage: Passage, errand: Errand) {
    const { facts, vendor, request, authorised, account } = passage;
    const { route, price } = authorised;
    const departure = departures.begin(facts);
    try {
      const started = performance.now();
      const headers = Object.assign({}, errand.kept.headers, vendor.authorization(account));
      let stopped: string | undefined;
      const answered = await account.forwarder.send({ ...errand.kept, headers }, () => {
        stopped = mayNotLeave(facts, leaveBy);
        departure.sent = stopped === undefined;
        return stopped;
      });
      if (answered.kind !== 'answered' && stopped === undefined) steps.upstreamWarning(facts.account, answered);
      const limit = rateLimitIn(vendor, answered);
      if (answered.kind === 'unsent') account.pacer.giveBack(slot);
      else account.pacer.answered(slot, limit);
      if (answered.kind !== 'unsent') metrics.answered(vendor.id, performance.now() - started);
      const sent = withoutSecret(answered, account);
      const first = held.kind === 'held';
      const terms = { fx: first ? facts.fx : held.fx };
      const verdict = judge({ sent, vendor, route, price, request, terms, first });
      const answer = await settle(held, passage, errand, sent, verdict);
      // What may have been executed is sent again with its idempotency key only, as its client would.
      const safe = verdict.state === 'released' || (!first && route.idempotent && errand.claim !== null);
      return { answer, again: limit !== undefined && safe };
    } finally {
      departures.end(departure);
    }
  }

  async function settle(held: Held, passage: Passage, { claim, kept }: Errand, sent: Sent, verdict: Verdict) {
    const { call, vendor, facts } = passage;
    const callId = held.kind === 'resend' ? held.call.call_id : call.callId;
    const reply = sent.kind === 'answered' ? vendorReply(sent.status, sent.headers, sent.body) : null;
    const outcome = sealedOutcome(steps, verdict, reply, callId, kept);
    const repeat = repeatOf(passage, claim !== null);
    const finished = await recordOutcome(steps, callId, outcome, repeat);
    metrics.ended(vendor.id, outcome.state);
    metrics.adjusted(vendor.id, finished?.adjustedMicros ?? 0);

    const own = held.kind === 'held' || held.call.key_id === facts.keyId;
    const remaining = (own ? leastRemaining(finished?.budgets ?? []) : null) ?? held.remainingMicros;
    const reserved = { callId, remaining };
    if (outcome.state === 'unknown') return unknownRefusal(reserved, sent, repeat);
    if (sent.kind === 'unsent') {
      return departures.isDead(facts) ? deadRefusal('key_revoked', facts.keyId) : unsentRefusal(reserved, sent.reason);
    }
    if (sent.kind === 'lost' || reply === null) return unknownRefusal(reserved, sent, repeat);
    return withCall(reply, callId, remaining);
  }

  function replay(reserved: Extract<Reserved, { kind: 'replay' }>, { call, vendor }: Passage): Reply {
    metrics.ended(vendor.id, 'replayed');
    const stored = unpack(steps.seal.open(reserved.answer, reserved.call.call_id));
    const replayed = { ...stored, headers: { ...stored.headers, 'idempotent-replayed': 'true' } };
    return withCall(replayed, call.callId, reserved.remainingMicros);
  }

  /** What to throw: a refusal is in the audit log, against the key, before the caller hears of it. */
  async function recorded(call: CallFacts, error: unknown): Promise<unknown> {
    if (!(error instanceof Refusal)) return error;
    return ledger
      .submit((rows, now) => refuseCall(rows, now, call, error))
      .catch((failure: unknown) => {
        // The refusal stands also when it cannot be recorded: nothing leaves either way.
        steps.logger.error({ err: failure, code: error.code }, 'a refusal could not be recorded');
        return error;
      });
  }
}

/** Thrown to leave the steps when nobody waits for the answer and nothing is reserved. */
const CLIENT_GONE = Symbol('client gone');
