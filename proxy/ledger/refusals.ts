/** Refused calls in the audit log, and the words of refusals that the ledger decides. */
import { formatUsd, microsToUsd, type Micros, Refusal, REFUSALS } from '../contract';
import type { Rows } from '../stores/store';
import type { BudgetRow, CallRow } from '../stores/tables';
import { budgetIdsOf, budgetName, budgetOf, leastRemaining, moved, remainingMicros, utcDay } from './budgets';
import type { CallFacts } from './reserve';

/** Refusals of one key and code that are written as rows, whatever they are; of those beyond, see {@link isToBeWritten}. */
export const REFUSAL_ROWS_MAX = 1_000;
/** Records of one key and code whose refusal is written beyond {@link REFUSAL_ROWS_MAX}: a client can invent record ids. */
export const REFUSED_RECORDS_MAX = 1_000_000;

/** Records a refusal against a known key, and answers it with the call id that the audit log has it under. */
export function recordRefusal(rows: Rows, now: number, call: CallFacts, refusal: Refusal): Refusal {
  const { facts } = call;
  const day = utcDay(now);
  const budgets = budgetIdsOf(facts, day).map((id) => moved(budgetOf(rows, facts, id, now), { to: 'refused' }));
  for (const budget of budgets) rows.put('budgets', budget);
  const left = leastRemaining(budgets);
  const known = left === null ? refusal.details : { remaining_usd: microsToUsd(left), ...refusal.details };
  if (!isToBeWritten(rows, call, refusal)) {
    return new Refusal(refusal.code, refusal.message, known, { cause: refusal.cause });
  }
  rows.add('calls', {
    ...newCall(call, now, day),
    state: 'refused',
    code: refusal.code,
    http_status: REFUSALS[refusal.code].status,
    quote_micros: Math.round((refusal.details.needed_usd ?? 0) * 1e6),
    ended_at: now,
  });
  return new Refusal(refusal.code, refusal.message, { ...known, call_id: call.callId }, { cause: refusal.cause });
}

/**
 * Counts the refusal. A client that loops must not fill the disk, but a run's report is made of the rows: beyond the
 * first thousand, the first refusal of each record is written still, unless the record is to be sent again anyway.
 */
function isToBeWritten(rows: Rows, { facts, recordId }: CallFacts, { code }: Refusal): boolean {
  const counted = (id: string): number => {
    const count = (rows.get('refusals', id)?.count ?? 0) + 1;
    rows.put('refusals', { refusal_id: id, count });
    return count;
  };
  const ofCode = `${facts.keyId}/${code}`;
  if (counted(ofCode) <= REFUSAL_ROWS_MAX) return true;
  if (recordId === null || REFUSALS[code].retry) return false;
  const records = `${ofCode}/records`;
  if ((rows.get('refusals', records)?.count ?? 0) >= REFUSED_RECORDS_MAX) return false;
  return counted(`${ofCode}/record/${recordId}`) === 1 && counted(records) > 0;
}

/** A call row with nothing decided yet. */
export function newCall(call: CallFacts, now: number, day: string): CallRow {
  return {
    call_id: call.callId,
    key_id: call.facts.keyId,
    job_id: call.facts.jobId,
    account: call.facts.account,
    method: call.method,
    path: call.path,
    route: call.route,
    record_id: call.recordId,
    idempotency_key: call.idempotencyKey,
    scope: null,
    fingerprint: null,
    budgets: '[]',
    day,
    quote_micros: 0,
    up_to_micros: null,
    replay_of: null,
    workflow_id: call.workflowId,
    activity_id: call.activityId,
    attempt: call.attempt,
    context: call.context,
    created_at: now,
    state: 'held',
    object_id: null,
    vendor_id: null,
    http_status: null,
    code: null,
    cost_micros: null,
    sends: 0,
    epoch: call.epoch,
    send_by: 0,
    ended_at: null,
    answer: null,
    request: null,
    stuck_at: null,
  };
}

/** Why a budget refuses, in numbers, and what would have allowed the call. */
export function budgetRefusal(code: 'cap_exhausted' | 'budget_busy', budget: BudgetRow, quoteMicros: Micros): Refusal {
  const cap = budget.cap_micros ?? 0;
  const { settled_micros: settled, held_micros: held, unknown_micros: unknown } = budget;
  const left = remainingMicros(budget) ?? 0;
  const sums = `settled ${formatUsd(settled)}, held ${formatUsd(held)}, unknown ${formatUsd(unknown)}`;
  const latched = budget.latched === 1 && code === 'cap_exhausted';
  const wayOut =
    code === 'budget_busy'
      ? 'Only money held by calls in flight prevents it: try again.'
      : capThatFits(settled + held + unknown + quoteMicros, cap, latched);
  const message =
    `${code}: needs ${formatUsd(quoteMicros)}, ${formatUsd(left)} left of ${formatUsd(cap)} in ` +
    `${budgetName(budget.budget_id)} (${sums}). ${wayOut}`;
  return new Refusal(code, message, {
    needed_usd: microsToUsd(quoteMicros),
    settled_usd: microsToUsd(settled),
    held_usd: microsToUsd(held),
    unknown_usd: microsToUsd(unknown),
    cap_usd: microsToUsd(cap),
    remaining_usd: microsToUsd(left),
    budget: budgetName(budget.budget_id),
    ...(latched && { latched }),
    ...(code === 'budget_busy' && { retry_after_seconds: 1 }),
  });
}

function capThatFits(needed: Micros, cap: Micros, latched: boolean): string {
  if (!latched) return `A cap of ${formatUsd(needed)} would have allowed it.`;
  const raise = needed > cap ? `to ${formatUsd(needed)}` : `above ${formatUsd(cap)}`;
  return `It is latched, because an earlier call did not fit: raise the cap ${raise}.`;
}

/** Why one call alone is too dear for its key. */
export function perCallRefusal(quote: Micros, max: Micros): Refusal {
  const text = `per_call_cap_exceeded: needs ${formatUsd(quote)}, the key allows ${formatUsd(max)} a call (max_usd_per_call).`;
  return new Refusal('per_call_cap_exceeded', text, { needed_usd: microsToUsd(quote), cap_usd: microsToUsd(max) });
}
