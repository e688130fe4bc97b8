/** A vendor that takes 20 calls a second, and runs that would make more: slower is all that happens. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { customers, inputFor, keyWith, run, type Stack, startStack, withWorker, writeSource } from './support/temporal';

const RECORDS = 500;
const KEY = keyWith({ usdCap: 10_000 });

let stack: Stack;
afterEach(() => stack.stop());

async function finishes(options: Parameters<typeof startStack>[0], change: object, records = RECORDS) {
  stack = await startStack(options);
  const path = await writeSource(stack, customers(records, 1_000));
  const started = Date.now();
  const report = await withWorker(stack, (taskQueue) =>
    run(stack, taskQueue, inputFor(path, { key: KEY, results: { path: 'paced.ndjson' }, ...change })),
  );
  const seconds = (Date.now() - started) / 1_000;
  expect(report).toMatchObject({
    status: 'completed',
    records: { total: records, succeeded: records, failed: 0, refused: 0, unknown: 0, declined: 0, replayed: 0 },
    spend: { settled_usd: records * 10, held_usd: 0, unknown_usd: 0 },
  });
  const { stripe } = stack.sandbox.stats();
  expect(stripe).toMatchObject({ executedCharges: records, duplicates: { keys: [], customers: [] } });
  const lines = (await readFile(join(stack.sourceDir, 'paced.ndjson'), 'utf8')).trim().split('\n');
  expect(lines.filter((line) => (JSON.parse(line) as { outcome: string }).outcome === 'succeeded')).toHaveLength(
    records,
  );
  return { seconds, limited: stripe.limited };
}

describe('against a vendor that answers 429 above 20 calls a second', () => {
  test('500 records with max_rps 20: all succeed, none is failed by a 429', async () => {
    const { seconds } = await finishes({ limitPerSecond: 20, proxy: { maxRps: 20 } }, {});
    expect(seconds).toBeGreaterThan(24);
    expect(seconds).toBeLessThan(90);
  }, 120_000);

  test('500 records in chunks without max_rps: the vendor’s 429 alone steers, and chunks wait and go on', async () => {
    const { limited } = await finishes({ limitPerSecond: 20 }, { recordsPerActivity: 50, concurrency: 200 });
    expect(limited).toBeGreaterThan(0);
  }, 120_000);
});

test('a proxy that sends away all that does not fit at once: rate_limited is tried again when it says so', async () => {
  const proxy = { maxRps: 50, paceWaitMs: 0 };
  await finishes({ proxy }, { recordsPerActivity: 50, concurrency: 100 }, 200);
  const { calls } = (await stack.proxy.client.summary('test/run')).spend;
  expect(calls.refused).toBeGreaterThan(50);
}, 120_000);
