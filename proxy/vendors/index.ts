/** The vendors, one line each. */
import type { VendorId } from '../contract';
import { stripe } from './stripe';
import type { Vendor } from './vendor';

/** Every vendor with a route table, by its id. */
export const VENDORS: Readonly<Record<VendorId, Vendor>> = { stripe };
