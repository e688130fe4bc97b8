/** Work in lanes, so many abreast for each account: one vendor that hangs keeps no other waiting. */
export class Lanes {
  readonly #abreast: number;
  readonly #waiting = new Map<string, Map<string, () => Promise<void>>>();
  readonly #working = new Map<string, Map<string, Promise<void>>>();

  constructor(abreast: number) {
    this.#abreast = abreast;
  }

  /** Takes the work unless work of the same name waits or is done already. It must not reject. */
  add(account: string, name: string, work: () => Promise<void>): void {
    const waiting = mapIn(this.#waiting, account);
    if (waiting.has(name) || mapIn(this.#working, account).has(name)) return;
    waiting.set(name, work);
    this.#fill(account);
  }

  /** Drops what waits; resolves when what is being done has ended. */
  async stop(): Promise<void> {
    this.#waiting.clear();
    await Promise.all([...this.#working.values()].flatMap((working) => [...working.values()]));
  }

  #fill(account: string): void {
    const waiting = mapIn(this.#waiting, account);
    const working = mapIn(this.#working, account);
    for (const [name, work] of waiting) {
      if (working.size >= this.#abreast) return;
      waiting.delete(name);
      const done = work().finally(() => {
        working.delete(name);
        this.#fill(account);
      });
      working.set(name, done);
    }
  }
}

function mapIn<T>(maps: Map<string, Map<string, T>>, name: string): Map<string, T> {
  let map = maps.get(name);
  if (map === undefined) maps.set(name, (map = new Map()));
  return map;
}
