/**
 * Part 4: the peers, each as it is installed from its registry. How many calls a second, and by how many dollars each
 * goes over a cap of fifty calls of $10 when calls come in parallel.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Agent } from 'undici';
import { median, processes, told } from '../processes.mjs';
import { envoy, inferrail, keybrake, litellm, nginx } from './contestants.mjs';

export const CAP_CALLS = 50;
export const USD_PER_CALL = 10;
const BURST = 200;
const PARALLEL = [50, 200];
/** A real vendor takes time: it is what lets a check of past spend be too late. */
const VENDOR_MS = 100;
const SPEED_CONNECTIONS = 64;

const PEERS = { keybrake, litellm, inferrail, envoy, nginx };

export async function benchPeers({ seconds, rounds, only = Object.keys(PEERS) }, say) {
  const results = {};
  for (const name of only) {
    say(`peers: ${name}`);
    const folder = await mkdtemp(join(tmpdir(), `keybrake-peer-${name}-`));
    const { start, stop } = processes();
    try {
      const instant = await start('./peers/vendor.mjs', 0);
      const slow = await start('./peers/vendor.mjs', VENDOR_MS);
      const usdCap = CAP_CALLS * USD_PER_CALL;
      const setting = { folder, start, say, usdCap, usdPerCall: USD_PER_CALL, calls: CAP_CALLS };
      const fast = await PEERS[name]({ ...setting, vendor: instant.url });
      if (fast === undefined) {
        results[name] = null;
        continue;
      }
      const perSecond = [];
      try {
        await fire(await fast.open(), { connections: SPEED_CONNECTIONS, seconds: 1 });
        for (let round = 0; round < rounds; round += 1) {
          perSecond.push((await fire(await fast.open(), { connections: SPEED_CONNECTIONS, seconds })).perSecond);
        }
      } finally {
        await fast.stop();
      }
      results[name] = { calls_per_second: median(perSecond), bursts: [], ...(fast.says && { says: fast.says }) };
      const capped = await PEERS[name]({ ...setting, folder: join(folder, 'capped'), vendor: slow.url });
      try {
        for (const connections of capped.enforces ? PARALLEL : []) {
          const before = await executed(slow.child);
          const { refused } = await fire(await capped.capped(), { connections, calls: BURST });
          const done = (await executed(slow.child)) - before;
          const over = Math.max(0, done - CAP_CALLS) * USD_PER_CALL;
          results[name].bursts.push({ parallel: connections, executed: done, refused, overshoot_usd: over });
        }
      } finally {
        await capped.stop();
      }
    } finally {
      await stop();
      await rm(folder, { recursive: true, force: true });
    }
  }
  return { cap_calls: CAP_CALLS, usd_per_call: USD_PER_CALL, burst: BURST, vendor_ms: VENDOR_MS, peers: results };
}

async function executed(vendor) {
  const answer = told(vendor);
  vendor.send({});
  return (await answer).executed;
}

/** Calls `target` on so many connections, for some seconds or so often. What is not 200 counts as refused. */
async function fire({ url, headers, body }, { connections, seconds, calls }) {
  const agent = new Agent({ connections, pipelining: 1 });
  const { origin, pathname: path } = new URL(url);
  const started = performance.now();
  const until = seconds === undefined ? Infinity : started + seconds * 1000;
  let left = calls ?? Infinity;
  let good = 0;
  let refused = 0;
  const lane = async () => {
    while (left > 0 && performance.now() < until) {
      left -= 1;
      const answer = await agent.request({ origin, path, method: 'POST', headers: headers(), body });
      await answer.body.dump();
      if (answer.statusCode === 200) good += 1;
      else refused += 1;
    }
  };
  await Promise.all(Array.from({ length: connections }, lane));
  const took = (performance.now() - started) / 1000;
  await agent.close();
  if (seconds !== undefined && good === 0) throw new Error(`${url} answered no call with 200`);
  return { perSecond: good / took, refused };
}
