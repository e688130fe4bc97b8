/** Child processes of the bench, and the little arithmetic that its parts share. */
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
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

/** Milliseconds of processor time that processes have taken so far, by the same names; null where there is no /proc. */
export function cpuMs(pids) {
  const read = (pid) => {
    const [, , ...fields] = readFileSync(`/proc/${pid}/stat`, 'latin1')
      .replace(/\(.*\)/s, 'name')
      .split(' ');
    return (Number(fields[11]) + Number(fields[12])) * MS_PER_TICK;
  };
  try {
    return Object.fromEntries(Object.entries(pids).map(([name, pid]) => [name, read(pid)]));
  } catch {
    return null;
  }
}

/** Linux counts processor time in hundredths of a second. */
const MS_PER_TICK = 10;

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
  return median(ratios(ours, theirs));
}

/** The lowest and the highest of what {@link ratio} is the median of. */
export function ratioRange(ours, theirs) {
  const all = ratios(ours, theirs);
  return [Math.min(...all), Math.max(...all)];
}

function ratios(ours, theirs) {
  return ours.map((value, round) => value / theirs[round]);
}
