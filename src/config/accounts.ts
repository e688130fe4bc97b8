/** Vendor accounts: from the environment and from keybrake.yaml, checked so that a secret goes to its vendor only. */
import type { AccountOptions } from '../../proxy/options';
import type { Complaints } from './complaints';
import type { ConfigFile } from './file';
import { isLoopback, parseOrigin } from './network';
import { type Environment, read } from './variables';

const STRIPE_ORIGIN = 'https://api.stripe.com';
const STRIPE_SECRET = /^(?:sk|rk)_(?:org_)?(?:live|test)_\w+$/;
const TEST_SECRET = /^(?:sk|rk)_(?:org_)?test_/;

type Accounts = Record<string, AccountOptions>;

/** All accounts by name. Complains when there is none. */
export function readAccounts(env: Environment, file: ConfigFile, complaints: Complaints): Accounts {
  const upstream = readUpstream(env, complaints);
  const accounts: Accounts = {};
  const secret = read(env, 'STRIPE_SECRET_KEY');
  const own = file.accounts['stripe'];
  if (secret !== undefined && own === undefined) {
    const checked = checkSecret('STRIPE_SECRET_KEY', secret, upstream, complaints);
    if (checked !== undefined) accounts['stripe'] = checked;
  }
  if (secret !== undefined && own !== undefined && own.secret !== 'env:STRIPE_SECRET_KEY') {
    complaints.add(
      'STRIPE_SECRET_KEY',
      'and accounts.stripe of keybrake.yaml both define the account stripe.',
      'Unset it, or write secret: env:STRIPE_SECRET_KEY there.',
    );
  }
  Object.assign(accounts, readFileAccounts(env, file, upstream, complaints));
  if (secret === undefined && Object.keys(file.accounts).length === 0) {
    complaints.add(
      'STRIPE_SECRET_KEY',
      'is not set, and keybrake.yaml names no account, so there is nothing to call.',
      'Set it to a secret key (sk_… or rk_…).',
    );
  }
  return accounts;
}

function readFileAccounts(env: Environment, file: ConfigFile, upstream: string | undefined, complaints: Complaints) {
  const accounts: Accounts = {};
  for (const [name, account] of Object.entries(file.accounts)) {
    const setting = `accounts.${name}.secret`;
    const variable = account.secret.slice('env:'.length);
    const secret = read(env, variable);
    if (secret === undefined) {
      complaints.add(setting, `refers to ${variable}, which is not set.`, `Set ${variable}.`);
      continue;
    }
    const own =
      account.upstream === undefined
        ? undefined
        : readOrigin(`accounts.${name}.upstream`, account.upstream, complaints);
    const checked = checkSecret(variable, secret, own ?? upstream, complaints);
    if (checked !== undefined) accounts[name] = checked;
  }
  return accounts;
}

function readUpstream(env: Environment, complaints: Complaints): string | undefined {
  const text = read(env, 'KEYBRAKE_STRIPE_UPSTREAM');
  return text === undefined ? undefined : readOrigin('KEYBRAKE_STRIPE_UPSTREAM', text, complaints);
}

function readOrigin(setting: string, text: string, complaints: Complaints): string | undefined {
  return parseOrigin(setting, text, complaints)?.origin;
}

/** Only a secret that says it is a test one may go to a host that is neither the vendor nor this machine. */
function checkSecret(
  setting: string,
  secret: string,
  upstream: string | undefined,
  complaints: Complaints,
): AccountOptions | undefined {
  if (secret.startsWith('pk_')) {
    return complaints.add(setting, 'is a publishable key.', 'Give the secret key (sk_…) or a restricted key (rk_…).');
  }
  if (!STRIPE_SECRET.test(secret)) {
    return complaints.add(
      setting,
      'does not look like a Stripe key.',
      'Give one that begins with sk_test_, sk_live_, rk_…',
    );
  }
  const elsewhere = upstream !== undefined && upstream !== STRIPE_ORIGIN && !isLoopback(new URL(upstream).hostname);
  if (elsewhere && !TEST_SECRET.test(secret)) {
    return complaints.add(
      setting,
      `is a live secret, and would be sent to ${upstream}, which is not Stripe.`,
      'Unset the upstream (KEYBRAKE_STRIPE_UPSTREAM, or upstream in keybrake.yaml), or use a test key.',
    );
  }
  return { vendor: 'stripe', secret, ...(upstream !== undefined && { upstream }) };
}
