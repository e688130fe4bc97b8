/** Resident memory of processes, in MiB, as Linux tells it. */
import { readFileSync } from 'node:fs';

const EVERY_MS = 1_000;

/** `pids` by name. `now()` is the last reading, `stop()` the highest ones. */
export function watchMemory(pids) {
  const peaks = {};
  const read = () => {
    const last = {};
    for (const [name, pid] of Object.entries(pids)) {
      const mib = residentMib(pid);
      last[`${name}_mib`] = mib;
      peaks[name] = Math.max(peaks[name] ?? 0, mib);
    }
    return last;
  };
  read();
  const timer = setInterval(read, EVERY_MS);
  return {
    now: read,
    stop() {
      clearInterval(timer);
      return peaks;
    },
  };
}

function residentMib(pid) {
  const kib = /^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1];
  return Math.round(Number(kib ?? 0) / 1024);
}
