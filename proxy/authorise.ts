/** Decides whether a call may be made and what it may cost at most. Pure: no clock, no store, no network. */
import { Refusal } from './contract';
import type { KeyFacts } from './ledger/facts';
import { matchRoute, nearestRoute } from './reading';
import type { Price, Route, Vendor, VendorRequest } from './vendors/vendor';

export interface Authorised {
  readonly route: Route;
  readonly price: Price;
}

/**
 * `keyed`: the client gave an Idempotency-Key.
 * Throws {@link Refusal} `endpoint_forbidden`, `endpoint_unpriced`, `endpoint_not_allowed`, `account_not_allowed`,
 * `parameter_not_allowed`, `currency_not_allowed`, `request_unpriceable` or `idempotency_key_required`.
 */
export function authorise(facts: KeyFacts, vendor: Vendor, request: VendorRequest, keyed: boolean): Authorised {
  const attempted = `${request.method} ${request.path}`;
  const allowed = { attempted, allowed_endpoints: [...facts.allowed] };
  if (isForbidden(vendor, request)) {
    const text = `endpoint_forbidden: ${attempted} hands out secrets or controls the account; no vault key may call it.`;
    throw new Refusal('endpoint_forbidden', text, allowed);
  }
  const match = matchRoute(vendor, request.method, request.path);
  if (match === undefined) throw unknownRoute(vendor, request, allowed);
  const { route, ids } = match;
  if (!facts.allowed.has(route.name)) {
    const list = [...facts.allowed].join(', ');
    const text = `endpoint_not_allowed: ${attempted} is not on this key's allowlist; "${route.name}" would allow it (now: ${list}).`;
    throw new Refusal('endpoint_not_allowed', text, allowed);
  }
  const redirected = vendor.redirection(request);
  if (redirected !== undefined) throw new Refusal(redirected.code, redirected.reason, { field: redirected.field });
  const pricing = route.price(request, ids, { fx: facts.fx });
  if (!pricing.ok) throw new Refusal(pricing.code, pricing.reason, pricing.details ?? {});
  if (facts.requireIdempotency && pricing.price.kind !== 'free' && !keyed) {
    const text = 'idempotency_key_required: this vault key demands an Idempotency-Key header on paid calls.';
    throw new Refusal('idempotency_key_required', text, { field: 'Idempotency-Key' });
  }
  return { route, price: pricing.price };
}

function isForbidden(vendor: Vendor, { method, path }: VendorRequest): boolean {
  return vendor.forbidden.some((rule) => (rule.method === '*' || rule.method === method) && rule.pattern.test(path));
}

function unknownRoute(vendor: Vendor, { method, path }: VendorRequest, allowed: object): Refusal {
  const nearest = nearestRoute(vendor, `${method} ${path}`);
  const hint = nearest === undefined ? '' : ` The nearest known route is "${nearest}".`;
  const text = `endpoint_unpriced: the most that ${method} ${path} can cost is not known, so it cannot be held.${hint}`;
  return new Refusal('endpoint_unpriced', text, { ...allowed, ...(nearest !== undefined && { nearest }) });
}
