/**
 * The one atomic step before a call may leave, DESIGN 5.2: the key and those above it alive, the claim, the object,
 * every budget, and the hold. Pure but for `rows`; it runs inside a commit.
 */
import { formatUsd, type Micros, Refusal } from '../contract';
import type { Rows } from '../stores/store';
import type { BudgetRow, CallRow } from '../stores/tables';
import type { Price, Valuation } from '../vendors/vendor';
import { budgetIdsOf, budgetOf, fit, leastRemaining, moved, utcDay } from './budgets';
import { type DeadCode, type KeyFacts, lifeOf } from './facts';
import { needOf } from './need';
import { fxOf } from './rates';
import { budgetRefusal, newCall, perCallRefusal, recordRefusal } from './refusals';

/** A reserved call must begin to leave within this time, so that a paused process that wakes late does not send. */
export const SEND_BY_MS = 5_000;
/** Stripe keeps idempotency keys for 24 h: later, a retry could be executed anew. Source: VENDORS 2.5. */
export const RESEND_MS_MAX = 23 * 3_600_000;

export interface CallFacts {
  readonly callId: string;
  readonly facts: KeyFacts;
  readonly epoch: string;
  readonly method: string;
  readonly path: string;
  readonly route: string | null;
  readonly idempotencyKey: string | null;
  readonly recordId: string | null;
  readonly workflowId: string | null;
  readonly activityId: string | null;
  readonly attempt: number | null;
  readonly context: string | null;
}

export interface Claim {
  readonly scope: string;
  readonly fingerprint: string;
  /** Milliseconds for which a call that was executed keeps the claim; undefined: for ever. */
  readonly forMs?: number | undefined;
}

export interface ReserveInput {
  readonly call: CallFacts;
  readonly price: Price;
  /** Null: the call takes no claim. */
  readonly claim: Claim | null;
  /** May an unknown call be sent again with its idempotency key? */
  readonly vendorIdempotent: boolean;
  /** May what an unknown call came to be looked up at the vendor now? */
  readonly findable?: boolean;
  /** Names calls that a look-up could take for one another: one of them is open at a time. Null: there are none. */
  readonly twin?: string | null;
  /** What is sent, sealed, where nothing but this could tell later what became of the call. */
  readonly request?: Buffer | null;
  readonly toMicros: (minor: number, currency: string) => Micros | undefined;
  /** Where several processes share the ledger: names the object that one call at a time may change. */
  readonly turn?: string | undefined;
  /** There is no slot for the call to leave now: what would hold money, or send again, answers `pace` instead. */
  readonly unpaced?: boolean;
  /** Is the master key given that an answer was sealed under? One that cannot be read is as good as gone. */
  readonly canRead?: (answer: Buffer) => boolean;
  /** The object as the vendor shows it, where the ledger does not know it. */
  readonly seen?: Valuation | undefined;
  /** When that was asked for, and the last change that the ledger knew then; by the store's clock. */
  readonly seenFrom?: { readonly at: number; readonly changedAt: number | null };
}

export type Reserved =
  | {
      readonly kind: 'held';
      readonly sendBy: number;
      readonly remainingMicros: Micros | null;
    }
  /** The call is unknown and its money held, by the rates of the key that made it: send it again with the same key. */
  | {
      readonly kind: 'resend';
      readonly call: CallRow;
      readonly fx: KeyFacts['fx'];
      readonly sendBy: number;
      readonly remainingMicros: Micros | null;
    }
  | {
      readonly kind: 'replay';
      readonly call: CallRow;
      readonly answer: Buffer;
      readonly remainingMicros: Micros | null;
    }
  /** Of the same idempotency key, about the same object, or one that a look-up could take for this one: not yet ended. */
  | { readonly kind: 'in_progress'; readonly call: CallRow }
  /** The call may leave once there is a slot. Nothing is recorded: wait for it, then reserve again. */
  | { readonly kind: 'pace' }
  /** The call is unknown and must not be sent again: look it up at the vendor, then reserve again. */
  | { readonly kind: 'unresolved'; readonly call: CallRow }
  /** The object is not in the ledger: look it up at the vendor and reserve again with `seen`. */
  | { readonly kind: 'lookup'; readonly objectId: string; readonly changedAt: number | null }
  /** Only holds in flight prevent the call. Nothing is recorded: wait for the budget, then reserve again. */
  | { readonly kind: 'busy'; readonly budgetId: string; readonly quoteMicros: Micros; readonly refusal: Refusal }
  | { readonly kind: 'refused'; readonly refusal: Refusal };

export function reserve(rows: Rows, now: number, input: ReserveInput): Reserved {
  const prior = input.claim === null ? undefined : claimed(rows, now, input.claim);
  const life = lifeOf(rows, now, input.call.facts.keyId, input.call.facts.ancestors);
  if (life.dead !== undefined) return refuse(rows, now, input, deadRefusal(life.dead, input.call.facts.keyId, prior));
  const sendBy = Math.min(now + SEND_BY_MS, life.until);
  if (prior !== undefined) return again(rows, now, input, prior, sendBy);
  const before = input.turn && claimed(rows, now, { scope: input.turn });
  if (before && before.state === 'held') return { kind: 'in_progress', call: before };
  return hold(rows, now, input, sendBy);
}

/** Records a refusal that was decided before the reserve step, unless the key is dead: that comes first. */
export function refuseCall(rows: Rows, now: number, call: CallFacts, refusal: Refusal): Refusal {
  const { dead } = lifeOf(rows, now, call.facts.keyId, call.facts.ancestors);
  return recordRefusal(rows, now, call, dead === undefined ? refusal : deadRefusal(dead, call.facts.keyId));
}

/** The call that has the claim; undefined when it is free. A released call has given it back, an old one may have. */
function claimed(
  rows: Rows,
  now: number,
  { scope, forMs = Infinity }: Pick<Claim, 'scope' | 'forMs'>,
): CallRow | undefined {
  const claim = rows.get('claims', scope);
  const call = claim && rows.get('calls', claim.call_id);
  const over = call?.state === 'settled' && now - call.created_at > forMs;
  return call?.state === 'released' || over ? undefined : call;
}

/** Names the earlier call with the same idempotency key, so that a caller can tell what became of its record. */
export function deadRefusal(code: DeadCode, keyId: string, prior?: CallRow): Refusal {
  const why = {
    key_invalid: 'was never issued here',
    key_revoked: 'was revoked, itself or through a key above it',
    key_expired: 'has expired, itself or through a key above it',
  }[code];
  const before = prior === undefined ? '' : ` An earlier call with this idempotency key is ${prior.state}.`;
  return new Refusal(code, `${code}: the vault key ${keyId} ${why}; nothing was sent.${before}`, {
    key_id: keyId,
    ...(prior !== undefined && {
      prior_call: { call_id: prior.call_id, state: prior.state, vendor_id: prior.vendor_id },
    }),
  });
}

function refuse(rows: Rows, now: number, input: ReserveInput, refusal: Refusal): Reserved {
  return { kind: 'refused', refusal: recordRefusal(rows, now, input.call, refusal) };
}

/** The idempotency key was used before: replay, wait, send again or refuse. Budgets and latches do not matter here. */
function again(rows: Rows, now: number, input: ReserveInput, call: CallRow, sendBy: number): Reserved {
  const named = { prior_call: { call_id: call.call_id, state: call.state, vendor_id: call.vendor_id } };
  if (call.fingerprint !== input.claim?.fingerprint) {
    const text = `idempotency_mismatch: the idempotency key was used for another request (call ${call.call_id}).`;
    return refuse(rows, now, input, new Refusal('idempotency_mismatch', text, named));
  }
  if (call.state === 'held') return { kind: 'in_progress', call };
  if (call.state === 'unknown') return resend(rows, now, input, call, sendBy);
  if (call.answer === null || input.canRead?.(call.answer) === false) {
    const did = `${call.vendor_id ?? 'no vendor id'}, ${formatUsd(call.cost_micros ?? 0)}`;
    const text = `already_executed: call ${call.call_id} did this (${did}); its answer is gone.`;
    return refuse(rows, now, input, new Refusal('already_executed', text, named));
  }
  return { kind: 'replay', call, answer: call.answer, remainingMicros: replayed(rows, now, input, call) };
}

function replayed(rows: Rows, now: number, input: ReserveInput, of: CallRow): Micros | null {
  const day = utcDay(now);
  const budgets = budgetIdsOf(input.call.facts, day).map((id) => budgetOf(rows, input.call.facts, id, now));
  for (const budget of budgets) rows.put('budgets', moved(budget, { to: 'replayed' }));
  const row = newCall(input.call, now, day);
  rows.add('calls', {
    ...row,
    state: 'replayed',
    replay_of: of.call_id,
    vendor_id: of.vendor_id,
    http_status: of.http_status,
    code: of.code,
    ended_at: now,
  });
  return leastRemaining(budgets);
}

function resend(rows: Rows, now: number, input: ReserveInput, call: CallRow, sendBy: number): Reserved {
  if (!input.vendorIdempotent || now - call.created_at > RESEND_MS_MAX) {
    if (input.findable === true) return { kind: 'unresolved', call };
    const text = `outcome_unknown: call ${call.call_id} may have been executed and is not sent again; look it up.`;
    const prior = { call_id: call.call_id, state: call.state, vendor_id: call.vendor_id };
    return refuse(rows, now, input, new Refusal('outcome_unknown', text, { prior_call: prior }));
  }
  if (input.unpaced === true) return { kind: 'pace' };
  rows.put('calls', { ...call, sends: call.sends + 1, send_by: sendBy, epoch: input.call.epoch });
  rows.event({
    kind: 'call.resent',
    actor: `key:${input.call.facts.keyId}`,
    call_id: call.call_id,
    key_id: call.key_id,
  });
  const budgets = budgetIdsOf(input.call.facts, utcDay(now)).map((id) => budgetOf(rows, input.call.facts, id, now));
  return { kind: 'resend', call, fx: fxOf(rows, call.key_id), sendBy, remainingMicros: leastRemaining(budgets) };
}

/** While it is looked for, come back; once it is left to an operator, nothing like it is sent until he has spoken. */
function besideUnknown(rows: Rows, now: number, input: ReserveInput, twin: CallRow): Reserved {
  if (twin.stuck_at === null) return { kind: 'in_progress', call: twin };
  const text =
    `outcome_unknown: nothing was sent. Call ${twin.call_id} has the same content and may have been executed: ` +
    'look it up at the vendor and resolve it first, or what one of them did could be taken for the other.';
  const prior = { call_id: twin.call_id, state: twin.state, vendor_id: twin.vendor_id };
  return refuse(rows, now, input, new Refusal('outcome_unknown', text, { prior_call: prior }));
}

function hold(rows: Rows, now: number, input: ReserveInput, sendBy: number): Reserved {
  const twin = input.twin == null ? undefined : claimed(rows, now, { scope: input.twin });
  if (twin?.state === 'held') return { kind: 'in_progress', call: twin };
  if (twin?.state === 'unknown') return besideUnknown(rows, now, input, twin);
  const need = needOf(rows, input);
  if ('kind' in need) return need.kind === 'refused' ? refuse(rows, now, input, need.refusal) : need;
  const day = utcDay(now);
  const budgets = budgetIdsOf(input.call.facts, day).map((id) => budgetOf(rows, input.call.facts, id, now));
  const quote = Math.max(0, ...budgets.map((budget) => need.on(budget.budget_id)));

  const { maxCallMicros } = input.call.facts;
  // A payment that is raised in steps is one payment.
  const most = Math.max(quote, ...budgets.map(({ budget_id: id }) => need.whole?.(id) ?? 0));
  if (maxCallMicros !== null && most > maxCallMicros) {
    return refuse(rows, now, input, perCallRefusal(most, maxCallMicros));
  }
  const atLeast = need.atLeast ?? need.on;
  const misfit = firstMisfit(budgets, atLeast, need.whole);
  if (misfit !== undefined) {
    return notFitting(rows, now, input, misfit.budget, misfit.fit, atLeast(misfit.budget.budget_id));
  }
  const open = need.openCall === undefined ? undefined : rows.get('calls', need.openCall);
  if (open !== undefined && firstMisfit(budgets, need.on, need.whole) !== undefined)
    return { kind: 'in_progress', call: open };

  if (input.unpaced === true) return { kind: 'pace' };
  const holding = budgets.map((budget) => moved(budget, { held: need.on(budget.budget_id), to: 'held' }));
  for (const budget of holding) rows.put('budgets', budget);
  rows.add('calls', {
    ...newCall(input.call, now, day),
    scope: input.claim?.scope ?? null,
    fingerprint: input.claim?.fingerprint ?? null,
    budgets: JSON.stringify(holding.map(({ budget_id: id }) => [id, need.on(id)])),
    quote_micros: quote,
    up_to_micros: need.upTo ?? null,
    object_id: need.objectId,
    sends: 1,
    send_by: sendBy,
    request: input.request ?? null,
  });
  if (input.claim !== null) rows.put('claims', { scope: input.claim.scope, call_id: input.call.callId });
  for (const scope of [input.twin, input.turn]) {
    if (scope != null) rows.put('claims', { scope, call_id: input.call.callId });
  }
  rows.event({
    kind: 'call.held',
    actor: `key:${input.call.facts.keyId}`,
    key_id: input.call.facts.keyId,
    call_id: input.call.callId,
    data: { micros: quote },
  });
  return { kind: 'held', sendBy, remainingMicros: leastRemaining(holding) };
}

/** The budget that decides a refusal: an exhausted one before one that is only busy. */
function firstMisfit(
  budgets: readonly BudgetRow[],
  on: (id: string) => Micros,
  whole: (id: string) => Micros = () => 0,
) {
  let found: { budget: BudgetRow; fit: Exclude<ReturnType<typeof fit>, 'fits'> } | undefined;
  for (const budget of budgets) {
    const how = fit(budget, on(budget.budget_id), whole(budget.budget_id));
    if (how === 'fits' || found?.fit === 'exhausted') continue;
    if (found === undefined || how !== 'busy') found = { budget, fit: how };
  }
  return found;
}

function notFitting(
  rows: Rows,
  now: number,
  input: ReserveInput,
  budget: BudgetRow,
  how: Exclude<ReturnType<typeof fit>, 'fits'>,
  quoteMicros: Micros,
): Reserved {
  if (how === 'busy') {
    const refusal = budgetRefusal('budget_busy', budget, quoteMicros);
    return { kind: 'busy', budgetId: budget.budget_id, quoteMicros, refusal };
  }
  if (how === 'exhausted' && input.call.facts.onCap === 'latch' && budget.latched === 0) {
    rows.put('budgets', moved(budget, { latch: true }));
    rows.event({
      kind: 'budget.latched',
      actor: 'proxy',
      key_id: input.call.facts.keyId,
      data: { budget: budget.budget_id },
    });
  }
  return refuse(rows, now, input, budgetRefusal('cap_exhausted', budget, quoteMicros));
}
