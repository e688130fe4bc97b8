/** The caps of jobs. Each function is one operation of the ledger: pure but for `rows`. */
import { ControlError, formatUsd, type Micros } from '../contract';
import type { Rows, Store } from '../stores/store';
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

const KEYS_A_PAGE = 1_000;

/**
 * A worker may see a job that has a key issued by a worker, and change the cap of one all of whose keys are. Throws
 * {@link ControlError} `forbidden`.
 */
export async function checkWorkerJob(
  store: Pick<Store, 'listKeys'>,
  jobId: string,
  to: 'see' | 'change',
): Promise<void> {
  let after: string | undefined;
  for (;;) {
    const keys = await store.listKeys({ job_id: jobId, after, limit: KEYS_A_PAGE });
    const workers = keys.filter(({ issued_by: issuer }) => issuer === 'worker').length;
    if (to === 'see' && workers > 0) return;
    if (to === 'change' && workers < keys.length) break;
    after = keys.at(-1)?.key_id;
    if (keys.length === KEYS_A_PAGE) continue;
    if (to === 'change') return;
    break;
  }
  const whose = to === 'see' ? 'No key of it' : 'Not every key of it';
  throw new ControlError('forbidden', `${whose} was issued by a worker: job ${jobId} needs KEYBRAKE_API_KEY.`);
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
