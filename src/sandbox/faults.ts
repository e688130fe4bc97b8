/** Faults on demand: what may go wrong between a caller and a vendor. */
import { z } from 'zod';

const rate = z.union([
  z.number().min(0).max(1),
  z.strictObject({ every: z.number().int().min(1) }),
  z.strictObject({ first: z.number().int().min(0) }),
]);

/**
 * How often a fault strikes, over the requests it applies to: a probability, every n-th (`{ every: 3 }`) or
 * the first n since the faults were set (`{ first: 1 }`).
 */
export type Rate = z.input<typeof rate>;

const schema = z.strictObject({
  /** Seeds the random numbers, so that the same order of requests meets the same faults. */
  seed: z.number().int().default(1),
  /** Strikes every vendor request, reads and free ones too. Otherwise only priced ones. */
  all: z.boolean().default(false),
  /** The wait before the call executes. Its idempotency key is in use meanwhile. */
  delayMs: z.number().min(0).default(0),
  /** The wait between execution and answer. The answer is stored already, so a retry is not kept waiting for it. */
  delayAfterMs: z.number().min(0).default(0),
  /** Cuts the connection; nothing is executed. */
  dropBefore: rate.default(0),
  /** Executes, stores the answer under the key, cuts the connection. */
  dropAfter: rate.default(0),
  /** Answers 500; nothing is executed or stored. */
  error500Before: rate.default(0),
  /** Executes, then answers 500. */
  error500After: rate.default(0),
  /** Stores that 500 under the key, so that retries replay it for a day. Otherwise a retry gets the true answer. */
  error500Stored: z.boolean().default(false),
  /** Declines the card of a charge that would have succeeded; fails a message or call; bounces an email. */
  decline: rate.default(0),
  /** Answers 429; nothing is executed or stored. */
  rate429: rate.default(0),
  /** Answers 429 above this many requests in a second of the clock. */
  limitPerSecond: z.number().int().min(1).optional(),
});

/** The faults to inject. What is left out does not happen. */
export type Faults = Readonly<z.input<typeof schema>>;

const STRIKES = ['dropBefore', 'rate429', 'error500Before', 'decline', 'error500After', 'dropAfter'] as const;

/** The name of a fault that strikes single requests. */
export type StrikeName = (typeof STRIKES)[number];

/** What one request is to suffer. */
export type Strikes = { readonly [K in StrikeName]: boolean };

/** A request that nothing happens to. */
export const UNHARMED: Strikes = Object.freeze({
  dropBefore: false,
  rate429: false,
  error500Before: false,
  decline: false,
  error500After: false,
  dropAfter: false,
});

/** Decides, request by request, which faults strike. */
export class FaultInjector {
  readonly settings: Readonly<z.output<typeof schema>>;
  readonly #random: () => number;
  readonly #quiet: boolean;
  readonly #limit: PerSecond;
  #drawn = 0;

  /** Throws when the faults do not parse. */
  constructor(faults: unknown = {}) {
    this.settings = schema.parse(faults);
    this.#random = randomFrom(this.settings.seed);
    this.#limit = new PerSecond(this.settings.limitPerSecond);
    this.#quiet = STRIKES.every((name) => this.settings[name] === 0);
  }

  /** The strikes on the next request. */
  draw(): Strikes {
    if (this.#quiet) return UNHARMED;
    this.#drawn += 1;
    const strikes: Record<StrikeName, boolean> = { ...UNHARMED };
    for (const name of STRIKES) strikes[name] = this.#hits(this.settings[name]);
    return strikes;
  }

  /** Counts a request against `limitPerSecond`; true when it is one too many. */
  overLimit(nowMs: number): boolean {
    return this.#limit.isOver(nowMs);
  }

  #hits(rateOf: Rate): boolean {
    if (typeof rateOf === 'number') return rateOf > 0 && this.#random() < rateOf;
    return 'every' in rateOf ? this.#drawn % rateOf.every === 0 : this.#drawn <= rateOf.first;
  }
}

/** So many in each second of the clock; undefined: any number. */
export class PerSecond {
  readonly #limit: number | undefined;
  #second = 0;
  #count = 0;

  constructor(limit: number | undefined) {
    this.#limit = limit;
  }

  /** Counts one; true when it is one too many. */
  isOver(nowMs: number): boolean {
    if (this.#limit === undefined) return false;
    const second = Math.floor(nowMs / 1000);
    if (second !== this.#second) {
      this.#second = second;
      this.#count = 0;
    }
    this.#count += 1;
    return this.#count > this.#limit;
  }
}

/** The generator "mulberry32": 32 bits of state, good enough to spread faults. */
function randomFrom(seed: number): () => number {
  let state = seed | 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
