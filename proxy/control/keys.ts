/** What can be done with a vault key. Each function is one operation of the ledger: pure but for `rows`. */
import { ControlError, formatUsd, type Micros } from '../contract';
import type { Rows } from '../stores/store';
import type { BudgetRow, KeyRow } from '../stores/tables';
import { withCap } from './jobs';
import { checkWorkerCap, type Role } from './terms';
import { iso, jobBudgetId, ownBudget, stateOf } from './views';

export interface Caller {
  readonly role: Role;
  /** The most that a worker may set as a cap, where the operator has set one. */
  readonly workerMaxMicros: Micros | undefined;
}

/** The key, if the caller may know of it: a worker's are those that were issued by a worker. */
export function keyFor(rows: Rows, { role }: Pick<Caller, 'role'>, keyId: string): KeyRow {
  const key = rows.get('keys', keyId);
  if (key === undefined) throw new ControlError('not_found', `There is no key ${keyId}.`);
  if (role === 'worker' && key.issued_by !== 'worker') {
    throw new ControlError('forbidden', `${keyId} was not issued by a worker: it needs KEYBRAKE_API_KEY.`);
  }
  return key;
}

export interface KeyPatch {
  readonly capMicros: Micros | undefined;
  /** Milliseconds from now. */
  readonly expiresMs: number | undefined;
}

/** Changes the cap that binds the key, or moves its expiry later. A dead key stays dead. */
export function patchKey(rows: Rows, now: number, caller: Caller, keyId: string, patch: KeyPatch): KeyRow {
  const key = alive(rows, now, keyFor(rows, caller, keyId));
  if (patch.capMicros !== undefined) {
    checkWorkerCap(caller.role, patch.capMicros, caller.workerMaxMicros);
    rows.put('budgets', withCap(capped(rows, key, patch.capMicros), patch.capMicros));
  }
  const patched =
    patch.expiresMs === undefined ? key : { ...key, expires_at: laterExpiry(rows, now, key, patch.expiresMs) };
  rows.put('keys', patched);
  rows.event({
    kind: 'key.patched',
    actor: caller.role,
    key_id: keyId,
    job_id: key.job_id,
    data: { cap_micros: patch.capMicros, expires_at: patch.expiresMs && iso(patched.expires_at) },
  });
  return patched;
}

/** The budget whose cap is the key's: its own or, where that has none, its job's. */
function capped(rows: Rows, key: KeyRow, capMicros: Micros): BudgetRow {
  const own = ownBudget(rows, key);
  const job = key.job_id === null ? undefined : rows.get('budgets', jobBudgetId(key.job_id));
  if (job === undefined) return own;
  if (own.cap_micros === null) return job;
  if (job.cap_micros !== null && capMicros > job.cap_micros) {
    const jobCap = `${formatUsd(job.cap_micros)} of job ${key.job_id}`;
    throw new ControlError('conflict', `usd_cap would be above the ${jobCap}: raise the job's cap first.`);
  }
  return own;
}

/** The job that the key follows: whose cap is the key's, and is changed with it. Undefined: it has a cap of its own. */
export function followedJob(rows: Rows, key: KeyRow): string | undefined {
  return (ownBudget(rows, key).cap_micros === null && key.job_id) || undefined;
}

function laterExpiry(rows: Rows, now: number, key: KeyRow, expiresMs: number): number {
  const wanted = now + expiresMs;
  if (wanted <= key.expires_at) {
    throw new ControlError('conflict', `expires_in can only move the expiry later than ${iso(key.expires_at)}.`);
  }
  const parent = key.parent_key_id === null ? undefined : rows.get('keys', key.parent_key_id);
  if (parent === undefined || wanted <= parent.expires_at) return wanted;
  if (parent.expires_at > key.expires_at) return parent.expires_at;
  throw new ControlError('conflict', `The key above, ${parent.key_id}, ends at ${iso(parent.expires_at)}.`);
}

/** Extends the lease. Only what cannot come back is refused: a lapsed lease of this key, or of one above, can. */
export function renewKey(rows: Rows, now: number, caller: Caller, keyId: string): KeyRow {
  const key = keyFor(rows, caller, keyId);
  if (key.lease_ms === null) throw new ControlError('conflict', `${keyId} was issued without a lease.`);
  if (now >= key.expires_at) throw new ControlError('conflict', `${keyId} expired at ${iso(key.expires_at)}.`);
  if (stateOf(rows, now, key).state === 'revoked') throw new ControlError('conflict', `${keyId} is revoked.`);
  const renewed = { ...key, lease_until: Math.min(now + key.lease_ms, key.expires_at) };
  rows.put('keys', renewed);
  rows.event({ kind: 'key.renewed', actor: caller.role, key_id: keyId, job_id: key.job_id });
  return renewed;
}

/** The key whose vault key is handed out again; refused for a dead one. */
export function tokenOf(rows: Rows, now: number, caller: Caller, keyId: string): KeyRow {
  const key = alive(rows, now, keyFor(rows, caller, keyId));
  rows.event({ kind: 'key.token', actor: caller.role, key_id: keyId, job_id: key.job_id });
  return key;
}

/** Revokes the key. Those below die with it, because every call reads all keys above. The first time stays. */
export function revokeKey(rows: Rows, now: number, caller: Caller, keyId: string, reason: string | null) {
  const key = keyFor(rows, caller, keyId);
  const revoked_at = key.revoked_at ?? now;
  if (key.revoked_at === null) rows.put('keys', { ...key, revoked_at, revoke_reason: reason });
  rows.event({
    kind: 'key.revoked',
    actor: caller.role,
    key_id: keyId,
    job_id: key.job_id,
    data: { reason, ...(key.revoked_at !== null && { again: true }) },
  });
  return { key_id: keyId, state: 'revoked' as const, revoked_at: iso(revoked_at) };
}

function alive(rows: Rows, now: number, key: KeyRow): KeyRow {
  const { state } = stateOf(rows, now, key);
  if (state === 'active' || state === 'exhausted') return key;
  const lapsed = key.lease_until !== null && now >= key.lease_until && now < key.expires_at;
  const hint = state === 'expired' && lapsed ? ' Its lease has lapsed: renew it first.' : '';
  throw new ControlError('conflict', `${key.key_id} is ${state}.${hint}`);
}
