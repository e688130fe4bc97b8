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
    return before(promise, (expired) => {
      const deadline = this.set(expired);
      return () => this.clear(deadline);
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

/** What the promise comes to; undefined: it took longer. For times that differ, or that nobody else waits for. */
export function within<T>(promise: Promise<T>, timeoutMs: number): Promise<T | undefined> {
  return before(promise, (expired) => {
    const timer = setTimeout(expired, timeoutMs);
    return () => clearTimeout(timer);
  });
}

/** `start` begins the time and answers how to end it with the promise: thousands would live on in a busy process. */
function before<T>(promise: Promise<T>, start: (expired: () => void) => () => void): Promise<T | undefined> {
  return new Promise((resolve, reject) => {
    const stop = start(() => resolve(undefined));
    promise.then(
      (value) => {
        stop();
        resolve(value);
      },
      (error: unknown) => {
        stop();
        reject(error);
      },
    );
  });
}
