/** A vendor's 429, told apart from its quotas. Pure. */
import { parsed, type Sent } from './forward';
import type { RateLimit } from './pace';
import type { Vendor } from './vendors/vendor';

/**
 * The answer as one call too many in too short a time; undefined: it says no such thing. A 429 in a shape that is not
 * the vendor's is somebody's on the way, who wants fewer calls too.
 */
export function rateLimitIn(vendor: Vendor, sent: Sent, now = Date.now()): RateLimit | undefined {
  if (sent.kind !== 'answered' || sent.status !== 429) return undefined;
  const answer = parsed(sent.body);
  if (vendor.isVendorError(answer) && !vendor.isRateLimit(answer)) return undefined;
  return { retryAfterMs: retryAfterMs(sent.headers['retry-after'], now) };
}

/** RFC 9110: seconds, or a date. */
function retryAfterMs(header: string | string[] | undefined, now: number): number | undefined {
  if (typeof header !== 'string' || header.trim() === '') return undefined;
  const ms = /^\d+(\.\d+)?$/.test(header) ? Number(header) * 1_000 : Date.parse(header) - now;
  return Number.isFinite(ms) ? Math.max(0, ms) : undefined;
}
