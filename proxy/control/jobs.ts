/** The caps of jobs. Each function is one operation of the ledger: pure but for `rows`. */
import { ControlError, formatUsd, type Micros } from '../contract';
import type { Rows } from '../stores/store';
import type { BudgetRow } from '../stores/tables';
import type { Caller } from './keys';
import { checkWorkerCap } from './terms';
import { jobBudgetId } from './views';

/** The running total of a job, over all of its keys, dead ones too. */
export function jobBudget(rows: Rows, jobId: string): BudgetRow {
  const budget = rows.get('budgets', jobBudgetId(jobId));
  if (budget === undefined) throw new ControlError('not_found', `There is no job ${jobId}.`);
  return budget;
}

/** Sets the cap of a job, also when no key of it is alive. */
export function patchJob(rows: Rows, caller: Caller, jobId: string, capMicros: Micros): BudgetRow {
  checkWorkerCap(caller.role, capMicros, caller.workerMaxMicros);
  const budget = withCap(jobBudget(rows, jobId), capMicros);
  rows.put('budgets', budget);
  rows.event({ kind: 'job.patched', actor: caller.role, job_id: jobId, data: { cap_micros: capMicros } });
  return budget;
}

/**
 * The budget with another cap, never below what is spent or may yet be. A rise ends the latch; the same cap again does
 * not, so that a client that repeats its request changes nothing.
 */
export function withCap(budget: BudgetRow, capMicros: Micros): BudgetRow {
  const spent = budget.settled_micros + budget.held_micros + budget.unknown_micros;
  if (capMicros < spent) {
    const { settled_micros: settled, held_micros: held, unknown_micros: unknown } = budget;
    const parts = `settled ${formatUsd(settled)}, held ${formatUsd(held)}, unknown ${formatUsd(unknown)}`;
    throw new ControlError('conflict', `usd_cap is below what is spent: ${formatUsd(spent)} (${parts}).`);
  }
  const rises = budget.cap_micros !== null && capMicros > budget.cap_micros;
  return { ...budget, cap_micros: capMicros, latched: rises ? 0 : budget.latched };
}
