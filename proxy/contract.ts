/**
 * The words that every folder shares: money, states, refusal codes, header names and the JSON of the control plane.
 * It imports only what imports nothing, so it is safe inside the workflow sandbox.
 */

/** An amount of money in millionths of a US dollar. Always a safe integer, never a float. */
export type Micros = number;

export const MICROS_PER_USD = 1_000_000;
/** The largest cap: 1e9 dollars, so that sums of micro-dollars stay safe integers. */
export const CAP_USD_MAX = 1_000_000_000;

/**
 * Reads a number of US dollars as micro-dollars. Answers undefined for anything but a finite, non-negative number
 * of at most {@link CAP_USD_MAX} dollars with at most six decimals.
 */
export function usdToMicros(usd: unknown): Micros | undefined {
  if (typeof usd !== 'number' || !Number.isFinite(usd) || usd < 0 || usd > CAP_USD_MAX) return undefined;
  // The shortest decimal text of a double is what its writer meant; 1e-7 is written with an exponent.
  const match = /^(\d+)(?:\.(\d{1,6}))?$/.exec(
    usd < 1e-6 && usd > 0 ? usd.toFixed(20).replace(/0+$/, '') : String(usd),
  );
  if (match === null) return undefined;
  return Number(match[1]) * MICROS_PER_USD + Number((match[2] ?? '').padEnd(6, '0'));
}

/** Micro-dollars as a JSON number of US dollars with at most six decimals. */
export function microsToUsd(micros: Micros): number {
  return micros / MICROS_PER_USD;
}

/** Micro-dollars as text for people, `$4.20`; more decimals only where there are any. */
export function formatUsd(micros: Micros): string {
  const sign = micros < 0 ? '-' : '';
  const [whole, decimals = ''] = (Math.abs(micros) / MICROS_PER_USD).toFixed(6).split('.');
  return `${sign}$${whole}.${decimals.replace(/0+$/, '').padEnd(2, '0')}`;
}

/** The vendors with a route table of their own. */
export const VENDOR_IDS = ['stripe', 'twilio', 'resend'] as const;
export type BuiltInVendorId = (typeof VENDOR_IDS)[number];
/** One of {@link VENDOR_IDS}, or a vendor that the operator describes in `keybrake.yaml`. */
export type VendorId = string;
/** How a vendor may be named. */
export const VENDOR_NAME = /^[a-z][a-z0-9_-]{0,31}$/;

/** States of a call: DESIGN 5.1. `refused` and `replayed` are audit rows that hold no money. */
export const CALL_STATES = ['held', 'settled', 'released', 'unknown', 'refused', 'replayed'] as const;
export type CallState = (typeof CALL_STATES)[number];

export const KEY_STATES = ['active', 'exhausted', 'revoked', 'expired'] as const;
export type KeyState = (typeof KEY_STATES)[number];

interface RefusalSpec {
  readonly status: number;
  /** May the same call succeed later? Decides `Stripe-Should-Retry` and whether a Temporal failure is retryable. */
  readonly retry: boolean;
  /** What the caller reads in the README's table. */
  readonly meaning: string;
}

/**
 * Every way in which the data plane refuses a call, in order of precedence: when two apply, the first listed wins.
 * The README's error table is printed from these rows by a test.
 */
// prettier-ignore
export const REFUSALS = {
  key_invalid:            { status: 401, retry: false, meaning: 'No vault key, or one that was never issued here.' },
  key_revoked:            { status: 401, retry: false, meaning: 'The key, or a key above it, was revoked.' },
  key_expired:            { status: 401, retry: false, meaning: 'The time to live or the lease of the key, or of a key above it, has ended.' },
  payload_too_large:      { status: 413, retry: false, meaning: 'The body is larger than the proxy reads.' },
  account_not_allowed:    { status: 403, retry: false, meaning: 'The call names another account than the key\'s.' },
  endpoint_forbidden:     { status: 403, retry: false, meaning: 'The route hands out secrets or controls the account: never allowed.' },
  endpoint_unpriced:      { status: 403, retry: false, meaning: 'The most that this route can cost is not known, so it cannot be held.' },
  endpoint_not_allowed:   { status: 403, retry: false, meaning: 'The route is not on the key\'s allowlist.' },
  request_unpriceable:    { status: 400, retry: false, meaning: 'The request can be read in more than one way, or its amount is odd.' },
  parameter_not_allowed:  { status: 403, retry: false, meaning: 'A parameter or header would move money elsewhere.' },
  currency_not_allowed:   { status: 403, retry: false, meaning: 'The currency is not USD and the key has no rate for it.' },
  idempotency_key_required: { status: 400, retry: false, meaning: 'The key demands an Idempotency-Key on paid calls.' },
  per_call_cap_exceeded:  { status: 403, retry: false, meaning: 'This one call is above the key\'s max_usd_per_call.' },
  idempotency_mismatch:   { status: 400, retry: false, meaning: 'The idempotency key was used for another request. As the code of a record: an earlier run of the job executed its id with other parameters.' },
  idempotency_in_progress: { status: 409, retry: true, meaning: 'The first call with this idempotency key has not ended yet.' },
  already_executed:       { status: 409, retry: false, meaning: 'The call was executed long ago and its stored answer is gone.' },
  cap_exhausted:          { status: 429, retry: false, meaning: 'Settled and unknown money plus this call is above the cap.' },
  budget_busy:            { status: 429, retry: true,  meaning: 'Only holds now in flight prevent the call; none came back in time.' },
  rate_limited:           { status: 429, retry: true,  meaning: 'The proxy paces calls to this vendor account.' },
  upstream_unreachable:   { status: 503, retry: true,  meaning: 'The vendor could not be reached; nothing was sent, the hold is released.' },
  outcome_unknown:        { status: 504, retry: true,  meaning: 'The call was sent and no clear answer came; the money stays held.' },
  store_unavailable:      { status: 503, retry: true,  meaning: 'The ledger cannot be written, so no call goes out.' },
} as const satisfies Record<string, RefusalSpec>;

export type RefusalCode = keyof typeof REFUSALS;

export function isRefusalCode(code: unknown): code is RefusalCode {
  return typeof code === 'string' && Object.hasOwn(REFUSALS, code);
}

/** Refusals after which every later call of the same key fails too: a run stops at the first of them. */
export const TERMINAL_REFUSALS = [
  'key_invalid',
  'key_revoked',
  'key_expired',
  'cap_exhausted',
] as const satisfies readonly RefusalCode[];
export type TerminalRefusal = (typeof TERMINAL_REFUSALS)[number];

export function isTerminalRefusal(code: unknown): code is TerminalRefusal {
  return (TERMINAL_REFUSALS as readonly unknown[]).includes(code);
}

/** The facts behind a refusal, as JSON beside the message: `error.keybrake` in a Stripe-shaped body. */
export interface RefusalDetails {
  readonly call_id?: string;
  readonly key_id?: string;
  readonly needed_usd?: number;
  readonly settled_usd?: number;
  readonly held_usd?: number;
  readonly unknown_usd?: number;
  readonly cap_usd?: number;
  readonly remaining_usd?: number;
  /** Which budget refused: `key`, `day` or `job`, and whose. */
  readonly budget?: string;
  /** It is closed since a call did not fit, until its cap is raised. */
  readonly latched?: boolean;
  readonly attempted?: string;
  readonly allowed_endpoints?: readonly string[];
  readonly nearest?: string;
  readonly field?: string;
  readonly retry_after_seconds?: number;
  /** False where the code is worth a retry, but this call must not be sent again: it could be executed twice. */
  readonly may_retry?: false;
  readonly prior_call?: { readonly call_id: string; readonly state: CallState; readonly vendor_id: string | null };
}

/** A refusal of the data plane. `message` is safe for the caller; `cause` is for the operator only. */
export class Refusal extends Error {
  override readonly name = 'Refusal';
  readonly code: RefusalCode;
  readonly details: RefusalDetails;

  constructor(code: RefusalCode, message: string, details: RefusalDetails = {}, options?: { cause?: unknown }) {
    super(message, options);
    this.code = code;
    this.details = details;
  }
}

export * from './controlErrors';

/** Header names of the data plane, in lower case as node:http gives them. Context headers never reach the vendor. */
export const HEADERS = {
  recordId: 'keybrake-record-id',
  workflowId: 'keybrake-workflow-id',
  activityId: 'keybrake-activity-id',
  attempt: 'keybrake-attempt',
  context: 'keybrake-context',
  callId: 'keybrake-call-id',
  /** The code of a refusal, whatever the vendor's error shape makes of it. Only the proxy sets it. */
  code: 'keybrake-code',
  remainingUsd: 'keybrake-remaining-usd',
  requestId: 'request-id',
  idempotencyKey: 'idempotency-key',
  replayed: 'idempotent-replayed',
  shouldRetry: 'stripe-should-retry',
} as const;

/** Body of `POST /vault/keys`, DESIGN 4. Dollars are numbers with at most six decimals. */
export interface IssueKeyBody {
  /** Required, but for a key with `parent_key_id`, which has the vendor of that one. */
  readonly vendor?: VendorId;
  readonly usd_cap?: number;
  readonly daily_usd_cap?: number;
  readonly allowed_endpoints: readonly string[];
  /** `"4h"` or seconds. */
  readonly expires_in: string | number;
  readonly agent_run_label: string;
  readonly job_id?: string;
  readonly account?: string;
  readonly max_usd_per_call?: number;
  readonly parent_key_id?: string;
  readonly fx?: Readonly<Record<string, number>>;
  readonly require_idempotency_key?: boolean;
  readonly lease?: string | number;
  readonly on_cap?: 'latch' | 'refuse';
  readonly metadata?: Readonly<Record<string, string>>;
}

/** Spend and counts of a key, a job or a label. All `_usd` are US dollars. */
export interface Spend {
  readonly settled_usd: number;
  /** Of `settled_usd`: refunds, payouts and transfers. */
  readonly out_usd: number;
  readonly held_usd: number;
  readonly unknown_usd: number;
  /** Cap less settled, held and unknown; never below zero; null where there is no cap. */
  readonly remaining_usd: number | null;
  readonly calls: Readonly<Record<CallState, number>>;
}

/** `GET /vault/keys/{key_id}`. Times are ISO 8601. */
export interface KeyView {
  readonly key_id: string;
  readonly vendor: VendorId;
  readonly account: string;
  readonly agent_run_label: string;
  readonly job_id: string | null;
  readonly parent_key_id: string | null;
  /** The life cap that binds this key: its own or, where it follows its job, the job's. */
  readonly usd_cap: number | null;
  readonly daily_usd_cap: number | null;
  readonly max_usd_per_call: number | null;
  readonly allowed_endpoints: readonly string[];
  readonly fx: Readonly<Record<string, number>>;
  readonly require_idempotency_key: boolean;
  readonly on_cap: 'latch' | 'refuse';
  readonly lease_seconds: number | null;
  readonly lease_expires_at: string | null;
  readonly metadata: Readonly<Record<string, string>>;
  readonly issued_by: 'admin' | 'worker';
  readonly created_at: string;
  readonly expires_at: string;
  readonly revoked_at: string | null;
  readonly revoke_reason: string | null;
  readonly state: KeyState;
  /** The budget that is latched, e.g. `job billing-2026-11-24`; null while none is. */
  readonly exhausted_by: string | null;
  readonly spend: Spend;
}

/** 201 answer of `POST /vault/keys` and of `POST /vault/keys/{key_id}/token`. */
export interface IssuedKey extends KeyView {
  readonly vault_key: string;
  /** Where the vendor's SDK is pointed to, e.g. `http://127.0.0.1:8787/stripe`. */
  readonly base_url: string;
  /** The vendor's own id of the account, where its paths carry one: Twilio's `AC…`. No secret. */
  readonly account_id: string | null;
}

/** `GET /vault/jobs/{job_id}`. */
export interface JobView {
  readonly job_id: string;
  readonly usd_cap: number | null;
  readonly exhausted: boolean;
  readonly created_at: string;
  readonly spend: Spend;
}

/** `DELETE /vault/keys/{key_id}`. `in_flight`: calls sent before the revocation that have not ended. */
export interface RevokedKey {
  readonly key_id: string;
  readonly state: KeyState;
  readonly revoked_at: string;
  readonly in_flight: number;
}

/** A row of the audit log, `GET /vault/calls`. */
export interface CallView {
  readonly call_id: string;
  readonly state: CallState;
  readonly key_id: string;
  readonly job_id: string | null;
  readonly agent_run_label: string;
  readonly vendor: VendorId;
  readonly account: string;
  readonly method: string;
  readonly path: string;
  readonly route: string | null;
  readonly record_id: string | null;
  readonly idempotency_key: string | null;
  readonly vendor_id: string | null;
  /** The vendor's HTTP status, or the refusal's. */
  readonly http_status: number | null;
  /** Refusal code of a refused call, the vendor's error code of a declined one. */
  readonly code: string | null;
  readonly quote_usd: number;
  /** What the call changed the spend by; null until it has settled. */
  readonly cost_usd: number | null;
  /** The call that a `replayed` row was answered from. */
  readonly replay_of: string | null;
  /** How often the call was sent to the vendor. */
  readonly sends: number;
  readonly workflow_id: string | null;
  readonly activity_id: string | null;
  readonly attempt: number | null;
  readonly context: string | null;
  readonly created_at: string;
  readonly ended_at: string | null;
  /** Of an unknown call: since when it is left to an operator; null while the proxy still tries to find out. */
  readonly stuck_at: string | null;
}

export interface Page<T> {
  readonly items: readonly T[];
  readonly next_cursor: string | null;
}

/** `GET /vault/summary?label=`. */
export interface SummaryView {
  readonly label: string;
  readonly keys: Readonly<Record<KeyState, number>>;
  readonly spend: Spend;
}

/** Body of `POST /vault/calls/{call_id}/resolve`. */
export type ResolveBody =
  { readonly outcome: 'settled'; readonly usd: number; readonly vendor_id?: string } | { readonly outcome: 'released' };
