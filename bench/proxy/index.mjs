/** Part 1: the proxy with its durable ledger, against a bare pass-through and against no proxy at all. */
import { closeSync, fdatasyncSync, openSync, writeSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startPostgres } from './postgres.mjs';
import { median, processes, ratio, takeTurns, told } from '../processes.mjs';

const CONNECTIONS = 64;
const SLOW_VENDOR_MS = 50;
const NO_KEY = 'sk_test_bench_0123456789';
const NAMES = ['direct', 'bare', 'dispatch', 'prototype', 'keybrake'];
/** How many replicas on one database; each number a contestant, where there is a Postgres. */
const REPLICAS = { postgres_1: 1, postgres_3: 3 };

export async function benchProxy({ rounds, seconds }, say) {
  const folder = await mkdtemp(join(tmpdir(), 'keybrake-bench-'));
  const { start, stop } = processes();
  const postgres = await startPostgres(say);
  try {
    const upstream = await start('./proxy/upstream.mjs');
    const bare = await start('./proxy/bare.mjs', upstream.url, 'request');
    const dispatch = await start('./proxy/bare.mjs', upstream.url, 'dispatch');
    const prototype = await start('./proxy/prototype.mjs', upstream.url, join(folder, 'prototype.log'));
    const keybrake = await start('./proxy/keybrake.mjs', upstream.url, join(folder, 'ledger.db'));
    const load = await start('./proxy/load.mjs');
    const targets = {
      direct: { urls: [upstream.url], bearer: NO_KEY },
      bare: { urls: [bare.url], bearer: NO_KEY },
      dispatch: { urls: [dispatch.url], bearer: NO_KEY },
      prototype: { urls: [prototype.url], bearer: NO_KEY },
      keybrake: { urls: [keybrake.url], bearer: keybrake.vaultKey },
    };
    const onPostgres = postgres === undefined ? [] : Object.keys(REPLICAS);
    for (const name of onPostgres) {
      const database = await postgres.newDatabase();
      const replicas = [];
      for (let index = 0; index < REPLICAS[name]; index += 1) {
        const spool = join(folder, `${name}-${index}`);
        replicas.push(await start('./proxy/keybrake.mjs', upstream.url, database, spool));
      }
      targets[name] = { urls: replicas.map(({ url }) => url), bearer: replicas[0].vaultKey };
    }
    const all = [...NAMES, ...onPostgres];
    const fire = (connections, length) => async (name) => {
      load.child.send({ ...targets[name], connections, seconds: length });
      const { wrong, ...round } = await told(load.child);
      if (wrong.length > 0) throw new Error(`${name} answered wrongly: ${wrong[0]}`);
      return round;
    };

    say(`proxy: warming up, then ${rounds} rounds of ${seconds} s for each of ${all.join(', ')}, in turn`);
    say(`proxy: then half as long for ${NAMES.join(', ')} on one connection, and at a slow vendor`);
    // Not counted: the code of all of them is compiled for good only after some ten thousand calls.
    await takeTurns(2, all, fire(CONNECTIONS, seconds * 2));
    const disk = [];
    const many = await takeTurns(rounds, all, (name) => {
      disk.push(syncMs(folder));
      return fire(CONNECTIONS, seconds)(name);
    });
    const one = await takeTurns(rounds, NAMES, fire(1, seconds / 2));
    upstream.child.send({ delayMs: SLOW_VENDOR_MS });
    const slow = await takeTurns(rounds, NAMES, fire(CONNECTIONS, seconds / 2));
    return {
      connections: CONNECTIONS,
      instant_vendor: { ...figures(many), ...(onPostgres.length > 0 && ratiosOnPostgres(many)) },
      slow_vendor: { vendor_ms: SLOW_VENDOR_MS, ...figures(slow) },
      one_connection: { ...figures(one), added_p50_ms: addedTo(one) },
      disk_sync_ms: median(disk),
    };
  } finally {
    await stop();
    postgres?.remove();
    await rm(folder, { recursive: true, force: true });
  }
}

function figures(taken) {
  const perSecond = (name) => taken[name].map((round) => round.perSecond);
  const ratios = perSecond('keybrake').map((value, round) => value / perSecond('bare')[round]);
  const rows = Object.keys(taken).map((name) => {
    const of = (figure) => median(taken[name].map((round) => round[figure]));
    return [name, { calls_per_second: of('perSecond'), p50_ms: of('p50'), p99_ms: of('p99') }];
  });
  return {
    ...Object.fromEntries(rows),
    ratio_to_bare: ratio(perSecond('keybrake'), perSecond('bare')),
    ratio_range: [Math.min(...ratios), Math.max(...ratios)],
    ratio_to_dispatch: ratio(perSecond('keybrake'), perSecond('dispatch')),
    prototype_to_bare: ratio(perSecond('prototype'), perSecond('bare')),
  };
}

/** One replica on Postgres against SQLite, and three against one. */
function ratiosOnPostgres(taken) {
  const [sqlite, one, three] = ['keybrake', 'postgres_1', 'postgres_3'].map((name) =>
    taken[name].map(({ perSecond }) => perSecond),
  );
  return { postgres_to_sqlite: ratio(one, sqlite), postgres_3_to_1: ratio(three, one) };
}

/** What a single caller waits longer than without a proxy, in the median. */
function addedTo(taken) {
  const added = (name) => median(taken[name].map(({ p50 }, round) => p50 - taken.direct[round].p50));
  return { bare: added('bare'), prototype: added('prototype'), keybrake: added('keybrake') };
}

/** What one sync of a small append takes on the ledger's disk: every call needs two. */
function syncMs(folder) {
  const file = openSync(join(folder, 'sync'), 'a');
  const times = Array.from({ length: 20 }, () => {
    writeSync(file, Buffer.alloc(4_096));
    const started = performance.now();
    fdatasyncSync(file);
    return performance.now() - started;
  });
  closeSync(file);
  return median(times);
}
