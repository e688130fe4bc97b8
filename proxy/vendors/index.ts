/** The vendors: those with a table here, one line each, and those that the operator describes. */
import { type BuiltInVendorId, VENDOR_IDS, VENDOR_NAME, type VendorId } from '../contract';
import { customVendor, type CustomVendor } from './custom';
import { type ResendPrices, resendWith } from './resend';
import { stripe } from './stripe';
import type { TwilioPrices } from './twilio-prices';
import { twilioWith } from './twilio';
import type { Vendor } from './vendor';

/** What the operator says about vendors: `keybrake.yaml`, parsed and checked. */
export interface VendorSettings {
  /** Prices in micro-dollars, over those that are shipped. */
  readonly prices?: { readonly twilio?: Partial<TwilioPrices>; readonly resend?: Partial<ResendPrices> };
  /**
   * Where vendors reach the proxy, e.g. `https://keybrake.example.com`: they are asked to post to `/vault/callbacks/` below
   * it when something becomes of a call. Without it prices that come later are only looked for.
   */
  readonly callbackUrl?: string;
  /** Vendors of the operator's own, by name. */
  readonly vendors?: Readonly<Record<string, CustomVendor>>;
}

/** Every vendor that can be called, by its id. */
export type Vendors = ReadonlyMap<VendorId, Vendor>;

const BUILT_IN: Readonly<Record<BuiltInVendorId, (settings: VendorSettings) => Vendor>> = {
  stripe: () => stripe,
  twilio: ({ prices, callbackUrl }) =>
    twilioWith(prices?.twilio, callbackUrl && callbackAddress(callbackUrl, 'twilio')),
  resend: ({ prices }) => resendWith(prices?.resend),
};

/** What a vendor is told as the address to post to. */
export function callbackAddress(callbackUrl: string, vendorId: VendorId): string {
  return `${callbackUrl}/vault/callbacks/${vendorId}`;
}

/** The registry of one proxy. Throws an Error for a vendor's name that is taken, or none. */
export function createVendors(settings: VendorSettings = {}): Vendors {
  const vendors = new Map<VendorId, Vendor>();
  for (const [id, make] of Object.entries(BUILT_IN)) vendors.set(id, make(settings));
  for (const [id, spec] of Object.entries(settings.vendors ?? {})) {
    const problem = vendorNameProblem(id);
    if (problem !== undefined) throw new Error(`The vendor name "${id}" ${problem}.`);
    vendors.set(id, customVendor(id, spec));
  }
  return vendors;
}

/** First segments of paths that mean something else: the proxy's own, and the tables' at the root. */
const RESERVED: ReadonlySet<string> = new Set([
  ...VENDOR_IDS,
  'vault',
  'healthz',
  'readyz',
  'metrics',
  'console',
  'v1',
  'v2',
  'oauth',
  'verify',
  'lookups',
  'accounts',
  'iam',
  'emails',
  'domains',
  'api-keys',
  'webhooks',
]);

/** Why a vendor of the operator's own may not be called so; undefined: it may. */
export function vendorNameProblem(name: string): string | undefined {
  if (!VENDOR_NAME.test(name)) return 'must be lower-case letters, digits, - and _, and begin with a letter';
  return RESERVED.has(name) ? 'is taken' : undefined;
}
