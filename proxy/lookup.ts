/** Reads from a vendor with the real secret: what the ledger must know of an object, or of a call, to count it. */
import { Refusal } from './contract';
import type { Sent } from './forward';
import type { KeyFacts } from './ledger/facts';
import type { Sender } from './upstreams';
import type { Credential, Price, Valuation, Vendor } from './vendors/vendor';

/** A vendor account as far as reading needs it. */
export interface Readable extends Credential {
  readonly forwarder: Sender;
}

/** The vendor's answer to a read. Nothing is taken out of it: see `withoutSecret` before any of it is shown. */
export function readVendor(
  vendor: Vendor,
  account: Readable,
  path: string,
  mayLeave: () => string | undefined = () => undefined,
): Promise<Sent> {
  const headers = { ...vendor.authorization(account), 'accept-encoding': 'identity' };
  return account.forwarder.send({ method: 'GET', path, headers, body: null }, mayLeave);
}

export interface Lookup {
  readonly facts: KeyFacts;
  readonly vendor: Vendor;
  readonly account: Readable;
  readonly authorised: { readonly price: Price };
}

/**
 * Reads a vendor object that the ledger does not know, before money is held for it.
 * Throws {@link Refusal}: `upstream_unreachable` without a clear answer (a read moves no money), `currency_not_allowed`
 * without a rate, `request_unpriceable` when the vendor does not know the object.
 */
export async function lookUp(
  { facts, vendor, account, authorised: { price } }: Lookup,
  objectId: string,
  mayLeave: () => string | undefined,
): Promise<Valuation> {
  const own = price.kind === 'object' ? price.lookupPath : undefined;
  const path = own ?? vendor.lookupPath(objectId, account.accountId);
  const sent = await readVendor(vendor, account, path, mayLeave);
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

/** A body as JSON; undefined when it is none. */
export function parsed(body: Buffer): unknown {
  try {
    return JSON.parse(body.toString()) as unknown;
  } catch {
    return undefined;
  }
}
