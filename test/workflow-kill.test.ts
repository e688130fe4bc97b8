/** The worker is killed in mid-run and another one started: the run ends as if nothing had been. */
import { randomUUID } from 'node:crypto';
import type { RunReport } from '../activities/contract/plan';
import {
  balancedBooks,
  booksOf,
  kill,
  type KillStack,
  KINDS,
  type MidRun,
  quit,
  reportsOf,
  runsInTheMiddle,
  scanAll,
  SCANNED,
  startKillStack,
} from './support/kill';
import { eventually, failedTasks } from './support/temporal';

let stack: KillStack;
let runs: readonly MidRun[];
let reports: ReadonlyMap<string, RunReport>;

beforeAll(async () => {
  stack = await startKillStack({ delayMs: 300 });
  const taskQueue = `kill-${randomUUID()}`;
  const first = await stack.startWorker(taskQueue);
  runs = await runsInTheMiddle(stack, taskQueue);
  await kill(first);
  // The shortest lease ends before there is another worker.
  const leased = runs.find(({ kind }) => kind === 'with the shortest lease')!;
  await eventually(async () => (await stack.proxy.client.getKey(leased.keyId)).state === 'expired');
  const second = await stack.startWorker(taskQueue);
  reports = await reportsOf(runs);
  await quit(second);
}, 150_000);

afterAll(() => stack.stop());

test.each(KINDS)('a run $kind completes with every record executed once', async ({ kind, count }) => {
  const { prefix, handle, keyId, charged, flying } = runs.find((run) => run.kind === kind)!;
  expect(flying).toBeGreaterThan(0);
  expect(charged).toBeLessThan(count);
  expect(await booksOf(stack, prefix, reports.get(kind)!)).toEqual(balancedBooks(count));
  // The killed worker never heard of the calls that were under way: the next one asked again.
  expect((await stack.proxy.client.getKey(keyId)).spend.calls.replayed).toBeGreaterThan(0);
  expect(await failedTasks(handle)).toEqual([]);
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
