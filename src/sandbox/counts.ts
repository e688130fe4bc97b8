import type { StrikeName } from './faults';

/** What was received over HTTP. */
export interface RequestCounts {
  /** All requests, of these the priced ones, and how many of them were answered from a stored answer. */
  requests: number;
  priced: number;
  replayed: number;
  /** Answered 409: the idempotency key was in use. */
  inUse: number;
  /** Answered 429: above the limit of a second. */
  limited: number;
  /** Injected faults that struck, by name. */
  injected: Partial<Record<StrikeName, number>>;
}

/** Nothing received yet. */
export function newCounts(): RequestCounts {
  return { requests: 0, priced: 0, replayed: 0, inUse: 0, limited: 0, injected: {} };
}
