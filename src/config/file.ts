/** keybrake.yaml: several accounts, their pace, FX floors, upstreams. Strict: what it does not know, it names. */
import { parse } from 'yaml';
import { z } from 'zod';
import { VENDOR_IDS, VENDOR_NAME } from '../../proxy/contract';
import type { Complaints } from './complaints';
import { nearestName } from '../../proxy/nearest';
import { readText } from './network';
import { pricesSchema, vendorsSchema } from './prices';
import { type Environment, read } from './variables';

const DEFAULT_PATH = 'keybrake.yaml';

const accountSchema = z.strictObject({
  vendor: z.string().regex(VENDOR_NAME, 'must be the name of a vendor, e.g. stripe'),
  // A secret in a file gets committed: only the name of a variable may stand here.
  secret: z.string().regex(/^env:[A-Za-z_]\w*$/, 'must be env: and the name of a variable, e.g. env:STRIPE_EU_KEY'),
  upstream: z.string().optional(),
  max_rps: z.number('must be a number of calls a second').positive('must be above 0').max(10_000).optional(),
  /** Twilio: no secret, so it may stand here. */
  account_sid: z.string().optional(),
  /** User name of Basic authentication: Twilio's API key SK…, or that of a vendor of one's own. */
  user: z.string().optional(),
});

const fileSchema = z.strictObject({
  accounts: z
    .record(
      z.string().regex(/^[a-z0-9][a-z0-9_-]{0,63}$/, 'must be lower-case letters, digits, - and _'),
      accountSchema,
    )
    .default({}),
  fx_floors: z
    .record(
      z.string().regex(/^[a-z]{3}$/, 'must be a lower-case currency code, e.g. eur'),
      z.number('must be a number of dollars').positive('must be above 0').max(1_000_000),
    )
    .default({}),
  pacing: z
    .strictObject({
      wait_ms: z.number('must be milliseconds').int().min(0).max(20_000, 'must be below what SDKs wait').optional(),
      queue: z.number('must be a number of calls').int().min(0).max(100_000).optional(),
    })
    .default({}),
  prices: pricesSchema.default({}),
  vendors: vendorsSchema.default({}),
});

export type ConfigFile = z.output<typeof fileSchema>;

const { vendor, secret, upstream, max_rps, account_sid, user } = accountSchema.shape;

/** What can be made out of a file in which something is wrong: it is read for the sake of further complaints alone. */
const draftSchema = z.object({
  accounts: z
    .record(
      z.string(),
      z
        .object({
          vendor: vendor.optional().catch(undefined),
          secret: secret.optional().catch(undefined),
          upstream: upstream.catch(undefined),
          max_rps: max_rps.catch(undefined),
          account_sid: account_sid.catch(undefined),
          user: user.catch(undefined),
        })
        .catch({}),
    )
    .catch({}),
  vendors: z.record(z.string(), vendorsSchema.valueType.optional().catch(undefined)).catch({}),
});

/** The accounts and vendors of a file as far as they can be read: what is wrong in them has been complained about. */
export interface Draft {
  /** Undefined: which accounts there are cannot be told. */
  readonly accounts: Readonly<Record<string, DraftAccount>> | undefined;
  /** By name; undefined: that vendor cannot be read. */
  readonly vendors: z.output<typeof draftSchema>['vendors'];
}

export type DraftAccount = z.output<typeof draftSchema>['accounts'][string];

/** The settings of each section; `*` stands for a name or a number. */
// prettier-ignore
const SETTINGS: Readonly<Record<string, readonly string[]>> = {
  '': Object.keys(fileSchema.shape),
  'accounts.*': Object.keys(accountSchema.shape),
  pacing: ['wait_ms', 'queue'],
  prices: ['twilio', 'resend'],
  'prices.twilio': [
    'sms', 'mms', 'content', 'whatsapp', 'rcs', 'messenger', 'call_minute', 'call_seconds_max', 'verify', 'verify_check',
    'lookups',
  ],
  'prices.resend': ['email'],
  'vendors.*': ['origin', 'auth', 'idempotency_header', 'pass_headers', 'error', 'not_executed', 'routes'],
  'vendors.*.routes.*': ['route', 'body', 'price', 'id'],
};

function settingsAt([section, name, part, number]: readonly PropertyKey[]): readonly string[] {
  const named = section === 'prices' ? name : name === undefined ? undefined : '*';
  const place = [section, named, part, number === undefined ? undefined : '*'];
  return SETTINGS[place.filter((step) => step !== undefined).join('.')] ?? [];
}

/**
 * Reads `KEYBRAKE_CONFIG`, else ./keybrake.yaml where there is one. Complaints never quote the file's values. Of a file
 * with a mistake `file` holds nothing, and `draft` what can be checked further, so that all mistakes are told at once.
 */
export function readConfigFile(env: Environment, complaints: Complaints): { file: ConfigFile; draft: Draft } {
  const empty: ConfigFile = { accounts: {}, fx_floors: {}, pacing: {}, prices: {}, vendors: {} };
  const named = read(env, 'KEYBRAKE_CONFIG');
  const path = named ?? DEFAULT_PATH;
  const { text, code } = readText(path);
  if (text === undefined) {
    if (named === undefined && code === 'ENOENT') return { file: empty, draft: empty };
    const remedy = 'Correct the path, or who may read it.';
    if (named !== undefined)
      complaints.add('KEYBRAKE_CONFIG', `names ${path}, which cannot be read (${code}).`, remedy);
    else complaints.add(path, `is there, but cannot be read (${code}).`, 'See who may read it, or take it away.');
    return { file: empty, draft: UNREADABLE };
  }
  const given = withoutEmpty(parseYaml(path, text, complaints));
  if (given === undefined) return { file: empty, draft: UNREADABLE };
  const parsed = fileSchema.safeParse(given);
  const draft = parsed.success ? parsed.data : draftOf(given);
  if (!parsed.success) for (const issue of parsed.error.issues) complainOf(path, issue, complaints);
  checkVendorNames(path, draft, complaints);
  return { file: parsed.success ? parsed.data : empty, draft };
}

const UNREADABLE: Draft = { accounts: undefined, vendors: {} };

function draftOf(given: unknown): Draft {
  const parsed = draftSchema.safeParse(given);
  if (!parsed.success) return UNREADABLE;
  // No accounts may mean that they stand under a name that is not a setting.
  const { accounts, vendors } = parsed.data;
  return { accounts: Object.keys(accounts).length === 0 ? undefined : accounts, vendors };
}

function checkVendorNames(path: string, { accounts = {}, vendors }: Draft, complaints: Complaints): void {
  const known = [...VENDOR_IDS, ...Object.keys(vendors)];
  for (const [name, { vendor: id }] of Object.entries(accounts)) {
    if (id === undefined || known.includes(id)) continue;
    complaints.add(`${path} accounts.${name}.vendor`, 'is no vendor.', `Use one of ${known.join(', ')}.`);
  }
}

/** An empty file is one without settings; undefined: it is no YAML. */
function parseYaml(path: string, text: string, complaints: Complaints): unknown {
  try {
    return (parse(text, { prettyErrors: false }) as unknown) ?? {};
  } catch (error) {
    const { code, pos: [offset = 0] = [] } = error as { code?: string; pos?: readonly number[] };
    const line = text.slice(0, offset).split('\n').length;
    const [, key] = (code === 'DUPLICATE_KEY' && /^["']?([\w-]{1,64})/.exec(text.slice(offset))) || [];
    if (key !== undefined) return complaints.add(path, `gives ${key} twice (line ${line}).`, 'Keep one.');
    return complaints.add(path, `is not YAML (line ${line}).`, 'Correct it.');
  }
}

/** A section that is left empty is one that is not there. */
function withoutEmpty(given: unknown): unknown {
  if (typeof given !== 'object' || given === null || Array.isArray(given)) return given;
  const entries = Object.entries(given as Readonly<Record<string, unknown>>);
  return Object.fromEntries(entries.filter(([name, value]) => value !== null || !(name in fileSchema.shape)));
}

function complainOf(path: string, issue: z.core.$ZodIssue, complaints: Complaints): void {
  const place = issue.path.length === 0 ? path : `${path} ${issue.path.join('.')}`;
  if (issue.code !== 'unrecognized_keys') {
    const why = issue.code === 'invalid_key' ? (issue.issues[0]?.message ?? issue.message) : issue.message;
    const missing = why.endsWith('received undefined');
    const said = why.replace(/^Invalid input: expected (\w+), received (\w+)$/, 'must be of the type $1, not $2');
    complaints.add(place, missing ? 'is required.' : `${said}.`, missing ? 'Set it.' : 'Correct it.');
    return;
  }
  const known = settingsAt(issue.path);
  for (const key of issue.keys) {
    const near = nearestName(key, known);
    const remedy = near === undefined ? `Known here are ${known.join(', ')}.` : `Did you mean ${near}?`;
    complaints.add(place, `${key} is not a setting.`, remedy);
  }
}
