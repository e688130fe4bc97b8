/** What a request to issue a key asks for, understood: names normalised, money in micros, times in milliseconds. */
import assert from 'node:assert';
import { createHash } from 'node:crypto';
import { ControlError, formatUsd, type Issue, type IssueKeyBody, type Micros, type VendorId } from '../contract';
import type { ProxyOptions } from '../options';
import { parseAllowlistEntry } from '../reading';
import type { Vendors } from '../vendors';
import { invalidRequest } from './issues';
import { checkedMicros, durationMs } from './schemas';

/** Who calls the control plane. */
export type Role = 'admin' | 'worker';

export interface Terms {
  readonly vendor: VendorId;
  /** Null: the parent's. */
  readonly account: string | null;
  /** Route names as the vendor's table writes them. */
  readonly allowed: readonly string[];
  readonly capMicros: Micros | null;
  readonly dailyMicros: Micros | null;
  readonly maxCallMicros: Micros | null;
  /** Null: the parent's, or none. */
  readonly fx: Readonly<Record<string, number>> | null;
  readonly expiresMs: number;
  readonly leaseMs: number | null;
  readonly label: string;
  readonly jobId: string | null;
  readonly parentKeyId: string | null;
  readonly requireIdempotency: boolean;
  readonly onCap: 'latch' | 'refuse';
  readonly metadata: Readonly<Record<string, string>>;
}

export type Config = Pick<ProxyOptions, 'accounts' | 'fxFloor' | 'workerMaxMicros'> & { readonly vendors: Vendors };

/**
 * Understands a body whose shape was checked, with the vendor of the key above where it names none itself. Throws
 * {@link ControlError} with every {@link termsIssues}.
 */
export function understand(body: IssueKeyBody, config: Config): Terms {
  const issues = termsIssues(body, config);
  if (issues.length > 0) throw invalidRequest(issues);
  const { vendor } = body;
  assert(vendor !== undefined, 'a vendor that was not checked');
  return {
    vendor,
    account: body.account ?? (body.parent_key_id === undefined ? vendor : null),
    allowed: [...new Set(body.allowed_endpoints.map((entry) => routeName(config.vendors, vendor, entry)))],
    capMicros: microsOrNull(body.usd_cap),
    dailyMicros: microsOrNull(body.daily_usd_cap),
    maxCallMicros: microsOrNull(body.max_usd_per_call),
    fx: body.fx ?? null,
    expiresMs: durationMs(body.expires_in),
    leaseMs: body.lease === undefined ? null : durationMs(body.lease),
    label: body.agent_run_label,
    jobId: body.job_id ?? null,
    parentKeyId: body.parent_key_id ?? null,
    requireIdempotency: body.require_idempotency_key ?? false,
    onCap: body.on_cap ?? 'latch',
    metadata: body.metadata ?? {},
  };
}

/**
 * What the vendor's table and the operator's configuration have against a body. Takes a part of one, so that a request
 * with a field of the wrong shape still hears about all the others.
 */
export function termsIssues(body: Partial<IssueKeyBody>, config: Config): readonly Issue[] {
  return [
    ...capIssues(body),
    ...vendorIssues(body, config),
    ...accountIssues(body, config),
    ...endpointIssues(body, config),
    ...fxIssues(body.fx ?? {}, config.fxFloor ?? {}),
  ];
}

function capIssues({ usd_cap: cap, daily_usd_cap: daily, parent_key_id: parent }: Partial<IssueKeyBody>): Issue[] {
  if (cap !== undefined || daily !== undefined || parent !== undefined) return [];
  return [
    { path: 'usd_cap', message: 'give usd_cap, daily_usd_cap or both (only a key with parent_key_id needs none)' },
  ];
}

function vendorIssues({ vendor, parent_key_id: parent }: Partial<IssueKeyBody>, { vendors }: Config): Issue[] {
  if (vendor === undefined) {
    return parent === undefined
      ? [{ path: 'vendor', message: 'required (only a key with parent_key_id needs none)' }]
      : [];
  }
  if (vendors.has(vendor)) return [];
  return [{ path: 'vendor', message: `must be one of ${[...vendors.keys()].join(', ')}` }];
}

function accountIssues(
  { vendor, account, parent_key_id: parent }: Partial<IssueKeyBody>,
  { accounts, vendors }: Config,
): Issue[] {
  if (vendor === undefined || !vendors.has(vendor) || (account === undefined && parent !== undefined)) return [];
  const name = account ?? vendor;
  if (Object.hasOwn(accounts, name) && accounts[name]?.vendor === vendor) return [];
  const names = Object.keys(accounts).filter((known) => accounts[known]?.vendor === vendor);
  const configured = names.length === 0 ? `none is configured for ${vendor}` : `configured are ${names.join(', ')}`;
  return [{ path: 'account', message: `there is no ${vendor} account ${JSON.stringify(name)}; ${configured}` }];
}

function endpointIssues(
  { vendor: id, allowed_endpoints: entries }: Partial<IssueKeyBody>,
  { vendors }: Config,
): Issue[] {
  const vendor = id === undefined ? undefined : vendors.get(id);
  if (vendor === undefined || entries === undefined) return [];
  return entries.flatMap((entry, i) => {
    const parsed = parseAllowlistEntry(vendor, entry);
    if (parsed.ok) return [];
    const nearest = parsed.nearest === undefined ? '' : `; the nearest is ${JSON.stringify(parsed.nearest)}`;
    return [{ path: `allowed_endpoints.${i}`, message: `no route of ${vendor.id}${nearest}` }];
  });
}

function routeName(vendors: Vendors, id: VendorId, entry: string): string {
  const vendor = vendors.get(id);
  const parsed = vendor && parseAllowlistEntry(vendor, entry);
  return parsed?.ok === true ? parsed.name : entry;
}

function fxIssues(fx: Readonly<Record<string, number>>, floor: Readonly<Record<string, number>>): Issue[] {
  return Object.entries(fx).flatMap(([currency, rate]) => {
    const least = floor[currency] ?? 0;
    return rate >= least ? [] : [{ path: `fx.${currency}`, message: `below the operator's floor of ${least}` }];
  });
}

/** Throws `forbidden` when a worker asks for more than `KEYBRAKE_WORKER_MAX_USD`, or for no cap at all. */
export function checkWorkerCap(role: Role, capMicros: Micros | null, maxMicros: Micros | undefined): void {
  if (role !== 'worker' || maxMicros === undefined || (capMicros !== null && capMicros <= maxMicros)) return;
  const message = `A worker must give a usd_cap of at most ${formatUsd(maxMicros)} (KEYBRAKE_WORKER_MAX_USD).`;
  throw new ControlError('forbidden', message, [{ path: 'usd_cap', message: `at most ${formatUsd(maxMicros)}` }]);
}

/** One text for all bodies that are the same JSON, whatever the order of their fields. */
export function fingerprintOf(body: unknown): string {
  return createHash('sha256')
    .update(JSON.stringify(sorted(body)))
    .digest('hex');
}

function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (typeof value !== 'object' || value === null) return value;
  return Object.entries(value)
    .toSorted(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, inner]) => [name, sorted(inner)]);
}

function microsOrNull(usd: number | undefined): Micros | null {
  return usd === undefined ? null : checkedMicros(usd);
}
