/** From the client's request to the facts of a call: context, destination, headers that go on. Pure. */
import { hash } from 'node:crypto';
import { HEADERS, Refusal } from './contract';
import type { KeyFacts } from './ledger/facts';
import type { CallFacts } from './ledger/reserve';
import type { Authorised } from './authorise';
import type { Upstream } from './forward';
import { encodeBody, encodeForm, fingerprint, type RequestHeaders, type Target } from './reading';
import type { Vendors } from './vendors';
import type { Credential, Vendor, VendorRequest } from './vendors/vendor';

/** A vendor call's body; Stripe's forms are a few kilobytes. */
export const BODY_BYTES_MAX = 1024 * 1024;

/** A request as the server hands it over. */
export interface DataRequest {
  readonly method: string;
  readonly url: string;
  readonly headers: RequestHeaders & { readonly authorization?: string | undefined };
  /** Undefined: it is larger than {@link BODY_BYTES_MAX}. */
  readonly body: Buffer | undefined;
  /** Has the client gone? */
  readonly gone: () => boolean;
  /** Calls `leave` when the client goes; answers how to stop listening. */
  readonly onGone: (leave: () => void) => () => void;
}

const CONTEXT_CHARACTERS_MAX = 500;
const IDEMPOTENCY_KEY_MAX = 255;

/** `keyHeader`: where this vendor's clients give their idempotency keys, beside `Idempotency-Key`. */
export function callFacts(
  incoming: DataRequest,
  facts: KeyFacts,
  callId: string,
  epoch: string,
  keyHeader: string | null = null,
): CallFacts {
  const { headers } = incoming;
  const attempt = Number(text(headers, HEADERS.attempt));
  return {
    callId,
    facts,
    epoch,
    method: incoming.method,
    path: withoutVaultKey(incoming.url.split('?', 1)[0]?.slice(0, CONTEXT_CHARACTERS_MAX) ?? ''),
    route: null,
    idempotencyKey: text(headers, keyHeader ?? HEADERS.idempotencyKey) ?? text(headers, HEADERS.idempotencyKey),
    recordId: recordIdIn(headers),
    workflowId: decoded(text(headers, HEADERS.workflowId)),
    activityId: decoded(text(headers, HEADERS.activityId)),
    attempt: Number.isSafeInteger(attempt) && attempt > 0 ? attempt : null,
    context: decoded(text(headers, HEADERS.context)),
  };
}

/** None where it is too long to be kept whole: see {@link bodyOf}. */
function recordIdIn(headers: RequestHeaders): string | null {
  return isTooLong(headers[HEADERS.recordId]) ? null : text(headers, HEADERS.recordId);
}

function isTooLong(recordId: string | readonly string[] | undefined): boolean {
  return typeof recordId === 'string' && recordId.length > CONTEXT_CHARACTERS_MAX;
}

function text(headers: RequestHeaders, name: string): string | null {
  const value = headers[name];
  return typeof value === 'string' && value !== '' ? withoutVaultKey(value.slice(0, CONTEXT_CHARACTERS_MAX)) : null;
}

const VAULT_KEY = /vk_[0-9a-z]{26}_[0-9a-f]{40}/;

/** What a caller put in the wrong place must not be kept in the ledger. */
function withoutVaultKey(value: string): string {
  return value.includes('vk_') ? value.replaceAll(new RegExp(VAULT_KEY, 'g'), '[vault key]') : value;
}

/**
 * The body. Throws {@link Refusal} when it is too large; when there is a vault key in the path, the idempotency key (also
 * one in the vendor's own `keyHeader`) or the record id, because two of which it is taken out would be one; and when the
 * record id is too long to be kept whole: two that begin alike must not be taken for one.
 */
export function bodyOf({ url, headers, body }: DataRequest, keyHeader: string | null): Buffer {
  if (body === undefined) {
    throw new Refusal('payload_too_large', `payload_too_large: a vendor call has at most ${BODY_BYTES_MAX} bytes.`);
  }
  if (isTooLong(headers[HEADERS.recordId])) {
    const reason = `request_unpriceable: a record id has at most ${CONTEXT_CHARACTERS_MAX} characters: send a hash of it.`;
    throw new Refusal('request_unpriceable', reason, { field: 'Keybrake-Record-Id' });
  }
  const field = placeOfVaultKey(url, headers, keyHeader);
  if (field === undefined) return body;
  const reason = `request_unpriceable: there is a vault key in the ${field}: it belongs in Authorization only.`;
  throw new Refusal('request_unpriceable', reason, { field });
}

function placeOfVaultKey(url: string, headers: DataRequest['headers'], keyHeader: string | null): string | undefined {
  const holdsOne = (value: string | readonly string[] | undefined) =>
    value !== undefined && VAULT_KEY.test(String(value));
  if (holdsOne(url)) return 'path';
  if (holdsOne(headers[HEADERS.idempotencyKey])) return 'Idempotency-Key';
  if (holdsOne(headers[HEADERS.recordId])) return 'Keybrake-Record-Id';
  const isOwn = keyHeader !== null && keyHeader !== HEADERS.idempotencyKey;
  return isOwn && holdsOne(headers[keyHeader]) ? keyHeader : undefined;
}

/**
 * Header values are ASCII: clients percent-encode what is not, and percent signs. A value that is no such encoding is taken
 * as it is. A record id is never decoded: it decides what is one record, whoever sends it.
 */
function decoded(value: string | null): string | null {
  if (value === null || !value.includes('%')) return value;
  try {
    return decodeURIComponent(value);
  } catch {
    return value;
  }
}

/**
 * Takes the vendor's prefix off the path; at the root the vault key tells the vendor. Throws `account_not_allowed` for
 * a path of another vendor than the key's.
 */
export function destination({ path, query }: Target, vendor: Vendor, vendors: Vendors): Target {
  const end = path.indexOf('/', 1);
  const first = end === -1 ? path.slice(1) : path.slice(1, end);
  if (first === vendor.id && end !== -1) return { path: path.slice(end), query };
  const prefixed = vendors.get(first);
  if (prefixed === undefined && hasPathsUnder(vendor, first)) return { path, query };
  const owner = prefixed ?? vendorShown(path, vendors, vendor);
  if (owner === undefined || owner === vendor) return { path, query };
  const reason = `account_not_allowed: the path is ${owner.id}'s and the vault key is for ${vendor.id}.`;
  throw new Refusal('account_not_allowed', reason, { attempted: path.slice(0, CONTEXT_CHARACTERS_MAX) });
}

/**
 * Whose SDK calls, and so in whose error shape a request is refused: stripe-node takes any other for success. It is one
 * that has such paths: the vendor of the prefix or the key's own; at the root, the key's own before others.
 */
export function vendorShown(url: string, vendors: Vendors, own?: Vendor): Vendor | undefined {
  const [, first = '', second] = url.split(/[/?]/, 3);
  const prefixed = vendors.get(first);
  const start = prefixed === undefined ? first : second;
  const others = prefixed === undefined ? vendors.values() : [];
  const all = [prefixed, own, ...others].filter((vendor) => vendor !== undefined);
  return all.find((vendor) => start !== undefined && hasPathsUnder(vendor, start)) ?? all[0];
}

const firstSegments = new WeakMap<Vendor, ReadonlySet<string>>();

/** Does the vendor's table have a path that begins with this segment? */
function hasPathsUnder(vendor: Vendor, segment: string): boolean {
  let known = firstSegments.get(vendor);
  if (known === undefined) {
    known = new Set(vendor.routes.map(({ path }) => path.split('/', 2)[1] ?? ''));
    firstSegments.set(vendor, known);
  }
  return known.has(segment);
}

/**
 * The idempotency key under which the call takes its claim: the client's own; else, for a paid call, one made from the
 * named record, or, with `sameIsRetry`, from what the request says, so that it is the same on every retry. Undefined:
 * none.
 */
export function claimKey(
  call: CallFacts,
  request: VendorRequest,
  free: boolean,
  sameIsRetry = false,
): string | undefined {
  if (request.method !== 'POST' && free) return undefined;
  if (call.idempotencyKey !== null) {
    if (call.idempotencyKey.length > IDEMPOTENCY_KEY_MAX) {
      const reason = `request_unpriceable: an idempotency key has at most ${IDEMPOTENCY_KEY_MAX} characters.`;
      throw new Refusal('request_unpriceable', reason, { field: 'Idempotency-Key' });
    }
    return call.idempotencyKey;
  }
  if (free) return undefined;
  const owner = call.facts.jobId ?? call.facts.keyId;
  if (call.recordId === null) {
    return sameIsRetry ? `kb1_${hash('sha256', [owner, fingerprint(request)].join('\n'))}` : undefined;
  }
  return recordKey(owner, call.recordId, request.method, request.path);
}

/** The key of a paid call about a record whose client gives none: `owner` is the job, else the vault key. */
export function recordKey(owner: string, recordId: string, method: string, path: string): string {
  return `kb1_${hash('sha256', [owner, recordId, method, path].join('\n'))}`;
}

/** What goes to the vendor, rebuilt from what was read; without the headers that carry the secret. */
export function upstreamCall(
  {
    vendor,
    request,
    authorised: { route, adds },
    headers,
  }: {
    readonly vendor: Vendor;
    readonly request: VendorRequest;
    readonly authorised: Authorised;
    readonly headers: Readonly<Record<string, string>>;
  },
  idempotencyKey: string | undefined,
): Upstream {
  const { text: body, headers: declared } = encodeBody(request, route.body, adds);
  const header = vendor.idempotencyHeader;
  const keyed: Record<string, string> = {};
  if (header !== null && idempotencyKey !== undefined) keyed[header] = idempotencyKey;
  return {
    method: request.method,
    path: request.query.length > 0 ? `${request.path}?${encodeForm(request.query)}` : request.path,
    headers: Object.assign({}, headers, declared, keyed),
    body,
  };
}

/** Headers for the vendor: only what its table lets pass, and none that carries the secret there. */
export function passedHeaders(headers: RequestHeaders, vendor: Vendor, account: Credential): Record<string, string> {
  const passed: Record<string, string> = {};
  const secret = vendor.authorization(account);
  for (const name of vendor.passHeaders) {
    const value = headers[name];
    if (typeof value === 'string' && secret[name] === undefined) passed[name] = value;
  }
  passed['accept-encoding'] = 'identity';
  return passed;
}
