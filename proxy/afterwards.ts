/** Work that nobody waits for, done after what somebody does wait for in this turn of the event loop. */

let waiting: (() => void)[] = [];

/** `work` must not throw. It is done in the order in which it was given. */
export function afterwards(work: () => void): void {
  // Twice, since a commit of the ledger that is asked for after this is itself begun by `setImmediate`.
  if (waiting.length === 0) setImmediate(() => setImmediate(doAll));
  waiting.push(work);
}

function doAll(): void {
  const all = waiting;
  waiting = [];
  for (const work of all) work();
}
