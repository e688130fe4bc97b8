/**
 * What was sent for a call, without the secret: kept, sealed, for a call whose outcome is or may become unknown, so that
 * it can be sent again byte by byte, or be looked up.
 */
import { recordKey } from './call';
import type { Upstream } from './forward';
import { decodeBody, readPath, readRequest } from './reading';
import type { Seal } from './seal';
import type { CallRow } from './stores/tables';
import { matchRoute, type RouteMatch } from './vendors/match';
import type { Price, Route, Vendor, VendorRequest } from './vendors/vendor';

/** A call as it goes to the vendor, but for the headers that carry the secret. */
export type Kept = Upstream;

/** Larger bodies are kept from the moment on at which the outcome is unknown, and lost if the process dies before. */
const KEPT_EARLY_BYTES_MAX = 16 * 1024;

/**
 * Must what is sent be kept from before it leaves? It is where nothing else could tell what became of the call after
 * the death of this process. Where the vendor can be asked by what the ledger's row says (Stripe), it is not: there a
 * call costs no second encryption.
 */
export function keptEarly({ idempotent, find }: Route, { kind }: Price, { body }: Kept): boolean {
  if (kind === 'free' || find?.by === 'key' || (!idempotent && find === undefined)) return false;
  return (body?.length ?? 0) <= KEPT_EARLY_BYTES_MAX;
}

export function sealKept(seal: Seal, kept: Kept, callId: string): Buffer {
  return seal.seal(Buffer.from(JSON.stringify(kept)), boundTo(callId));
}

export function openKept(seal: Seal, sealed: Buffer, callId: string): Kept {
  return JSON.parse(seal.open(sealed, boundTo(callId)).toString()) as Kept;
}

/** Not the call id alone: a stored answer must not be taken for a request. */
function boundTo(callId: string): string {
  return `request of ${callId}`;
}

/** The request as it was read when it came, read again out of what was sent. */
export function readKept({ method, path, headers, body }: Kept, vendor: Vendor, route: Route): VendorRequest {
  const bodyText = decodeBody(Buffer.from(body ?? ''));
  return readRequest({
    method,
    target: readPath(path),
    headers,
    bodyText,
    kind: route.body,
    repeats: vendor.repeats,
  });
}

/** The row of the vendor's table that a call of the ledger was made by; undefined once the table has it no more. */
export function routeOf(vendor: Vendor, { method, path }: Pick<CallRow, 'method' | 'path'>): RouteMatch | undefined {
  return matchRoute(vendor, method, path);
}

/** The idempotency key that was sent with a call of the ledger: the client's own, or the one that was made for it. */
export function keySent(call: CallRow, kept: Kept | undefined, { idempotencyHeader }: Vendor): string | null {
  if (idempotencyHeader === null) return null;
  return kept?.headers[idempotencyHeader] ?? call.idempotency_key ?? recordKeyOf(call) ?? ownKey(call.call_id);
}

function recordKeyOf({ job_id: job, key_id: keyId, record_id: record, method, path }: CallRow): string | undefined {
  return record === null ? undefined : recordKey(job ?? keyId, record, method, path);
}

/** Without a claim, a key that the call's id alone makes: sent again, it is still the same call. */
export function ownKey(callId: string): string {
  return `kb1_${callId}`;
}
