/** Reads from a vendor with the real secret: what the ledger must know of an object, or of a call, to count it. */
import { Refusal } from './contract';
import { pacedRefusal } from './failures';
import { parsed, type Sent } from './forward';
import type { KeyFacts } from './ledger/facts';
import type { Pacer, Waiting } from './pace';
import { rateLimitIn } from './rateLimit';
import type { Sender } from './upstreams';
import type { Credential, Price, PricingTerms, Valuation, Vendor } from './vendors/vendor';

/** A vendor account as far as reading needs it. */
export interface Readable extends Credential {
  readonly forwarder: Sender;
  readonly pacer: Pacer;
}

/** How long the proxy's own reads wait for a slot: nobody waits for their answers. */
const READ_WAIT_MS = 30_000;

/** Reads until the proxy stops: nothing leaves after that, and nobody waits for a slot. */
export async function readUntil(stopping: AbortSignal, vendor: Vendor, account: Readable, path: string): Promise<Sent> {
  const reason = 'the proxy is stopping';
  if (stopping.aborted) return { kind: 'unsent', reason };
  const mayLeave = () => (stopping.aborted ? reason : undefined);
  return readVendor(vendor, account, path, mayLeave, { waitMs: READ_WAIT_MS, onGone: whenStopping(stopping) });
}

/** For a wait that ends when the proxy stops. */
export function whenStopping(stopping: AbortSignal): NonNullable<Waiting['onGone']> {
  return (leave) => {
    stopping.addEventListener('abort', leave);
    return () => stopping.removeEventListener('abort', leave);
  };
}

/**
 * The vendor's answer to a read, which waits for a slot like a call, and is sent again while the vendor has too many
 * calls and the time lasts. Nothing is taken out of it: see `withoutSecret` before any of it is shown.
 */
export async function readVendor(
  vendor: Vendor,
  account: Readable,
  path: string,
  mayLeave: () => string | undefined = () => undefined,
  waiting: Waiting = { waitMs: READ_WAIT_MS },
): Promise<Sent> {
  const { pacer, forwarder } = account;
  const headers = { ...vendor.authorization(account), accept: 'application/json', 'accept-encoding': 'identity' };
  const until = Date.now() + waiting.waitMs;
  for (;;) {
    const turn = await pacer.wait({ ...waiting, waitMs: until - Date.now() });
    if (turn.kind === 'left') return { kind: 'unsent', reason: 'nobody waits for it any more' };
    if (turn.kind === 'full') {
      return { kind: 'unsent', reason: 'no slot came in time', retryAfterSeconds: turn.retryAfterSeconds };
    }
    const sent = await forwarder.send({ method: 'GET', path, headers, body: null }, mayLeave);
    const limit = rateLimitIn(vendor, sent);
    if (sent.kind === 'unsent') pacer.giveBack(turn.slot);
    else pacer.answered(turn.slot, limit);
    if (limit === undefined || Date.now() + pacer.expectedMs() > until) return sent;
  }
}

/** What to say of an answer that is in a currency without a rate; undefined: it is not. */
export function withoutRate(vendor: Vendor, answer: unknown, { fx }: PricingTerms): string | undefined {
  const currency = vendor.currencyOf(answer);
  if (currency === undefined || currency === 'usd' || Object.hasOwn(fx, currency)) return undefined;
  return `it is in ${currency}, and the key has no fx rate for that`;
}

export interface Lookup {
  readonly facts: KeyFacts;
  readonly vendor: Vendor;
  readonly account: Readable;
  readonly authorised: { readonly price: Price };
}

/**
 * Reads a vendor object that the ledger does not know, before money is held for it.
 * Throws {@link Refusal}: `rate_limited` without a slot in time, `upstream_unreachable` without a clear answer (a read
 * moves no money), `currency_not_allowed` without a rate, `request_unpriceable` when the vendor does not know the object.
 */
export async function lookUp(
  { facts, vendor, account, authorised: { price } }: Lookup,
  objectId: string,
  mayLeave: () => string | undefined,
  waiting: Waiting,
): Promise<Valuation> {
  const own = price.kind === 'object' ? price.lookupPath : undefined;
  const path = own ?? vendor.lookupPath(objectId, account.accountId);
  const sent = await readVendor(vendor, account, path, mayLeave, waiting);
  if (sent.kind === 'unsent' && sent.retryAfterSeconds !== undefined) {
    throw pacedRefusal(facts.account, sent.retryAfterSeconds);
  }
  if (rateLimitIn(vendor, sent) !== undefined) throw pacedRefusal(facts.account, account.pacer.retryAfterSeconds());
  if (sent.kind !== 'answered' || sent.status >= 500 || sent.status === 429) {
    const why = sent.kind === 'answered' ? `the vendor answered ${sent.status}` : sent.reason;
    const text = `upstream_unreachable: ${objectId} could not be looked up before the call (${why}); nothing was sent.`;
    throw new Refusal('upstream_unreachable', text);
  }
  const answer = parsed(sent.body);
  const value = sent.status === 200 ? vendor.lookupValue(answer, { fx: facts.fx }) : undefined;
  if (value !== undefined) return value;
  const currency = sent.status === 200 ? vendor.currencyOf(answer) : undefined;
  if (currency !== undefined && currency !== 'usd' && facts.fx[currency] === undefined) {
    const text = `currency_not_allowed: ${objectId} is in ${currency} and the key has no fx rate for it.`;
    throw new Refusal('currency_not_allowed', text, { field: 'currency' });
  }
  const text = `request_unpriceable: the vendor answered ${sent.status} for ${objectId}, so its amount is not known.`;
  throw new Refusal('request_unpriceable', text, { field: 'id' });
}
