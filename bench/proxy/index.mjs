/** Part 1: the proxy with its durable ledger, against a bare pass-through and against no proxy at all. */
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const CONNECTIONS = 64;
const NO_KEY = 'sk_test_bench_0123456789';

/**
 * Rounds of the three targets take turns, so that what else the machine does hits all of them; a figure is the median
 * of its rounds, and a ratio the median of the ratios of neighbouring rounds.
 */
export async function benchProxy({ rounds, seconds }, say) {
  const folder = await mkdtemp(join(tmpdir(), 'keybrake-bench-'));
  const children = [];
  const start = async (file, ...args) => {
    const child = fork(fileURLToPath(new URL(file, import.meta.url)), args);
    children.push(child);
    return { child, ...(file === './load.mjs' ? {} : await told(child, file)) };
  };
  try {
    const upstream = await start('./upstream.mjs');
    const [bare, keybrake, load] = await Promise.all([
      start('./bare.mjs', upstream.url),
      start('./keybrake.mjs', upstream.url, join(folder, 'ledger.db')),
      start('./load.mjs'),
    ]);
    const targets = {
      direct: { url: upstream.url, bearer: NO_KEY },
      bare: { url: bare.url, bearer: NO_KEY },
      keybrake: { url: keybrake.url, bearer: keybrake.vaultKey },
    };
    const fire = async (name, connections, length) => {
      load.child.send({ ...targets[name], connections, seconds: length });
      const round = await told(load.child, name);
      if (round.wrong.length > 0) throw new Error(`${name} answered wrongly: ${round.wrong[0]}`);
      return round;
    };
    say(`proxy: ${rounds} rounds of ${seconds} s each, in turn`);
    for (const name of Object.keys(targets)) await fire(name, CONNECTIONS, seconds); // not counted: code gets warm
    const many = await takeTurns(rounds, Object.keys(targets), (name) => fire(name, CONNECTIONS, seconds));
    const one = await takeTurns(rounds, Object.keys(targets), (name) => fire(name, 1, seconds / 2));
    return report(many, one);
  } finally {
    await Promise.all(children.map(stop));
    await rm(folder, { recursive: true, force: true });
  }
}

async function takeTurns(rounds, names, fire) {
  const taken = Object.fromEntries(names.map((name) => [name, []]));
  for (let round = 0; round < rounds; round += 1) for (const name of names) taken[name].push(await fire(name));
  return taken;
}

function report(many, one) {
  const of = (taken) =>
    Object.fromEntries(
      Object.entries(taken).map(([name, rounds]) => [
        name,
        {
          calls_per_second: median(rounds.map(({ perSecond }) => perSecond)),
          p50_ms: median(rounds.map(({ p50 }) => p50)),
          p99_ms: median(rounds.map(({ p99 }) => p99)),
        },
      ]),
    );
  const ratios = many.keybrake.map(({ perSecond }, round) => perSecond / many.bare[round].perSecond);
  const added = (name) => median(one[name].map(({ p50 }, round) => p50 - one.direct[round].p50));
  return {
    connections: CONNECTIONS,
    at_64: of(many),
    at_1: of(one),
    ratio_to_bare: median(ratios),
    ratio_lowest: Math.min(...ratios),
    ratio_highest: Math.max(...ratios),
    added_p50_ms: { bare: added('bare'), keybrake: added('keybrake') },
  };
}

/** The next message of a child; rejects when it ends instead. */
async function told(child, name) {
  const ended = once(child, 'exit').then(([code]) => Promise.reject(new Error(`${name} ended with ${code}`)));
  ended.catch(() => undefined);
  const [message] = await Promise.race([once(child, 'message'), ended]);
  return message;
}

async function stop(child) {
  if (child.exitCode !== null) return;
  const ended = once(child, 'exit');
  child.kill('SIGTERM');
  await ended;
}

export function median(values) {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}
