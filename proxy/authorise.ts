/** Decides whether a call may be made and what it may cost at most. Pure: no clock, no store, no network. */
import { Refusal } from './contract';
import type { KeyFacts } from './ledger/facts';
import { matchRoute, nearestRoute, type RouteMatch } from './reading';
import type { FormPairs, Price, Route, Vendor, VendorRequest } from './vendors/vendor';

export interface Authorised {
  readonly route: Route;
  readonly price: Price;
  /** Fields that the proxy adds to the body. */
  readonly adds: FormPairs;
}

/**
 * Is the route known, and on the key's allowlist? Needs only the method and path, so it comes before the body is read.
 * Throws {@link Refusal} `endpoint_forbidden`, `endpoint_unpriced` or `endpoint_not_allowed`.
 */
export function allowedRoute(facts: KeyFacts, vendor: Vendor, method: string, path: string): RouteMatch {
  const forbidden = isForbidden(vendor, method, path);
  const match = matchRoute(vendor, method, path);
  if (!forbidden && match !== undefined && facts.allowed.has(match.route.name)) return match;

  const attempted = `${method} ${path}`;
  const allowed = { attempted, allowed_endpoints: [...facts.allowed] };
  if (forbidden) {
    const text = `endpoint_forbidden: ${attempted} hands out secrets or controls the account; no vault key may call it.`;
    throw new Refusal('endpoint_forbidden', text, allowed);
  }
  if (match === undefined) throw unknownRoute(vendor, attempted, allowed);
  const { name } = match.route;
  const list = [...facts.allowed].join(', ');
  const text = `endpoint_not_allowed: ${attempted} is not on this key's allowlist; "${name}" would allow it (now: ${list}).`;
  throw new Refusal('endpoint_not_allowed', text, allowed);
}

/**
 * What an allowed call costs at most. `keyed`: the client gave an Idempotency-Key. `accountId`: the vendor's own id of
 * the key's account.
 * Throws {@link Refusal} `account_not_allowed`, `parameter_not_allowed`, `currency_not_allowed`,
 * `request_unpriceable` or `idempotency_key_required`.
 */
export function authorise(
  facts: KeyFacts,
  vendor: Vendor,
  { route, ids }: RouteMatch,
  request: VendorRequest,
  keyed: boolean,
  accountId?: string,
): Authorised {
  const redirected = vendor.redirection(request, route, accountId);
  if (redirected !== undefined) throw new Refusal(redirected.code, redirected.reason, { field: redirected.field });
  const pricing = route.price(request, ids, { fx: facts.fx });
  if (!pricing.ok) throw new Refusal(pricing.code, pricing.reason, pricing.details ?? {});
  if (facts.requireIdempotency && pricing.price.kind !== 'free' && !keyed) {
    const text = 'idempotency_key_required: this vault key demands an Idempotency-Key header on paid calls.';
    throw new Refusal('idempotency_key_required', text, { field: 'Idempotency-Key' });
  }
  return { route, price: pricing.price, adds: pricing.adds ?? [] };
}

function isForbidden(vendor: Vendor, method: string, path: string): boolean {
  return vendor.forbidden.some((rule) => (rule.method === '*' || rule.method === method) && rule.pattern.test(path));
}

function unknownRoute(vendor: Vendor, attempted: string, allowed: object): Refusal {
  const nearest = nearestRoute(vendor, attempted);
  const hint = nearest === undefined ? '' : ` The nearest known route is "${nearest}".`;
  const text = `endpoint_unpriced: the most that ${attempted} can cost is not known, so it cannot be held.${hint}`;
  return new Refusal('endpoint_unpriced', text, { ...allowed, ...(nearest !== undefined && { nearest }) });
}
