/** UTC days, by which the proxy counts daily caps; a workflow's clock is Temporal's. */

const DAY_MS = 86_400_000;

/** The UTC day of a time in milliseconds, as a number. */
export function dayOf(ms: number): number {
  return Math.floor(ms / DAY_MS);
}

/** Milliseconds from now until 00:00 UTC, when daily caps are free again. */
export function untilNextDay(): number {
  return DAY_MS - (Date.now() % DAY_MS);
}
