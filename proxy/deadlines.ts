/**
 * What must be over within a time that is the same for all: one timer for as many as there are. A timer for each would
 * cost more than most of what is waited for, which ends long before.
 */
export class Deadlines {
  readonly #ms: number;
  /** In order of their coming, and so of their ends. */
  readonly #open = new Set<Deadline>();
  #armed = false;

  constructor(ms: number) {
    this.#ms = ms;
  }

  /** Calls `expired` after the time, unless it is taken back by {@link clear} before. */
  set(expired: () => void): Deadline {
    const deadline = { at: performance.now() + this.#ms, expired };
    this.#open.add(deadline);
    if (!this.#armed) this.#arm(this.#ms);
    return deadline;
  }

  clear(deadline: Deadline): void {
    this.#open.delete(deadline);
  }

  /** What the promise comes to; undefined: the time was over first. */
  within<T>(promise: Promise<T>): Promise<T | undefined> {
    return new Promise((resolve, reject) => {
      const deadline = this.set(() => resolve(undefined));
      promise.then(
        (value) => {
          this.clear(deadline);
          resolve(value);
        },
        (error: unknown) => {
          this.clear(deadline);
          reject(error);
        },
      );
    });
  }

  /** The timer is left as it is when what it was for has ended: it looks for the next one. It keeps no process alive. */
  #arm(ms: number): void {
    this.#armed = true;
    setTimeout(() => this.#look(), ms).unref();
  }

  #look(): void {
    this.#armed = false;
    const now = performance.now();
    for (const deadline of this.#open) {
      if (deadline.at > now) {
        this.#arm(Math.ceil(deadline.at - now));
        return;
      }
      this.#open.delete(deadline);
      deadline.expired();
    }
  }
}

export interface Deadline {
  /** By `performance.now`. */
  readonly at: number;
  readonly expired: () => void;
}
