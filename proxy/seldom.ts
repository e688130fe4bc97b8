/** What the log says of an outage must not fill it. */

const EVERY_MS = 60_000;

export interface Seldom {
  /** True at once, and then once a minute at most: whoever hears it is to speak now. */
  isDue(): boolean;
  /** What comes next is news again. */
  reset(): void;
}

/** @param now milliseconds of any clock. */
export function seldom(now: () => number = Date.now): Seldom {
  let saidAt = -Infinity;
  return {
    isDue() {
      const time = now();
      if (time - saidAt < EVERY_MS) return false;
      saidAt = time;
      return true;
    },
    reset() {
      saidAt = -Infinity;
    },
  };
}
