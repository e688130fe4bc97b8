/** What this process is doing right now: one flight per idempotency key or object, calls on the wire, dead keys. */
import { within } from './deadlines';
import type { KeyFacts } from './ledger/facts';

/** Callers that may wait for one flight; more are answered at once. */
const WAITERS_MAX = 16;

interface Flight {
  waiters: number;
  /** Made by the first who waits. */
  landed?: Promise<void>;
  land?: () => void;
}

/** One at a time by name: an idempotency scope, or a vendor object whose mutations must not overlap. */
export class Flights {
  readonly #flights = new Map<string, Flight>();

  /**
   * Takes the name, or waits for it in turn. Answers how to give it back, or undefined when too many wait already or
   * `timeoutMs` have passed.
   */
  async take(name: string, timeoutMs: number): Promise<(() => void) | undefined> {
    const deadline = Date.now() + timeoutMs;
    for (let flight = this.#flights.get(name); flight !== undefined; flight = this.#flights.get(name)) {
      const left = deadline - Date.now();
      if (left <= 0 || flight.waiters >= WAITERS_MAX) return undefined;
      flight.waiters += 1;
      flight.landed ??= new Promise((resolve) => (flight.land = resolve));
      await within(flight.landed, left);
      flight.waiters -= 1;
    }
    return this.#begin(name);
  }

  /** Takes the name when nobody has it; undefined: somebody has. */
  takeFree(name: string): (() => void) | undefined {
    return this.#flights.has(name) ? undefined : this.#begin(name);
  }

  #begin(name: string): () => void {
    const flight: Flight = { waiters: 0 };
    this.#flights.set(name, flight);
    return () => {
      this.#flights.delete(name);
      flight.land?.();
    };
  }
}

/** A moment by both clocks of this machine: one goes on while the machine sleeps, the other is set by nobody. */
export interface Moment {
  readonly wall: number;
  readonly steady: number;
}

export function moment(afterMs = 0, from: Moment = { wall: Date.now(), steady: performance.now() }): Moment {
  return { wall: from.wall + afterMs, steady: from.steady + afterMs };
}

/** In doubt it has passed: by either clock. */
export function hasPassed({ wall, steady }: Moment): boolean {
  return Date.now() > wall || performance.now() > steady;
}

/** Calls that have been reserved and not ended, and the keys that were revoked in this process. */
export class Departures {
  readonly #active = new Set<{ readonly facts: KeyFacts; sent: boolean }>();
  readonly #dead = new Set<string>();

  begin(facts: KeyFacts) {
    const departure = { facts, sent: false };
    this.#active.add(departure);
    return departure;
  }

  end(departure: { readonly facts: KeyFacts; sent: boolean }): void {
    this.#active.delete(departure);
  }

  isDead({ keyId, ancestors }: KeyFacts): boolean {
    return this.#dead.size > 0 && (this.#dead.has(keyId) || ancestors.some((id) => this.#dead.has(id)));
  }

  /** From now on nothing leaves with the key or those below it. Answers how many such calls are at the vendor. */
  kill(keyId: string): number {
    this.#dead.add(keyId);
    const below = [...this.#active].filter(({ facts }) => facts.keyId === keyId || facts.ancestors.includes(keyId));
    return below.filter(({ sent }) => sent).length;
  }

  get size(): number {
    return this.#active.size;
  }
}
