/** Vendor accounts: from the environment and from keybrake.yaml, checked so that a secret goes to its vendor only. */
import type { AccountOptions } from '../../proxy/options';
import { createVendors } from '../../proxy/vendors';
import type { Complaints } from './complaints';
import type { Draft, DraftAccount } from './file';
import { isLoopback, parseOrigin } from './network';
import { checkCredential, isTestAccount } from './secrets';
import { type Environment, read } from './variables';

type Accounts = Record<string, AccountOptions>;

/** The account of a vendor with a table of its own, as the environment gives it. */
interface FromEnvironment {
  readonly vendor: string;
  /** The variable of the secret: the first that is set. */
  readonly secrets: readonly string[];
  readonly account?: string;
  /** By the variable of the secret: that of the user name. */
  readonly users?: Readonly<Record<string, string>>;
  readonly upstream: string;
  readonly maxRps: string;
}

const ENVIRONMENT: readonly FromEnvironment[] = [
  {
    vendor: 'stripe',
    secrets: ['STRIPE_SECRET_KEY'],
    upstream: 'KEYBRAKE_STRIPE_UPSTREAM',
    maxRps: 'KEYBRAKE_STRIPE_MAX_RPS',
  },
  {
    vendor: 'twilio',
    secrets: ['TWILIO_API_SECRET', 'TWILIO_AUTH_TOKEN'],
    account: 'TWILIO_ACCOUNT_SID',
    users: { TWILIO_API_SECRET: 'TWILIO_API_KEY' },
    upstream: 'KEYBRAKE_TWILIO_UPSTREAM',
    maxRps: 'KEYBRAKE_TWILIO_MAX_RPS',
  },
  {
    vendor: 'resend',
    secrets: ['RESEND_API_KEY'],
    upstream: 'KEYBRAKE_RESEND_UPSTREAM',
    maxRps: 'KEYBRAKE_RESEND_MAX_RPS',
  },
];

/** All accounts by name. Complains when there is none. */
export function readAccounts(env: Environment, { accounts: inFile, vendors }: Draft, complaints: Complaints): Accounts {
  const accounts: Accounts = {};
  const shared = new Map(ENVIRONMENT.map((spec) => [spec.vendor, readShared(env, spec, complaints)]));
  let named = 0;
  for (const spec of ENVIRONMENT) {
    const variable = spec.secrets.find((name) => read(env, name) !== undefined);
    const own = inFile?.[spec.vendor];
    // What an account in the file does not use is not looked at.
    const whole = own !== undefined || checkWhole(env, spec, variable, complaints);
    if (!whole || variable !== undefined) named += 1;
    if (variable === undefined) continue;
    if (own === undefined) {
      const account = fromEnvironment(env, spec, variable, shared.get(spec.vendor), complaints);
      if (account !== undefined) accounts[spec.vendor] = account;
    } else if (own.secret !== `env:${variable}`) {
      const problem = `and accounts.${spec.vendor} of keybrake.yaml both define the account ${spec.vendor}.`;
      complaints.add(variable, problem, `Unset it, or write secret: env:${variable} there.`);
    }
  }
  for (const [name, account] of Object.entries(inFile ?? {})) {
    const { vendor = '' } = account;
    const around = { basic: vendors[vendor]?.auth.kind === 'basic', ...shared.get(vendor) };
    const good = fromFile(env, name, account, around, complaints);
    if (good !== undefined) accounts[name] = good;
  }
  if (named === 0 && inFile !== undefined && Object.keys(inFile).length === 0) {
    complaints.add(
      'STRIPE_SECRET_KEY',
      'is not set, nor is a secret of Twilio or Resend, and keybrake.yaml names no account: there is nothing to call.',
      'Set it to a secret key (sk_… or rk_…).',
    );
  }
  return accounts;
}

/** What the environment says for every account of a vendor that says nothing of its own. */
interface Shared {
  readonly upstream?: string;
  readonly maxRps?: number;
}

/** Read once, however many accounts the vendor has: a complaint is told once. */
function readShared(env: Environment, { upstream, maxRps }: FromEnvironment, complaints: Complaints): Shared {
  return present({ upstream: readUpstream(env, upstream, complaints), maxRps: readRate(env, maxRps, complaints) });
}

/** Complains about half a credential, which would be no credential without a word. */
function checkWhole(
  env: Environment,
  { secrets, account, users = {} }: FromEnvironment,
  variable: string | undefined,
  complaints: Complaints,
): boolean {
  const pairs = Object.entries(users).flatMap(([secret, user]) => [[secret, user] as const, [user, secret] as const]);
  const halves = pairs.filter(([is, missing]) => read(env, is) !== undefined && read(env, missing) === undefined);
  for (const [is, missing] of halves) {
    complaints.add(missing, `is not set, but ${is} is.`, 'Set it too, or unset the other.');
  }
  if (variable !== undefined || account === undefined) return halves.length === 0;
  const given = read(env, account) !== undefined;
  if (halves.length > 0) {
    if (!given) complaints.add(account, 'is not set.', 'Give the AC… of the account that the secret is for.');
    return false;
  }
  if (!given) return true;
  const [or = '', secret = ''] = secrets;
  const instead = users[or] === undefined ? or : `${users[or]} and ${or}`;
  complaints.add(secret, `is not set, but ${account} is.`, `Set it (or ${instead}) too, or unset the other.`);
  return false;
}

function fromEnvironment(
  env: Environment,
  { vendor, account, users }: FromEnvironment,
  variable: string,
  shared: Shared | undefined,
  complaints: Complaints,
): AccountOptions | undefined {
  const user = read(env, users?.[variable] ?? '');
  const accountId = account === undefined ? undefined : read(env, account);
  const options = { vendor, secret: read(env, variable) ?? '', ...present({ user, accountId }), ...shared };
  return checked(options, variable, account ?? variable, complaints);
}

/** An account of the file. What of it cannot be read has been complained about, and the rest is checked all the same. */
function fromFile(
  env: Environment,
  name: string,
  { vendor, secret: named, user, account_sid: accountId, max_rps: pace, upstream: origin }: DraftAccount,
  { basic, ...shared }: Shared & { readonly basic: boolean },
  complaints: Complaints,
): AccountOptions | undefined {
  const upstream =
    origin === undefined ? shared.upstream : parseOrigin(`accounts.${name}.upstream`, origin, complaints)?.origin;
  if (basic && user === undefined) {
    complaints.add(`accounts.${name}.user`, 'is not set.', `The vendor ${vendor} authenticates with a user name.`);
  }
  if (named === undefined) return undefined;
  const variable = named.slice('env:'.length);
  const secret = read(env, variable);
  if (secret === undefined) {
    return complaints.add(`accounts.${name}.secret`, `refers to ${variable}, which is not set.`, `Set ${variable}.`);
  }
  if (vendor === undefined) return undefined;
  const options = { vendor, secret, ...present({ user, accountId, upstream, maxRps: pace ?? shared.maxRps }) };
  return checked(options, variable, `accounts.${name}.account_sid`, complaints);
}

function present<T extends object>(given: T): { readonly [K in keyof T]?: NonNullable<T[K]> } {
  return Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined)) as {
    [K in keyof T]?: NonNullable<T[K]>;
  };
}

function readUpstream(env: Environment, name: string, complaints: Complaints): string | undefined {
  const text = read(env, name);
  return text === undefined ? undefined : parseOrigin(name, text, complaints)?.origin;
}

function readRate(env: Environment, name: string, complaints: Complaints): number | undefined {
  const text = read(env, name);
  if (text === undefined) return undefined;
  const rate = /^\d{1,5}(\.\d+)?$/.test(text) ? Number(text) : Number.NaN;
  if (rate > 0 && rate <= RPS_MAX) return rate;
  return complaints.add(name, 'is not a number of calls a second.', `Give one above 0 and up to ${RPS_MAX}, e.g. 20.`);
}

const RPS_MAX = 10_000;
const ORIGINS = new Map([...createVendors()].map(([id, { origin }]) => [id, origin]));

/** Only a secret that says it is a test one may go to a host that is neither the vendor nor this machine. */
function checked(
  options: AccountOptions,
  variable: string,
  accountSetting: string,
  complaints: Complaints,
): AccountOptions | undefined {
  const { vendor, upstream, ...rest } = options;
  if (!checkCredential(options, variable, accountSetting, complaints)) return undefined;
  if (upstream === undefined || upstream === ORIGINS.get(vendor)) return { vendor, ...rest };
  if (!isLoopback(new URL(upstream).hostname) && !isTestAccount(options)) {
    const name = vendor === 'stripe' ? 'Stripe' : vendor;
    return complaints.add(
      variable,
      `is a live secret, and would be sent to ${upstream}, which is not ${name}.`,
      `Unset the upstream (KEYBRAKE_${vendor.toUpperCase()}_UPSTREAM, or upstream in keybrake.yaml), or use a test key.`,
    );
  }
  return options;
}
