/** Keeps Stripe calls on the key's own account: Connect's headers and fields. */
import { rootOf } from '../form';
import type { Redirection, Route, VendorRequest } from './vendor';

/** Moves money to, or takes it from, somebody other than the account and its customer. */
const REDIRECTING_FIELDS = new Set([
  'application_fee',
  'application_fee_amount',
  'application_fee_percent',
  'destination',
  'on_behalf_of',
  'refund_application_fee',
  'reverse_transfer',
  'transfer_data',
]);

/**
 * A header or field that would move money elsewhere: another account's headers are `account_not_allowed`, Connect's
 * fields `parameter_not_allowed`, but on routes that are for nothing else (a transfer's destination), where the key's
 * allowlist is the permission. `transfer_group` is only a label. Source: docs.stripe.com/connect/charges.
 */
export function redirection(request: VendorRequest, route?: Route): Redirection | undefined {
  for (const [header, field] of ACCOUNT_HEADERS) {
    if (request.headers[header] === undefined) continue;
    return { code: 'account_not_allowed', reason: `Header ${field} names another account than the key's.`, field };
  }
  const meant = route?.redirects ?? [];
  const found = request.body.find(([name]) => REDIRECTING_FIELDS.has(rootOf(name)) && !meant.includes(name));
  if (found === undefined) return undefined;
  const field = rootOf(found[0]);
  return { code: 'parameter_not_allowed', reason: `Field "${field}" would move money to another account.`, field };
}

const ACCOUNT_HEADERS = [
  ['stripe-account', 'Stripe-Account'],
  ['stripe-context', 'Stripe-Context'],
] as const;
