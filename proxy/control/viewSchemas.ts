/** What the control plane answers, as zod schemas: for `/openapi.json`, and to type its answers. */
import { z } from '@hono/zod-openapi';
import {
  CALL_STATES,
  type CallView,
  CONTROL_ERRORS,
  type IssuedKey,
  type JobView,
  KEY_STATES,
  type KeyView,
  type Page,
  type RevokedKey,
  type Spend,
  type SummaryView,
} from '../contract';
import { DRIFT_STATES, DRIFT_WHYS, type DriftLine } from '../drift/lines';
import type { VendorView } from '../endpoints';
import { PRUNED_KINDS, type PruneView } from '../retention';

const time = z.iso.datetime();
const amount = z.number();
const counts = <T extends string>(states: readonly T[]) =>
  z.strictObject(Object.fromEntries(states.map((state) => [state, z.int()])) as Record<T, z.ZodInt>);

const spend = z
  .strictObject({
    settled_usd: amount,
    out_usd: amount.openapi({ description: 'Of settled_usd: refunds, payouts and transfers.' }),
    held_usd: amount,
    unknown_usd: amount,
    remaining_usd: amount
      .nullable()
      .openapi({ description: 'What may still be spent now, by every budget that binds.' }),
    calls: counts(CALL_STATES),
  })
  .openapi('Spend') satisfies z.ZodType<Spend>;

const keyShape = {
  key_id: z.string(),
  vendor: z.string(),
  account: z.string(),
  agent_run_label: z.string(),
  job_id: z.string().nullable(),
  parent_key_id: z.string().nullable(),
  usd_cap: amount.nullable(),
  daily_usd_cap: amount.nullable(),
  max_usd_per_call: amount.nullable(),
  allowed_endpoints: z.array(z.string()).readonly(),
  fx: z.record(z.string(), z.number()),
  require_idempotency_key: z.boolean(),
  on_cap: z.enum(['latch', 'refuse']),
  lease_seconds: z.number().nullable(),
  lease_expires_at: time.nullable(),
  metadata: z.record(z.string(), z.string()),
  issued_by: z.enum(['admin', 'worker']),
  created_at: time,
  expires_at: time,
  revoked_at: time.nullable(),
  revoke_reason: z.string().nullable(),
  state: z.enum(KEY_STATES),
  exhausted_by: z.string().nullable(),
  spend,
};

export const keyView = z.strictObject(keyShape).openapi('KeyView') satisfies z.ZodType<KeyView>;

export const issuedKey = z
  .strictObject({ ...keyShape, vault_key: z.string(), base_url: z.string(), account_id: z.string().nullable() })
  .openapi('IssuedKey') satisfies z.ZodType<IssuedKey>;

export const vendorList = z
  .strictObject({
    items: z
      .array(
        z.strictObject({
          vendor: z.string(),
          accounts: z.array(z.string()).readonly(),
          routes: z.array(z.strictObject({ endpoint: z.string(), body: z.enum(['form', 'flat', 'json']) })).readonly(),
        }),
      )
      .readonly(),
  })
  .openapi('VendorList') satisfies z.ZodType<{ readonly items: readonly VendorView[] }>;

export const jobView = z
  .strictObject({ job_id: z.string(), usd_cap: amount.nullable(), exhausted: z.boolean(), created_at: time, spend })
  .openapi('JobView') satisfies z.ZodType<JobView>;

export const revokedKey = z
  .strictObject({ key_id: z.string(), state: z.enum(KEY_STATES), revoked_at: time, in_flight: z.int() })
  .openapi('RevokedKey') satisfies z.ZodType<RevokedKey>;

export const callView = z
  .strictObject({
    call_id: z.string(),
    state: z.enum(CALL_STATES),
    key_id: z.string(),
    job_id: z.string().nullable(),
    agent_run_label: z.string(),
    vendor: z.string(),
    account: z.string(),
    method: z.string(),
    path: z.string(),
    route: z.string().nullable(),
    record_id: z.string().nullable(),
    idempotency_key: z.string().nullable(),
    vendor_id: z.string().nullable(),
    http_status: z.int().nullable(),
    code: z.string().nullable(),
    quote_usd: amount,
    cost_usd: amount.nullable(),
    replay_of: z.string().nullable(),
    sends: z.int(),
    workflow_id: z.string().nullable(),
    activity_id: z.string().nullable(),
    attempt: z.int().nullable(),
    context: z.string().nullable(),
    created_at: time,
    ended_at: time.nullable(),
    stuck_at: time.nullable().openapi({ description: 'Since when an unknown call is left to an operator.' }),
  })
  .openapi('CallView') satisfies z.ZodType<CallView>;

const page = <T extends z.ZodType>(item: T) =>
  z.strictObject({ items: z.array(item).readonly(), next_cursor: z.string().nullable() });

export const keyPage = page(keyView).openapi('KeyPage') satisfies z.ZodType<Page<KeyView>>;
export const callPage = page(callView).openapi('CallPage') satisfies z.ZodType<Page<CallView>>;

export const pruneView = z
  .strictObject({
    ended_before: time,
    dry_run: z.boolean(),
    removed: counts([...PRUNED_KINDS, 'claims']),
    kept_for_live_keys: z.int().openapi({ description: 'Old enough, but of a key that is alive, or of its job.' }),
    next_cursor: z.string().nullable().openapi({ description: 'Go on from here; null: nothing is left.' }),
  })
  .openapi('PruneView') satisfies z.ZodType<PruneView>;

export const summaryView = z
  .strictObject({ label: z.string(), keys: counts(KEY_STATES), spend })
  .openapi('SummaryView') satisfies z.ZodType<SummaryView>;

const ofAccount = { vendor: z.string(), account: z.string() };
const gap = z.strictObject({ reason: z.string(), count: z.int(), ledger_usd: amount });
export const driftLine = z
  .discriminatedUnion('type', [
    z.strictObject({
      type: z.literal('row'),
      why: z.enum(DRIFT_WHYS),
      ...ofAccount,
      vendor_id: z.string().nullable(),
      record_id: z.string().nullable(),
      call_id: z.string().nullable(),
      ledger_usd: amount.nullable(),
      vendor_usd: amount.nullable(),
      detail: z.string(),
    }),
    z.strictObject({
      type: z.literal('total'),
      ...ofAccount,
      state: z.enum(DRIFT_STATES),
      objects: z.int(),
      ledger_usd: amount,
      vendor_usd: amount,
      rows: z.int(),
      gaps: z.array(gap).readonly().openapi({ description: 'What could not be compared, by its reason.' }),
    }),
    z.strictObject({ type: z.literal('progress'), calls: z.int() }),
    z.strictObject({ type: z.literal('end'), state: z.enum(DRIFT_STATES), calls: z.int() }),
  ])
  .openapi('DriftLine') satisfies z.ZodType<DriftLine>;

export const health = z.strictObject({ status: z.literal('ok') });

export const errorBody = z
  .strictObject({
    error: z.strictObject({
      code: z.enum(Object.keys(CONTROL_ERRORS) as (keyof typeof CONTROL_ERRORS)[]),
      message: z.string(),
      issues: z.array(z.strictObject({ path: z.string(), message: z.string() })).readonly(),
    }),
  })
  .openapi('Error');

/** CSV writes these columns, in this order. */
export const CALL_COLUMNS = Object.keys(callView.shape) as readonly (keyof CallView)[];
