/** The Temporal server is killed in mid-run and restarted on its database: the run ends as if nothing had been. */
import { randomUUID } from 'node:crypto';
import type { RunReport } from '../activities/contract/plan';
import {
  balancedBooks,
  booksOf,
  type KillStack,
  KINDS,
  type MidRun,
  quit,
  reportsOf,
  runsInTheMiddle,
  scanAll,
  SCANNED,
  startKillStack,
  underWay,
} from './support/kill';
import { customers, eventually, failedTasks, inputFor, startRun, writeSource } from './support/temporal';

let stack: KillStack;
let runs: readonly MidRun[];
let reports: ReadonlyMap<string, RunReport>;
let workerExit: number | null;

beforeAll(async () => {
  stack = await startKillStack({ delayMs: 300 });
  const taskQueue = `kill-${randomUUID()}`;
  const worker = await stack.startWorker(taskQueue);
  runs = await runsInTheMiddle(stack, taskQueue);
  await stack.killTemporal();
  // What the calls under way come to is known before there is a server to tell.
  await eventually(() => runs.every(({ prefix, kind }) => kind === 'in chunks' || underWay(stack, prefix) === 0));
  await stack.restartTemporal();
  reports = await reportsOf(runs);
  workerExit = await quit(worker);
}, 150_000);

afterAll(() => stack.stop());

test.each(KINDS)('a run $kind completes with every record executed once', async ({ kind, count }) => {
  const { prefix, handle, charged, flying } = runs.find((run) => run.kind === kind)!;
  expect(flying).toBeGreaterThan(0);
  expect(charged).toBeLessThan(count);
  expect(await booksOf(stack, prefix, reports.get(kind)!)).toEqual(balancedBooks(count));
  expect(await failedTasks(handle)).toEqual([]);
});

test('the worker outlives the server, and ends in order when it is told to', () => {
  expect(workerExit).toBe(0);
});

test('no vault key and no secret is in a history, a database or a log', async () => {
  const { secret, workerKey, apiKey } = stack.proxy;
  const secrets = [secret, workerKey, apiKey, ...runs.map(({ vaultKey }) => vaultKey)];
  const found = await scanAll(
    stack,
    runs.map(({ handle }) => handle),
    secrets,
  );
  expect(Object.keys(found)).toEqual(expect.arrayContaining(SCANNED));
  expect(Object.entries(found).filter(([, findings]) => findings.length > 0)).toEqual([]);
});

test('a secret that is written into them on purpose is found in each', async () => {
  const planted = `planted${randomUUID().replaceAll('-', '')}`;
  const vaultKey = `vk_${'Zk3'.repeat(14)}`;
  const taskQueue = `kill-${randomUUID()}`;
  const worker = await stack.startWorker(taskQueue);
  const path = await writeSource(stack, customers(3, 1_000, 'planted'));
  const carrier = await startRun(stack, taskQueue, inputFor(path, { label: planted }));
  const keyed = await startRun(stack, taskQueue, { label: vaultKey });
  // The worker logs the id of a run that fails.
  const logged = await startRun(stack, taskQueue, {}, { workflowId: planted });
  await Promise.allSettled([carrier.result(), keyed.result(), logged.result()]);
  await quit(worker);
  stack.logger.info({ note: planted });

  const found = placesIn(await scanAll(stack, [carrier], [planted]));
  expect(found).toEqual(['history', 'keybrake.db', 'log of proxy', 'log of worker', 'temporal.db']);
  const withKey = placesIn(await scanAll(stack, [keyed], []));
  expect(withKey).toEqual(['history', 'temporal.db']);
});

/** Where something was found: a database and its WAL are one place, and so are all workers. */
function placesIn(found: Awaited<ReturnType<typeof scanAll>>): string[] {
  const names = Object.keys(found).filter((name) => (found[name] ?? []).length > 0);
  return [...new Set(names.map((name) => name.replace(/-wal$|-log\.\d$| of run-.*| \d+$/, '')))].toSorted();
}
