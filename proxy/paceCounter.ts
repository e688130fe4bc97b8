import type { Clock } from './pace';

/** How many there were in the last second or the one before, whichever were more. */
export class Counter {
  readonly #clock: Clock;
  #second = 0;
  #now = 0;
  #before = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  add(): void {
    this.#turn();
    this.#now += 1;
  }

  perSecond(): number {
    this.#turn();
    return Math.max(this.#now, this.#before);
  }

  #turn(): void {
    const second = Math.floor(this.#clock.now() / 1_000);
    if (second === this.#second) return;
    this.#before = second === this.#second + 1 ? this.#now : 0;
    this.#now = 0;
    this.#second = second;
  }
}
