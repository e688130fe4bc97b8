/** The raw input of `pipelineRun`: checked whole, so that one look at the failure is enough, and normalised. */
import ms, { type StringValue } from 'ms';
import { z } from 'zod';
import { CAP_USD_MAX, usdToMicros, VENDOR_IDS, VENDOR_NAME, type Issue } from '../proxy/contract';
import type { VendorView } from '../proxy/endpoints';
import type { Plan, PlannedCall } from './contract/plan';
import { crossIssues, inlineIssues } from './inputChecks';
import { invalidInput, joinPath, unknownField, type KnownFields } from './inputIssues';
import { jobIdFor } from './recordKeys';
import type { SourceRecord } from './fields';
import { pathIssue } from './sources/paths';
import { parseTemplate } from './template';
import { routeOf, shapeOf } from './vendorRoutes';

/** What the input cannot know: the facts of the run that it starts. */
export interface RunFacts {
  readonly workflowId: string;
  readonly firstExecutionRunId: string;
  readonly cronSchedule?: string;
}

/** A plan before its source was looked at. */
export type PlanDraft = Omit<Plan, 'source' | 'records' | 'shards'> & { readonly source: DraftSource };

export type DraftSource =
  | { readonly kind: 'jsonl' | 'csv'; readonly path: string }
  | { readonly kind: 'inline'; readonly records: readonly SourceRecord[] }
  | { readonly kind: 'activity'; readonly activity: string; readonly args: unknown };

export const CONCURRENCY_MAX = 2_000;
export const RECORDS_PER_ACTIVITY_MAX = 1_000;
export const NAME_CHARS_MAX = 200;
/** What the proxy takes for a lease, and a key without one is not issued to a run. */
const DURATION_MS_MIN = 10_000;
const DURATION_MS_MAX = 90 * 24 * 3_600_000;
const ENDPOINTS_MAX = 100;

/**
 * Reads the raw input. Throws `keybrake.invalid_input` that names every wrong field. Without `vendors`, as the proxy
 * lists them, nothing is said about vendor, account and routes.
 */
export function parseInput(raw: unknown, facts: RunFacts, vendors?: readonly VendorView[]): PlanDraft {
  const parsed = INPUT.safeParse(raw);
  const wrong = parsed.success ? [] : withoutRepeats(parsed.error.issues.flatMap(toIssues));
  const paths = new Set(wrong.map(({ path }) => path));
  const issues = [...wrong, ...crossIssues(raw, facts, vendors).filter(({ path }) => !paths.has(path))];
  if (!parsed.success || issues.length > 0) throw invalidInput(issues);
  const view = vendors?.find(({ vendor }) => vendor === parsed.data.key.vendor);
  return toDraft(parsed.data, facts, view);
}

interface ZodReport {
  readonly input?: unknown;
  readonly code?: string | undefined;
}

function must(what: string): { error: (issue: ZodReport) => string } {
  return { error: ({ input }) => (input === undefined ? `is required: must be ${what}` : `must be ${what}`) };
}

/** One line of text, as it goes into names, labels and headers. */
const LINE = new RegExp(`^(?=.*\\S)[^\\p{Cc}\\p{Surrogate}]{1,${NAME_CHARS_MAX}}$`, 'u');

function line(what: string) {
  const rule = must(`${what}: text of 1 to ${NAME_CHARS_MAX} characters, none of them a control character`);
  return z.string(rule).regex(LINE, rule);
}

function usd() {
  const rule = must(`US dollars as a number above 0 and up to ${CAP_USD_MAX}, with at most six decimals`);
  return z.number(rule).refine((value) => (usdToMicros(value) ?? 0) > 0, rule);
}

/** Milliseconds out of `"4h"` or a number of seconds. A text without a unit could be either, so it is refused. */
function duration() {
  const what = 'a duration from ten seconds to 90 days: "4h", "90s", or a number of seconds';
  return z.union([z.string(), z.number()], must(what)).transform((value, context) => {
    const millis = typeof value === 'number' ? value * 1_000 : durationMs(value);
    if (millis >= DURATION_MS_MIN && millis <= DURATION_MS_MAX) return Math.round(millis);
    context.addIssue({ code: 'custom', message: `must be ${what}` });
    return z.NEVER;
  });
}

function durationMs(text: string): number {
  return /^\d+(\.\d+)? ?[a-z]+$/i.test(text) && text.length <= 100 ? ms(text as StringValue) : Number.NaN;
}

function count(max: number) {
  const rule = must(`a whole number from 1 to ${max}`);
  return z.int(rule).min(1, rule).max(max, rule);
}

function activityName() {
  const own = { error: 'must not begin with "keybrake.": those activities belong to the pack' };
  return line('the name of an activity').refine((name) => !name.startsWith('keybrake.'), own);
}

function filePath() {
  const rule = must('a path relative to KEYBRAKE_SOURCE_DIR');
  return z.string(rule).superRefine((path, context) => {
    const message = pathIssue(path);
    if (message !== undefined) context.addIssue({ code: 'custom', message });
  });
}

const ENDPOINT = must('a method and a path: "POST /v1/payment_intents"');

const SOURCES = {
  jsonl: z.strictObject({ kind: z.literal('jsonl'), path: filePath() }),
  csv: z.strictObject({ kind: z.literal('csv'), path: filePath() }),
  inline: z.strictObject({
    kind: z.literal('inline'),
    records: z.array(z.unknown(), must('a list of objects')).superRefine((records, context) => {
      for (const { path, message } of inlineIssues(records))
        context.addIssue({ code: 'custom', path: [...path], message });
    }),
  }),
  activity: z.strictObject({ kind: z.literal('activity'), activity: activityName(), args: z.unknown().optional() }),
};

const KINDS = `{"kind": …} with kind ${Object.keys(SOURCES).join(', ')}`;

const CALL = z.strictObject(
  {
    endpoint: z
      .string(ENDPOINT)
      .regex(/^(GET|POST|PUT|PATCH|DELETE) \/./, { error: 'must be "GET /…", "POST /…" or another method and a path' })
      .optional(),
    params: z
      .union([z.record(z.string(), z.unknown()), z.array(z.unknown())], must('an object of the parameters'))
      .optional(),
    activity: activityName().optional(),
  },
  must('{"endpoint": …, "params": …} or {"activity": …}'),
);

const VENDOR = must(`${VENDOR_IDS.join(', ')}, or a vendor of the proxy's keybrake.yaml`);

const KEY = z.strictObject(
  {
    vendor: z.string(VENDOR).regex(VENDOR_NAME, VENDOR),
    usdCap: usd(),
    dailyUsdCap: usd().optional(),
    maxUsdPerCall: usd().optional(),
    allowedEndpoints: z
      .array(
        z.string(ENDPOINT).regex(/^(GET|POST|PUT|PATCH|DELETE) \/\S*$/, ENDPOINT),
        must('a list of endpoints: ["POST /v1/payment_intents"]'),
      )
      .min(1, { error: 'must name at least one endpoint' })
      .max(ENDPOINTS_MAX, { error: `must name at most ${ENDPOINTS_MAX} endpoints` }),
    ttl: duration(),
    lease: duration().default(10 * 60_000),
    account: line('the name of an account').optional(),
    parentKeyId: z
      .string(must('a key id'))
      .regex(/^key_\S+$/, { error: 'must be a key id: "key_…"' })
      .optional(),
    fx: z
      .record(
        z.string().regex(/^[A-Za-z]{3}$/),
        z.number(must('dollars for one unit')).positive({ error: 'must be above 0' }),
        must('dollars for one unit of a currency: {"eur": 1.2}'),
      )
      .optional(),
    metadata: z.record(z.string(), z.string(must('text')), must('an object of texts')).optional(),
  },
  must('{"vendor", "usdCap", "allowedEndpoints", "ttl", …}'),
);

const RESULTS = z.strictObject({ path: filePath() }, must('{"path": …}'));

const INPUT = z.strictObject(
  {
    label: line('a run label'),
    jobId: line('a job id').optional(),
    source: z.discriminatedUnion('kind', [SOURCES.jsonl, SOURCES.csv, SOURCES.inline, SOURCES.activity], must(KINDS)),
    recordId: line('the name of the field that holds the record id'),
    call: CALL,
    key: KEY,
    concurrency: count(CONCURRENCY_MAX).default(50),
    recordsPerActivity: count(RECORDS_PER_ACTIVITY_MAX).default(1),
    onCapExhausted: z.enum(['cancel', 'pause'], must('"cancel" or "pause"')).default('cancel'),
    retry: z.array(z.literal('declined', must('"declined"')), must('a list: ["declined"]')).default([]),
    results: RESULTS.optional(),
  },
  must('an object with label, source, recordId, call and key'),
);

const KNOWN: KnownFields = {
  '': Object.keys(INPUT.shape),
  source: [...new Set(Object.values(SOURCES).flatMap(({ shape }) => Object.keys(shape)))],
  call: Object.keys(CALL.shape),
  key: Object.keys(KEY.shape),
  results: Object.keys(RESULTS.shape),
};

function toIssues(issue: z.core.$ZodIssue): Issue[] {
  const path = joinPath('', issue.path);
  if (issue.code === 'unrecognized_keys') return issue.keys.map((name) => unknownField(path, name, KNOWN));
  if (issue.code === 'invalid_key') return [{ path, message: 'must be named by a currency of three letters' }];
  return [{ path, message: issue.message }];
}

/** A number that breaks two rules of its field is told once. */
function withoutRepeats(issues: readonly Issue[]): Issue[] {
  return [...new Map(issues.map((issue) => [`${issue.path}: ${issue.message}`, issue])).values()];
}

function toDraft(parsed: z.output<typeof INPUT>, facts: RunFacts, view: VendorView | undefined): PlanDraft {
  const { results, retry, ...input } = parsed;
  const { ttl: ttlMs, lease, fx, ...key } = input.key;
  return {
    ...input,
    jobId: input.jobId ?? defaultJobId(facts),
    source: toSource(input.source),
    call: toCall(input.call, view),
    key: defined({
      ...key,
      ttlMs,
      leaseMs: Math.min(lease, ttlMs),
      fx: fx && Object.fromEntries(Object.entries(fx).map(([code, rate]) => [code.toLowerCase(), rate])),
    }),
    retry: [...new Set(retry)],
    results: results ?? null,
  };
}

function toSource(source: z.output<typeof INPUT>['source']): DraftSource {
  if (source.kind === 'inline') return { kind: 'inline', records: source.records as SourceRecord[] };
  if (source.kind === 'activity') return { ...source, args: source.args ?? null };
  return source;
}

function toCall(
  { endpoint = '', params = {}, activity }: z.output<typeof CALL>,
  view: VendorView | undefined,
): PlannedCall {
  if (activity !== undefined) return { kind: 'activity', activity };
  const [method = '', ...path] = endpoint.split(' ');
  const shape = shapeOf(endpoint);
  const route = view && shape && routeOf(view, shape);
  return {
    kind: 'endpoint',
    method: method as 'POST',
    path: tidyTemplates(path.join(' ')),
    params,
    ...(route !== undefined && { vendor: view?.vendor ?? '', body: route.body }),
  };
}

/** `/v1/x/{{ id }}` as `/v1/x/{{id}}`. */
function tidyTemplates(path: string): string {
  const template = parseTemplate(path);
  return template.ok
    ? template.parts.map((part) => (typeof part === 'string' ? part : `{{${part.field}}}`)).join('')
    : path;
}

/** Stable over retries, continue-as-new and resets; hashed where a workflow id would not fit the limits of a job id. */
function defaultJobId({ workflowId, firstExecutionRunId }: RunFacts): string {
  return jobIdFor(`${workflowId}/${firstExecutionRunId}`);
}

type Defined<T> = { [K in keyof T]: Exclude<T[K], undefined> };

function defined<T extends object>(fields: T): Defined<T> {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as Defined<T>;
}
