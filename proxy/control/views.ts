/** Rows of the ledger as the JSON of `contract.ts`. Pure but for reading `rows`. */
import assert from 'node:assert';
import {
  CALL_STATES,
  type CallState,
  type CallView,
  type JobView,
  type KeyState,
  type KeyView,
  type Micros,
  microsToUsd,
  type Spend,
} from '../contract';
import { budgetIdsOf, budgetName, budgetOf, leastRemaining, remainingMicros, utcDay } from '../ledger/budgets';
import { factsOf, type KeyFacts, lifeOf } from '../ledger/facts';
import type { ListedCall, Rows } from '../stores/store';
import type { BudgetRow, KeyRow } from '../stores/tables';

/** A key as it is now, with all that binds it. */
export function keyView(rows: Rows, now: number, key: KeyRow): KeyView {
  const facts = factsOf(key);
  const budgets = budgetsOf(rows, now, facts);
  const revoked = revocationOf(rows, key, facts);
  const daily = facts.daily.find(([keyId]) => keyId === key.key_id)?.[1] ?? null;
  return {
    key_id: key.key_id,
    vendor: key.vendor,
    account: key.account,
    agent_run_label: key.label,
    job_id: key.job_id,
    parent_key_id: key.parent_key_id,
    usd_cap: usdOrNull(bindingCap(rows, key)),
    daily_usd_cap: usdOrNull(daily),
    max_usd_per_call: usdOrNull(key.max_call_micros),
    allowed_endpoints: [...facts.allowed],
    fx: facts.fx,
    require_idempotency_key: facts.requireIdempotency,
    on_cap: key.on_cap,
    lease_seconds: key.lease_ms === null ? null : key.lease_ms / 1_000,
    lease_expires_at: isoOrNull(key.lease_until),
    metadata: JSON.parse(key.metadata) as Record<string, string>,
    issued_by: key.issued_by,
    created_at: iso(key.created_at),
    expires_at: iso(key.expires_at),
    revoked_at: isoOrNull(revoked?.revoked_at ?? null),
    revoke_reason: revoked?.revoke_reason ?? null,
    ...stateOf(rows, now, key),
    spend: spendOf(ownBudget(rows, key), leastRemaining(budgets)),
  };
}

/** Revoked before expired before exhausted; each of them also through a key above. */
export function stateOf(rows: Rows, now: number, key: KeyRow): Pick<KeyView, 'state' | 'exhausted_by'> {
  const facts = factsOf(key);
  const latched = budgetsOf(rows, now, facts).find((budget) => budget.latched === 1);
  const exhausted_by = latched === undefined ? null : budgetName(latched.budget_id);
  const { dead } = lifeOf(rows, now, key.key_id, facts.ancestors);
  assert(dead !== 'key_invalid', `a key above ${key.key_id} does not exist`);
  if (dead !== undefined) return { state: dead === 'key_revoked' ? 'revoked' : 'expired', exhausted_by };
  return { state: latched === undefined ? 'active' : 'exhausted', exhausted_by };
}

/** Every budget that a call of the key must fit today. */
function budgetsOf(rows: Rows, now: number, facts: KeyFacts): readonly BudgetRow[] {
  return budgetIdsOf(facts, utcDay(now)).map((id) => budgetOf(rows, facts, id, now));
}

/** The revoked key that ended this one: itself, or the nearest above. */
function revocationOf(rows: Rows, key: KeyRow, facts: KeyFacts): KeyRow | undefined {
  if (key.revoked_at !== null) return key;
  return facts.ancestors
    .map((id) => rows.get('keys', id))
    .find((above) => above !== undefined && above.revoked_at !== null);
}

/** The lower of the key's own life cap and its job's. */
function bindingCap(rows: Rows, key: KeyRow): Micros | null {
  const own = ownBudget(rows, key).cap_micros;
  const job = key.job_id === null ? null : (rows.get('budgets', jobBudgetId(key.job_id))?.cap_micros ?? null);
  return own === null || job === null ? (own ?? job) : Math.min(own, job);
}

/** The running total of everything that the key, and the keys below it, spent. */
export function ownBudget(rows: Rows, key: KeyRow): BudgetRow {
  const budget = rows.get('budgets', keyBudgetId(key.key_id));
  assert(budget !== undefined, `${key.key_id} has no budget`);
  return budget;
}

export function keyBudgetId(keyId: string): string {
  return `key:${keyId}`;
}

export function jobBudgetId(jobId: string): string {
  return `job:${jobId}`;
}

/** Spend and counts over all keys of a job. */
export function jobView(jobId: string, budget: BudgetRow): JobView {
  return {
    job_id: jobId,
    usd_cap: usdOrNull(budget.cap_micros),
    exhausted: budget.latched === 1,
    created_at: iso(budget.created_at),
    spend: spendOf(budget, remainingMicros(budget)),
  };
}

export function spendOf(budget: BudgetRow, remaining: Micros | null): Spend {
  return {
    settled_usd: microsToUsd(budget.settled_micros),
    out_usd: microsToUsd(budget.out_micros),
    held_usd: microsToUsd(budget.held_micros),
    unknown_usd: microsToUsd(budget.unknown_micros),
    remaining_usd: usdOrNull(remaining),
    calls: Object.fromEntries(CALL_STATES.map((state) => [state, budget[`n_${state}`]])) as Record<CallState, number>,
  };
}

/** A row of the audit log. */
export function callView(call: ListedCall): CallView {
  return {
    call_id: call.call_id,
    state: call.state,
    key_id: call.key_id,
    job_id: call.job_id,
    agent_run_label: call.label,
    vendor: call.vendor,
    account: call.account,
    method: call.method,
    path: call.path,
    route: call.route,
    record_id: call.record_id,
    idempotency_key: call.idempotency_key,
    vendor_id: call.vendor_id,
    http_status: call.http_status,
    code: call.code,
    quote_usd: microsToUsd(call.quote_micros),
    cost_usd: usdOrNull(call.cost_micros),
    replay_of: call.replay_of,
    sends: call.sends,
    workflow_id: call.workflow_id,
    activity_id: call.activity_id,
    attempt: call.attempt,
    context: call.context,
    created_at: iso(call.created_at),
    ended_at: isoOrNull(call.ended_at),
    stuck_at: isoOrNull(call.stuck_at),
  };
}

export function usdOrNull(micros: Micros | null): number | null {
  return micros === null ? null : microsToUsd(micros);
}

export function iso(milliseconds: number): string {
  return new Date(milliseconds).toISOString();
}

function isoOrNull(milliseconds: number | null): string | null {
  return milliseconds === null ? null : iso(milliseconds);
}

/** Keys by state, all zero. */
export function noKeys(): Record<KeyState, number> {
  return { active: 0, exhausted: 0, revoked: 0, expired: 0 };
}
