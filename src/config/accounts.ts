/** Vendor accounts: from the environment and from keybrake.yaml, checked so that a secret goes to its vendor only. */
import type { AccountOptions } from '../../proxy/options';
import { createVendors } from '../../proxy/vendors';
import type { Complaints } from './complaints';
import type { ConfigFile } from './file';
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
export function readAccounts(env: Environment, file: ConfigFile, complaints: Complaints): Accounts {
  const accounts: Accounts = {};
  let named = 0;
  for (const spec of ENVIRONMENT) {
    const variable = spec.secrets.find((name) => read(env, name) !== undefined);
    if (variable === undefined) continue;
    named += 1;
    const own = file.accounts[spec.vendor];
    if (own === undefined) {
      const account = fromEnvironment(env, spec, variable, complaints);
      if (account !== undefined) accounts[spec.vendor] = account;
    } else if (own.secret !== `env:${variable}`) {
      const problem = `and accounts.${spec.vendor} of keybrake.yaml both define the account ${spec.vendor}.`;
      complaints.add(variable, problem, `Unset it, or write secret: env:${variable} there.`);
    }
  }
  Object.assign(accounts, fromFile(env, file, complaints));
  if (named === 0 && Object.keys(file.accounts).length === 0) {
    complaints.add(
      'STRIPE_SECRET_KEY',
      'is not set, nor is a secret of Twilio or Resend, and keybrake.yaml names no account: there is nothing to call.',
      'Set it to a secret key (sk_… or rk_…).',
    );
  }
  return accounts;
}

function fromEnvironment(
  env: Environment,
  { vendor, account, users, upstream, maxRps }: FromEnvironment,
  variable: string,
  complaints: Complaints,
): AccountOptions | undefined {
  const userVariable = users?.[variable];
  const user = userVariable === undefined ? undefined : read(env, userVariable);
  if (userVariable !== undefined && user === undefined) {
    return complaints.add(userVariable, `is not set, but ${variable} is.`, 'Set it too, or unset the other.');
  }
  const accountId = account === undefined ? undefined : read(env, account);
  const origin = readUpstream(env, upstream, complaints);
  const rest = present({ user, accountId, upstream: origin, maxRps: readRate(env, maxRps, complaints) });
  const options = { vendor, secret: read(env, variable) ?? '', ...rest };
  return checked(options, variable, account ?? variable, complaints);
}

function fromFile(env: Environment, file: ConfigFile, complaints: Complaints): Accounts {
  const accounts: Accounts = {};
  for (const [name, account] of Object.entries(file.accounts)) {
    const variable = account.secret.slice('env:'.length);
    const secret = read(env, variable);
    if (secret === undefined) {
      complaints.add(`accounts.${name}.secret`, `refers to ${variable}, which is not set.`, `Set ${variable}.`);
      continue;
    }
    const shared = ENVIRONMENT.find(({ vendor }) => vendor === account.vendor);
    const upstream =
      account.upstream === undefined
        ? shared && readUpstream(env, shared.upstream, complaints)
        : parseOrigin(`accounts.${name}.upstream`, account.upstream, complaints)?.origin;
    const { vendor, user, account_sid: accountId } = account;
    const maxRps = account.max_rps ?? (shared && readRate(env, shared.maxRps, complaints));
    const options = { vendor, secret, ...present({ user, accountId, upstream, maxRps }) };
    const basic = file.vendors[vendor]?.auth.kind === 'basic';
    if (basic && user === undefined) {
      complaints.add(`accounts.${name}.user`, 'is not set.', `The vendor ${vendor} authenticates with a user name.`);
    }
    const good = checked(options, variable, `accounts.${name}.account_sid`, complaints);
    if (good !== undefined) accounts[name] = good;
  }
  return accounts;
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
