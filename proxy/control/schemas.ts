/**
 * What the control plane reads, as zod schemas. They check requests and make `/openapi.json`; `satisfies` keeps them
 * and the types of `contract.ts` the same. Objects are strict: a misspelt `usd_cap` that was ignored would be a key
 * without a cap.
 */
import assert from 'node:assert';
import { z } from '@hono/zod-openapi';
import ms from 'ms';
import {
  CALL_STATES,
  CAP_USD_MAX,
  type IssueKeyBody,
  KEY_STATES,
  type Micros,
  type ResolveBody,
  usdToMicros,
  VENDOR_NAME,
} from '../contract';
import { PRUNED_KINDS } from '../retention';
import { unknownFields } from './issues';

const DAY_MS = 86_400_000;
const EXPIRES_MS_MAX = 90 * DAY_MS;
const LEASE_MS_MIN = 10_000;
export const ENDPOINTS_MAX = 200;
const CURRENCIES_MAX = 50;
const METADATA_MAX = 50;
const LIMIT_MAX = 1_000;

/** A duration as the API takes it, `"4h"` or seconds, in milliseconds; undefined when it is neither. */
function readDuration(value: unknown): number | undefined {
  if (typeof value === 'number') return Math.round(value * 1_000);
  // A text without a unit would be milliseconds to `ms`, and seconds to everybody else.
  if (typeof value !== 'string' || !/^\d{1,9}(\.\d{1,3})? ?[a-z]{1,12}$/i.test(value)) return undefined;
  const milliseconds = ms(value as ms.StringValue);
  return Number.isFinite(milliseconds) ? Math.round(milliseconds) : undefined;
}

/** Milliseconds of a duration that a schema has checked. */
export function durationMs(value: string | number): number {
  const milliseconds = readDuration(value);
  assert(milliseconds !== undefined, 'a duration that was not checked');
  return milliseconds;
}

/** Micro-dollars of an amount that a schema has checked. */
export function checkedMicros(usd: number): Micros {
  const micros = usdToMicros(usd);
  assert(micros !== undefined, 'an amount that was not checked');
  return micros;
}

/** JSON has no undefined: an optional field is absent or right. (zod-to-openapi takes `exactOptional` for required.) */
const optional = <T extends z.ZodType>(schema: T) => schema.optional() as unknown as z.ZodExactOptional<T>;

/** An object whose unknown fields are issues that name the nearest known one. */
const strict = <T extends z.ZodRawShape>(shape: T) =>
  z.strictObject(shape, {
    error: (issue) => (issue.code === 'unrecognized_keys' ? unknownFields(issue.keys, Object.keys(shape)) : undefined),
  });

/** Of calls that take no fields. */
export const noBody = z.strictObject(
  {},
  {
    error: ({ code, keys }) =>
      code === 'unrecognized_keys'
        ? (keys as readonly string[]).map(() => 'unknown field; this call takes none').join('\n')
        : 'This call takes no body, or an empty object.',
  },
);

const usd = (description: string) =>
  z
    .number()
    .refine((value) => usdToMicros(value) !== undefined, {
      error: `US dollars from 0 to ${CAP_USD_MAX}, at most six decimals`,
    })
    .openapi({ description, minimum: 0, maximum: CAP_USD_MAX, example: 500 });

const DURATION = 'seconds as a number, or a text with its unit such as "4h" or "30m"';
const duration = (description: string, minMs: number, range: string) =>
  z
    .union([z.string(), z.number()], { error: `${DURATION}; ${range}` })
    .refine((value) => inRange(readDuration(value), minMs), {
      error: `${DURATION}; ${range}`,
    })
    .openapi({ description: `${description} Seconds, or text with a unit; ${range}.`, example: '4h' });

function inRange(milliseconds: number | undefined, minMs: number): boolean {
  return milliseconds !== undefined && milliseconds >= minMs && milliseconds <= EXPIRES_MS_MAX;
}

const UNPRINTABLE = '\\p{Cc}\\p{Cs}\\p{Zl}\\p{Zp}';
const PRINTABLE = new RegExp(`^[^${UNPRINTABLE}]*$`, 'u');
const UNPRINTABLES = new RegExp(`[${UNPRINTABLE}]+`, 'gu');

/** Text without control characters, lone surrogates and line separators, so that logs and CSV stay one line a row. */
const text = (charsMax: number, description: string) =>
  z
    .string()
    .min(1)
    .max(charsMax)
    .refine((value) => PRINTABLE.test(value), { error: 'printable characters only' })
    .openapi({ description, pattern: PRINTABLE.source });

const REASON_CHARACTERS_MAX = 500;

function oneLine(words: string): string | null {
  const kept = words.replace(UNPRINTABLES, ' ').trim();
  return kept === '' ? null : Array.from(kept).slice(0, REASON_CHARACTERS_MAX).join('');
}

const expiresIn = duration('Time to live, counted from now.', 1_000, '1 second to 90 days');
const usdCap = usd('The most that may be spent in the life of the key, or of its job.');

export const issueKeyBody = strict({
  vendor: optional(
    z.string().regex(VENDOR_NAME, { error: 'the name of a vendor, e.g. stripe' }).openapi({
      description: 'stripe, twilio, resend, or a vendor of your own. With parent_key_id: by default the one above.',
      example: 'stripe',
    }),
  ),
  usd_cap: optional(usdCap),
  daily_usd_cap: optional(usd('The most that may be spent per UTC day; holds count on the day they were reserved.')),
  allowed_endpoints: z
    .array(z.string().min(1).max(300))
    .min(1)
    .max(ENDPOINTS_MAX)
    .openapi({ description: "Routes of the vendor's table.", example: ['POST /v1/payment_intents'] }),
  expires_in: expiresIn,
  agent_run_label: text(200, 'The run label: names the run in listings and in the audit log.'),
  job_id: optional(
    text(200, 'What must not be done twice: owns the cap, over all keys that are issued for it.')
      // Every client takes such a segment out of /vault/jobs/{job_id}.
      .refine((id) => id !== '.' && id !== '..', { error: 'a name other than . and ..' }),
  ),
  account: optional(text(100, 'Name of a configured vendor account; by default the one named after the vendor.')),
  max_usd_per_call: optional(usd('The most that one call may cost.')),
  parent_key_id: optional(text(64, 'A key above: calls must fit its budgets too, and end with it.')),
  fx: optional(
    z
      .record(
        z.string().regex(/^(?!usd$)[a-z]{3}$/, { error: 'a lower-case currency code other than usd' }),
        z.number().positive().max(1_000_000),
      )
      .refine((rates) => Object.keys(rates).length <= CURRENCIES_MAX, { error: `at most ${CURRENCIES_MAX} currencies` })
      .openapi({ description: 'US dollars per unit of other currencies.', example: { eur: 1.2 } }),
  ),
  require_idempotency_key: optional(
    z.boolean().openapi({
      description: 'Refuse paid calls without the header Idempotency-Key; Keybrake-Record-Id will not do.',
    }),
  ),
  lease: optional(duration('The key ends when it is not renewed for so long.', LEASE_MS_MIN, '10 seconds to 90 days')),
  on_cap: optional(
    z.enum(['latch', 'refuse']).openapi({
      description:
        'After the first call above the cap: refuse all new priced calls (latch, default), or only those above it.',
    }),
  ),
  metadata: optional(
    z
      .record(z.string().min(1).max(100), z.string().max(500))
      .refine((entries) => Object.keys(entries).length <= METADATA_MAX, { error: `at most ${METADATA_MAX} entries` }),
  ),
}).openapi('IssueKeyBody') satisfies z.ZodType<IssueKeyBody>;

const something = (patch: object) => Object.keys(patch).length > 0;

export const patchKeyBody = strict({ usd_cap: optional(usdCap), expires_in: optional(expiresIn) })
  .refine(something, { error: 'give usd_cap, expires_in or both' })
  .openapi('PatchKeyBody');

export const patchJobBody = strict({ usd_cap: usdCap }).openapi('PatchJobBody');

export const resolveBody = z
  .discriminatedUnion('outcome', [
    strict({
      outcome: z.literal('settled'),
      usd: usd('What the call cost.'),
      vendor_id: optional(text(200, "The vendor's id of what was made.")),
    }),
    strict({ outcome: z.literal('released') }),
  ])
  .openapi('ResolveBody') satisfies z.ZodType<ResolveBody>;

const limit = optional(
  z.coerce
    .number<string>()
    .int()
    .min(1)
    .max(LIMIT_MAX)
    .openapi({ type: 'integer', minimum: 1, maximum: LIMIT_MAX, description: 'Rows a page; 100 by default.' }),
);
/** Postgres takes no text with a NUL, and nothing in the ledger has one. */
const words = (charsMax: number) =>
  z
    .string()
    .min(1)
    .max(charsMax)
    .refine((value) => !value.includes('\0'), { error: 'without NUL characters' });
const filter = optional(words(500));
const cursor = optional(
  z
    .string()
    .regex(/^(?:call|key)_[0-9a-z]{26}$/, { error: 'next_cursor of the page before' })
    .openapi({ description: '`next_cursor` of the page before.' }),
);

export const keysQuery = strict({
  label: filter,
  job_id: filter,
  state: optional(z.enum(KEY_STATES)),
  cursor,
  limit,
});

export const callsQuery = strict({
  label: filter,
  job_id: filter,
  key_id: filter,
  state: optional(z.enum(CALL_STATES)),
  record_id: filter,
  vendor_id: filter,
  cursor: cursor.openapi({
    description:
      '`next_cursor` of the page before; of a stream, the `call_id` to go on after. Calls that waited for their money ' +
      'appear up to a minute and a half after their `call_id` was made, so behind later ones.',
  }),
  limit: limit.openapi({ description: 'Rows a page, 100 by default; of a stream, the most rows in all.' }),
});

/** A kind and, after the colon, the number of an event or the id of another row. */
const PRUNE_CURSOR = new RegExp(`^(?:events:\\d{0,15}|(?!events)(?:${PRUNED_KINDS.join('|')}):[\\w/]{0,100})$`);

const AGE_MS_MAX = 36_500 * DAY_MS;
const isAge = (milliseconds: number) => milliseconds >= DAY_MS && milliseconds <= AGE_MS_MAX;

export const pruneQuery = strict({
  older_than: z
    .string()
    .refine((value) => isAge(readDuration(value) ?? 0), {
      error: 'a text with its unit such as "90d"; from 1d to 36500d',
    })
    .openapi({ description: 'Only what ended longer ago, at least a day: text with a unit.', example: '90d' }),
  dry_run: optional(z.enum(['true', 'false']).openapi({ description: 'Only count what would be removed.' })),
  cursor: optional(
    z
      .string()
      .regex(PRUNE_CURSOR, { error: 'next_cursor of the answer before' })
      .openapi({ description: '`next_cursor` of the answer before.' }),
  ),
});

export const driftQuery = strict({ label: filter, job_id: filter, key_id: filter }).refine(something, {
  error: 'say which run: label, job_id or key_id',
});

export const summaryQuery = strict({ label: words(200) });
/** Whatever comes with a revocation, it revokes: what could not be kept of its words is left out of them. */
export const revokeQuery = z.object({
  reason: optional(
    z.string().transform(oneLine).openapi({
      type: 'string',
      description: 'Kept with the key and in its events: one line, the first 500 characters.',
    }),
  ),
});

export const issueHeaders = z.object({
  'idempotency-key': optional(text(255, 'The same key and body give the same vault key.')),
});
