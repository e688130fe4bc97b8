/** All that is known of one unknown call, read out of its row: how it may be sent again, and how it is looked up. */
import { type Kept, keySent, openKept, readKept, routeOf } from '../kept';
import { factsOf, type KeyFacts, lifeOf } from '../ledger/facts';
import { deadAt, type Live } from '../ledger/resume';
import type { Seal } from '../seal';
import type { Account } from '../passage';
import type { Rows } from '../stores/store';
import type { CallRow } from '../stores/tables';
import type { Vendors } from '../vendors';
import type { Finder, Price, Route, Sought, Vendor, VendorRequest } from '../vendors/vendor';
import type { Situation } from './decide';

/** What the ledger says of an unknown call. */
export interface Found {
  readonly call: CallRow;
  readonly facts: KeyFacts;
  readonly alive: boolean;
  readonly now: number;
}

/** Undefined: the call is not unknown any more. */
export function findUnknown(rows: Rows, now: number, callId: string): Found | undefined {
  const call = rows.get('calls', callId);
  const key = call && rows.get('keys', call.key_id);
  if (call?.state !== 'unknown' || key === undefined) return undefined;
  const facts = factsOf(key);
  return { call, facts, now, alive: lifeOf(rows, now, facts.keyId, facts.ancestors).dead === undefined };
}

/** With what the vendor is asked, and its answer read. */
export interface Means {
  readonly vendor: Vendor;
  readonly account: Account;
  readonly route: Route;
  readonly price: Price;
  /** Without fields where what was sent is not known: no answer that is looked up is read by them. */
  readonly request: VendorRequest;
  /** Absent: it cannot be sent again. */
  readonly kept?: Kept;
  /** Absent: it cannot be looked up. */
  readonly find?: { readonly finder: Finder; readonly sought: Sought };
}

export interface Case extends Found {
  /** Absent: the vendor, its account or its route is not configured any more. */
  readonly means?: Means;
}

export interface CaseParts {
  readonly seal: Seal;
  readonly accounts: ReadonlyMap<string, Account>;
  readonly vendors: Vendors;
  readonly live: Live;
}

export function caseOf(found: Found, parts: CaseParts): Case {
  const { call, facts } = found;
  const vendor = parts.vendors.get(facts.vendor);
  const account = parts.accounts.get(call.account);
  const match = vendor && routeOf(vendor, call);
  if (vendor === undefined || account === undefined || match === undefined) return found;
  const { route, ids } = match;
  const sent = sentFor(call, vendor, route, parts.seal);
  const request = sent?.request ?? { method: call.method, path: call.path, query: [], body: [], headers: {} };
  const key = keySent(call, sent?.kept, vendor);
  const sought: Sought = {
    path: call.path,
    ids,
    key,
    ...(sent && { request: sent.request }),
    fromMs: call.created_at - CLOCKS_DIFFER_MS,
    toMs: call.send_by + parts.live.upstreamTimeoutMs + parts.live.marginMs,
  };
  const resendable = route.idempotent && sent !== undefined && keyIsIn(sent.kept, vendor);
  return {
    ...found,
    means: {
      vendor,
      account,
      route,
      request,
      price: priceOf(call, route, ids, request, sent !== undefined, facts),
      ...(resendable && { kept: sent.kept }),
      ...findOf(route.find, sought),
    },
  };
}

export function situationOf(
  { call, alive, now, means }: Case,
  live: Live,
  attempts: Pick<Situation, 'tries' | 'triedSince'>,
): Situation {
  const free = call.quote_micros === 0 && (means === undefined ? call.object_id === null : means.price.kind === 'free');
  const [resendable, findable] = [means?.kept !== undefined, means?.find !== undefined];
  return { call, now, deadAt: deadAt(call, live), free, alive, resendable, findable, ...attempts };
}

/** Of our clock and the vendor's. VENDORS 3. */
const CLOCKS_DIFFER_MS = 5_000;

function sentFor(call: CallRow, vendor: Vendor, route: Route, seal: Seal) {
  if (call.request === null) return undefined;
  try {
    const kept = openKept(seal, call.request, call.call_id);
    return { kept, request: readKept(kept, vendor, route) };
  } catch {
    // Sealed under a master key that is not given any more, or not read by this version as it was by its own.
    return undefined;
  }
}

function keyIsIn({ headers }: Kept, { idempotencyHeader }: Vendor): boolean {
  return idempotencyHeader !== null && headers[idempotencyHeader] !== undefined;
}

function findOf(finder: Finder | undefined, sought: Sought): Pick<Means, 'find'> {
  if (finder === undefined) return {};
  const possible = finder.search(sought) ?? finder.changed?.path(sought);
  return possible === undefined ? {} : { find: { finder, sought } };
}

/**
 * As it was priced; the operator's prices may have changed since, so what was held counts. Of a request that was not
 * kept, what its route says without any field: that tells whether an object is paid for, and whether it is taken over.
 */
function priceOf(
  call: CallRow,
  route: Route,
  ids: Readonly<Record<string, string>>,
  request: VendorRequest,
  known: boolean,
  { fx }: KeyFacts,
): Price {
  const asHeld: Price = { kind: 'fixed', micros: call.quote_micros, out: false };
  const pricing = route.price(request, ids, { fx });
  if (!pricing.ok || pricing.price.kind === 'fixed') return asHeld;
  if (!known && pricing.price.kind === 'free' && call.quote_micros > 0) return asHeld;
  return pricing.price;
}
