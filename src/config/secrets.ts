/** What the secrets of each vendor look like, so that one in the wrong place stops the start. */
import type { AccountOptions } from '../../proxy/options';
import { isTestSecret } from '../../proxy/vendors/stripe';
import type { Complaints } from './complaints';

const STRIPE_SECRET = /^(?:sk|rk)_(?:org_)?(?:live|test)_\w+$/;
const ACCOUNT_SID = /^AC[0-9a-f]{32}$/i;
const API_KEY_SID = /^SK[0-9a-f]{32}$/i;
/** What fits into a header. */
const PRINTABLE = /^[\x21-\x7e]+$/;

/** Does the secret say of itself that it moves no real money? Only Stripe's do. */
export function isTestAccount({ vendor, secret }: AccountOptions): boolean {
  return vendor === 'stripe' && isTestSecret(secret);
}

/** Complains about a credential that cannot be one of its vendor. `setting` and `accountSetting` say where it stands. */
export function checkCredential(
  { vendor, secret, user, accountId }: AccountOptions,
  setting: string,
  accountSetting: string,
  complaints: Complaints,
): boolean {
  const complain = (where: string, problem: string, remedy: string): boolean => {
    complaints.add(where, problem, remedy);
    return false;
  };
  if (vendor === 'stripe') return checkStripe(secret, setting, complain);
  if (!PRINTABLE.test(secret)) return complain(setting, 'holds characters that no header can carry.', 'Correct it.');
  if (vendor === 'resend' && !secret.startsWith('re_')) {
    return complain(setting, 'does not look like a Resend key.', 'Give one that begins with re_.');
  }
  if (vendor !== 'twilio') return true;
  if (accountId === undefined || !ACCOUNT_SID.test(accountId)) {
    const problem = accountId === undefined ? 'is not set.' : 'does not look like an account SID.';
    return complain(accountSetting, problem, 'Give the AC… of the account that the secret is for.');
  }
  if (user === undefined || user === accountId || API_KEY_SID.test(user)) return true;
  return complain(setting, 'has a user name that is no API key SID.', 'Give the SK… that the API secret belongs to.');
}

function checkStripe(
  secret: string,
  setting: string,
  complain: (where: string, problem: string, remedy: string) => boolean,
): boolean {
  if (secret.startsWith('pk_')) {
    return complain(setting, 'is a publishable key.', 'Give the secret key (sk_…) or a restricted key (rk_…).');
  }
  if (STRIPE_SECRET.test(secret)) return true;
  return complain(setting, 'does not look like a Stripe key.', 'Give one that begins with sk_test_, sk_live_, rk_…');
}
