/** Child processes of the bench, and the little arithmetic that its parts share. */
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';

/** Starts scripts of the bench; `stop` ends all of them, the last first. */
export function processes() {
  const children = [];
  return {
    /** Resolves with the script's first message. */
    start: async (script, ...args) => {
      const child = fork(fileURLToPath(new URL(script, import.meta.url)), args.map(String));
      child.setMaxListeners(0);
      children.unshift(child);
      return { child, ...(await told(child)) };
    },
    stop: async () => {
      for (const child of children) {
        if (child.exitCode !== null || child.signalCode !== null) continue;
        const ended = once(child, 'exit');
        child.kill('SIGTERM');
        await ended;
      }
    },
  };
}

/** The next message of a child; rejects when it ends instead. */
export function told(child) {
  return new Promise((resolve, reject) => {
    const done = (settle) => (value) => {
      child.off('message', onMessage).off('exit', onExit);
      settle(value);
    };
    const onMessage = done(resolve);
    const onExit = done((code) => reject(new Error(`${child.spawnargs.at(1)} ended with ${code}`)));
    child.once('message', onMessage).once('exit', onExit);
  });
}

/** Runs every contestant once a round, so that what else the machine does hits all of them. */
export async function takeTurns(rounds, names, run) {
  const taken = Object.fromEntries(names.map((name) => [name, []]));
  for (let round = 0; round < rounds; round += 1) {
    for (const name of names) taken[name].push(await run(name, round));
  }
  return taken;
}

export function median(values) {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/** Of neighbouring rounds, the median of one's figure over the other's. */
export function ratio(ours, theirs) {
  return median(ours.map((value, round) => value / theirs[round]));
}
