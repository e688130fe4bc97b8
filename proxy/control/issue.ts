/** Issuing a vault key: one operation of the ledger, pure but for `rows`. DESIGN 4, "Jobs own caps" and "Children". */
import { ControlError, type Issue, type Micros } from '../contract';
import { newBudget } from '../ledger/budgets';
import { factsOf, type KeyFacts } from '../ledger/facts';
import type { Rows } from '../stores/store';
import type { BudgetRow, KeyRow } from '../stores/tables';
import { invalidRequest } from './issues';
import type { Caller } from './keys';
import { checkWorkerCap, type Terms } from './terms';
import { iso, jobBudgetId, keyBudgetId, stateOf } from './views';

/** Keys above one key: each of them is read in every commit of a call. */
const ANCESTORS_MAX = 8;

export interface IssueInput {
  readonly caller: Caller;
  /** Made by the caller, because an operation may run twice. */
  readonly keyId: string;
  readonly terms: Terms;
  /** What the body is, to tell a repeated request from another one. */
  readonly fingerprint: string;
  readonly idempotencyKey: string | undefined;
}

/** The new key or, for an idempotency key that was used with this body, the one that it made. */
export function issueKey(rows: Rows, now: number, input: IssueInput): KeyRow {
  const again = issuedBefore(rows, input);
  if (again !== undefined) return again;
  const { terms, caller, keyId } = input;
  checkWorkerCap(caller.role, terms.capMicros, caller.workerMaxMicros);
  const parent = terms.parentKeyId === null ? undefined : liveParent(rows, now, terms.parentKeyId);
  const above = parent && factsOf(parent);
  if (above !== undefined) checkNarrower(terms, above);

  const job = terms.jobId === null ? undefined : jobOf(rows, now, terms.jobId, terms);
  rows.put('budgets', newBudget(keyBudgetId(keyId), ownCap(terms.capMicros, job), now));
  const key = keyRow(now, input, parent, above);
  rows.put('keys', key);
  if (input.idempotencyKey !== undefined) {
    rows.put('issues', { issue_id: issueId(input), key_id: keyId, fingerprint: input.fingerprint });
  }
  rows.event({
    kind: 'key.issued',
    actor: caller.role,
    key_id: keyId,
    job_id: terms.jobId,
    data: {
      label: terms.label,
      parent_key_id: terms.parentKeyId,
      cap_micros: terms.capMicros,
      daily_micros: terms.dailyMicros,
      expires_at: iso(key.expires_at),
    },
  });
  return key;
}

function issuedBefore(rows: Rows, input: IssueInput): KeyRow | undefined {
  if (input.idempotencyKey === undefined) return undefined;
  const issue = rows.get('issues', issueId(input));
  if (issue === undefined) return undefined;
  if (issue.fingerprint !== input.fingerprint) {
    throw new ControlError('conflict', `This Idempotency-Key issued ${issue.key_id} with another body.`);
  }
  rows.event({ kind: 'key.issued_again', actor: input.caller.role, key_id: issue.key_id });
  return rows.get('keys', issue.key_id);
}

/** The roles do not share idempotency keys: a worker must not be given a key that an admin issued. */
function issueId({ caller, idempotencyKey }: IssueInput): string {
  return `${caller.role}/${idempotencyKey}`;
}

/** The key that a body names as `parent_key_id`. */
export function keyAbove(rows: Rows, parentId: string): KeyRow {
  const parent = rows.get('keys', parentId);
  if (parent === undefined) throw invalidRequest([{ path: 'parent_key_id', message: 'there is no such key' }]);
  return parent;
}

function liveParent(rows: Rows, now: number, parentId: string): KeyRow {
  const parent = keyAbove(rows, parentId);
  const { state } = stateOf(rows, now, parent);
  if (state === 'revoked' || state === 'expired')
    throw new ControlError('conflict', `The key above, ${parentId}, is ${state}.`);
  return parent;
}

/** A child can never be wider than the key above. */
function checkNarrower(terms: Terms, above: KeyFacts): void {
  const issues: Issue[] = [];
  const same = (path: string, given: string, theirs: string) => {
    if (given !== theirs) issues.push({ path, message: `the key above has ${theirs}` });
  };
  same('vendor', terms.vendor, above.vendor);
  same('account', terms.account ?? above.account, above.account);
  same('fx', ratesText(terms.fx ?? above.fx), ratesText(above.fx));
  const extra = terms.allowed.filter((route) => !above.allowed.has(route));
  if (extra.length > 0) {
    issues.push({ path: 'allowed_endpoints', message: `the key above does not allow ${extra.join(', ')}` });
  }
  if (above.ancestors.length + 1 > ANCESTORS_MAX) {
    issues.push({ path: 'parent_key_id', message: `at most ${ANCESTORS_MAX} keys may be above one key` });
  }
  if (issues.length > 0) throw invalidRequest(issues);
}

function ratesText(fx: Readonly<Record<string, number>>): string {
  const rates = Object.entries(fx).map(([currency, rate]) => `${currency} ${rate}`);
  return rates.length === 0 ? 'none' : rates.toSorted().join(', ');
}

/** The job's budget. The first issue makes it; a later one never changes it. */
function jobOf(rows: Rows, now: number, jobId: string, terms: Terms): BudgetRow {
  const known = rows.get('budgets', jobBudgetId(jobId));
  if (known?.cap_micros === null && terms.parentKeyId === null) {
    // It began below another key. The caps of keys without one above would each be spent anew.
    const path = `/vault/jobs/${encodeURIComponent(jobId)}`;
    const message = `job ${jobId} has no cap yet, and a key's own is not the job's: PATCH ${path} sets it`;
    throw invalidRequest([{ path: 'usd_cap', message }]);
  }
  if (known !== undefined) return known;
  if (terms.capMicros === null && terms.parentKeyId === null) {
    // A daily cap is the key's: each retry of the job, with a new key, would have the whole of it again.
    const message = `the first key of job ${jobId} gives the job its cap, which a retried run cannot spend twice`;
    throw invalidRequest([{ path: 'usd_cap', message }]);
  }
  const job = newBudget(jobBudgetId(jobId), terms.capMicros, now);
  rows.put('budgets', job);
  return job;
}

/**
 * The cap of the key's own budget. A key of a job has none, and follows the job when that is raised, unless it asks
 * for less than the job ever had and has now.
 */
function ownCap(capMicros: Micros | null, job: BudgetRow | undefined): Micros | null {
  if (job === undefined || capMicros === null) return capMicros;
  const least = Math.min(job.first_cap_micros ?? Infinity, job.cap_micros ?? Infinity);
  return capMicros < least ? capMicros : null;
}

function keyRow(now: number, { keyId, terms, caller }: IssueInput, parent?: KeyRow, above?: KeyFacts): KeyRow {
  const expiresAt = Math.min(now + terms.expiresMs, parent?.expires_at ?? Infinity);
  const own = [keyBudgetId(keyId), ...(terms.jobId === null ? [] : [jobBudgetId(terms.jobId)])];
  const daily = [...(terms.dailyMicros === null ? [] : [[keyId, terms.dailyMicros]]), ...(above?.daily ?? [])];
  return {
    key_id: keyId,
    vendor: terms.vendor,
    account: terms.account ?? above?.account ?? terms.vendor,
    label: terms.label,
    job_id: terms.jobId,
    parent_key_id: terms.parentKeyId,
    ancestors: JSON.stringify(above === undefined ? [] : [above.keyId, ...above.ancestors]),
    budgets: JSON.stringify([...new Set([...own, ...(above?.budgets ?? [])])]),
    daily: JSON.stringify(daily),
    allowed: JSON.stringify(terms.allowed),
    max_call_micros: lower(terms.maxCallMicros, above?.maxCallMicros ?? null),
    fx: JSON.stringify(above?.fx ?? terms.fx ?? {}),
    require_idempotency: terms.requireIdempotency || above?.requireIdempotency === true ? 1 : 0,
    on_cap: terms.onCap,
    lease_ms: terms.leaseMs,
    metadata: JSON.stringify(terms.metadata),
    issued_by: caller.role,
    created_at: now,
    expires_at: expiresAt,
    lease_until: terms.leaseMs === null ? null : Math.min(now + terms.leaseMs, expiresAt),
    revoked_at: null,
    revoke_reason: null,
  };
}

function lower(a: Micros | null, b: Micros | null): Micros | null {
  return a === null || b === null ? (a ?? b) : Math.min(a, b);
}
