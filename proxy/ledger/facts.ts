import type { Micros, RefusalCode, VendorId } from '../contract';
import type { Rows } from '../stores/store';
import type { KeyRow } from '../stores/tables';

/** What never changes about a vault key, parsed once. Whether it is alive is read in every commit. */
export interface KeyFacts {
  readonly keyId: string;
  readonly vendor: VendorId;
  readonly account: string;
  readonly jobId: string | null;
  readonly label: string;
  readonly ancestors: readonly string[];
  readonly budgets: readonly string[];
  readonly daily: readonly (readonly [keyId: string, capMicros: Micros])[];
  readonly allowed: ReadonlySet<string>;
  readonly maxCallMicros: Micros | null;
  readonly fx: Readonly<Record<string, number>>;
  readonly requireIdempotency: boolean;
  readonly onCap: 'latch' | 'refuse';
}

export function factsOf(row: KeyRow): KeyFacts {
  return {
    keyId: row.key_id,
    vendor: row.vendor,
    account: row.account,
    jobId: row.job_id,
    label: row.label,
    ancestors: JSON.parse(row.ancestors) as string[],
    budgets: JSON.parse(row.budgets) as string[],
    daily: JSON.parse(row.daily) as [string, number][],
    allowed: new Set(JSON.parse(row.allowed) as string[]),
    maxCallMicros: row.max_call_micros,
    fx: JSON.parse(row.fx) as Record<string, number>,
    requireIdempotency: row.require_idempotency === 1,
    onCap: row.on_cap,
  };
}

export type DeadCode = Extract<RefusalCode, 'key_invalid' | 'key_revoked' | 'key_expired'>;

/** Alive until a time, in milliseconds, unless it is revoked before; or why the key may not be used now. */
export type Life = { readonly dead?: undefined; readonly until: number } | { readonly dead: DeadCode };

/** Is the key alive now, and every key above it? Reads revocation, expiry and lease from the rows. */
export function lifeOf(rows: Rows, now: number, keyId: string, ancestors: readonly string[]): Life {
  let until = Infinity;
  for (const id of [keyId, ...ancestors]) {
    const row = rows.get('keys', id);
    if (row === undefined) return { dead: 'key_invalid' };
    if (row.revoked_at !== null) return { dead: 'key_revoked' };
    until = Math.min(until, row.expires_at, row.lease_until ?? Infinity);
  }
  return now >= until ? { dead: 'key_expired' } : { until };
}
