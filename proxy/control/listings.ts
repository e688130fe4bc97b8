/** Listings over many keys: a page of keys, and the summary of a run label. */
import {
  CALL_STATES,
  type CallState,
  type KeyState,
  type KeyView,
  type Micros,
  type Page,
  type SummaryView,
} from '../contract';
import { newBudget, remainingMicros } from '../ledger/budgets';
import type { Rows, Store } from '../stores/store';
import type { BudgetRow, KeyRow } from '../stores/tables';
import type { Role } from './terms';
import { jobBudgetId, keyView, noKeys, ownBudget, spendOf, stateOf } from './views';

/** Keys that one request may look through; a filter by state may answer a short page and go on from its cursor. */
const SCAN_MAX = 10_000;
/** Keys that one commit looks at, because vendor calls wait for it meanwhile. */
const SCAN_PAGE = 200;

/** What listings need of the ledger. */
export interface Reader {
  submit<T>(operation: (rows: Rows, now: number) => T): Promise<T>;
  readonly store: Store;
}

export interface KeysQuery {
  readonly label?: string;
  readonly job_id?: string;
  readonly state?: KeyState;
  readonly cursor?: string;
  readonly limit?: number;
}

/** Keys, newest first. A state is not stored but follows from clock, latches and keys above: it is filtered here. */
export async function listKeys(
  ledger: Reader,
  { label, job_id, state, cursor, limit = 100 }: KeysQuery,
): Promise<Page<KeyView>> {
  const items: KeyView[] = [];
  const pageSize = state === undefined ? Math.min(limit + 1, SCAN_PAGE) : SCAN_PAGE;
  let after = cursor;
  for (let scanned = 0; scanned < SCAN_MAX; scanned += pageSize) {
    const keys = await ledger.store.listKeys({ label, job_id, after, limit: pageSize });
    const views = await ledger.submit((rows, now) => keys.map((key) => keyView(rows, now, key)));
    for (const view of views) {
      if (items.length === limit) return { items, next_cursor: after ?? null };
      if (state === undefined || view.state === state) items.push(view);
      after = view.key_id;
    }
    if (keys.length < pageSize) return { items, next_cursor: null };
  }
  return { items, next_cursor: after ?? null };
}

/**
 * Spend and counts of a run label over all its keys, dead ones too. A key below another one of the label is counted
 * by state only: its spend is in the budget of the key above. `remaining_usd` is what its live keys may still spend.
 */
export async function summary(ledger: Reader, role: Role, label: string): Promise<SummaryView> {
  const keys = noKeys();
  let spend = newBudget(`label:${label}`, null, 0);
  // By the budget that owns the cap, because keys of one job share it.
  const left = new Map<string, Micros | null>();
  let after: string | undefined;
  for (;;) {
    const page = await ledger.store.listKeys({ label, after, limit: SCAN_PAGE });
    const visible = page.filter((key) => isVisible(role, key));
    const standings = await ledger.submit((rows, now) => visible.map((key) => standingOf(rows, now, role, key)));
    for (const { state, counted, owner } of standings) {
      keys[state] += 1;
      if (counted !== undefined) spend = sumOf(spend, counted);
      if (owner !== undefined) left.set(owner.budget_id, remainingMicros(owner));
    }
    after = page.at(-1)?.key_id;
    if (page.length < SCAN_PAGE) break;
  }
  return { label, keys, spend: spendOf(spend, totalLeft([...left.values()])) };
}

interface Standing {
  readonly state: KeyState;
  /** What the key spent; absent where a key above it, with the same label, counts it. */
  readonly counted?: BudgetRow;
  /** The budget with the cap of a live key. */
  readonly owner?: BudgetRow;
}

function standingOf(rows: Rows, now: number, role: Role, key: KeyRow): Standing {
  const { state } = stateOf(rows, now, key);
  if (isCountedAbove(rows, role, key)) return { state };
  const counted = ownBudget(rows, key);
  const live = state === 'active' || state === 'exhausted';
  return { state, counted, ...(live && { owner: capOwner(rows, key, counted) }) };
}

function totalLeft(left: readonly (Micros | null)[]): Micros | null {
  return left.reduce<Micros | null>((sum, micros) => (sum === null || micros === null ? null : sum + micros), 0);
}

function isVisible(role: Role, key: KeyRow): boolean {
  return role === 'admin' || key.issued_by === 'worker';
}

function isCountedAbove(rows: Rows, role: Role, key: KeyRow): boolean {
  const ancestors = JSON.parse(key.ancestors) as string[];
  return ancestors.some((id) => {
    const above = rows.get('keys', id);
    return above !== undefined && above.label === key.label && isVisible(role, above);
  });
}

function capOwner(rows: Rows, key: KeyRow, own: BudgetRow): BudgetRow {
  if (own.cap_micros !== null || key.job_id === null) return own;
  return rows.get('budgets', jobBudgetId(key.job_id)) ?? own;
}

function sumOf(sum: BudgetRow, budget: BudgetRow): BudgetRow {
  const counts = Object.fromEntries(
    CALL_STATES.map((state) => [`n_${state}`, sum[`n_${state}`] + budget[`n_${state}`]]),
  );
  return {
    ...sum,
    ...(counts as Record<`n_${CallState}`, number>),
    settled_micros: sum.settled_micros + budget.settled_micros,
    out_micros: sum.out_micros + budget.out_micros,
    held_micros: sum.held_micros + budget.held_micros,
    unknown_micros: sum.unknown_micros + budget.unknown_micros,
  };
}
