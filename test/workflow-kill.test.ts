/** Workers and the Temporal server are killed in mid-run: the run ends as if nothing had been. */
import { randomUUID } from 'node:crypto';
import type { RunReport } from '../activities/contract/plan';
import {
  balancedBooks,
  booksOf,
  chargesOf,
  keyOf,
  kill,
  type KillStack,
  quit,
  scanAll,
  startKillStack,
  underWay,
} from './support/kill';
import {
  customers,
  eventually,
  failedTasks,
  inputFor,
  keyWith,
  type RunHandle,
  startRun,
  writeSource,
} from './support/temporal';

const KINDS = [
  { kind: 'record by record', count: 60, change: { concurrency: 6 } },
  { kind: 'in chunks', count: 60, change: { concurrency: 6, recordsPerActivity: 10 } },
  { kind: 'in a shard', count: 1_100, change: { concurrency: 60, key: keyWith({ usdCap: 20_000 }) } },
  { kind: 'with the shortest lease', count: 60, change: { concurrency: 6, key: keyWith({ lease: '10s' }) } },
] as const;

interface MidRun {
  readonly kind: string;
  readonly prefix: string;
  readonly count: number;
  readonly handle: RunHandle;
  readonly keyId: string;
}

let stack: KillStack;
const everyRun: MidRun[] = [];
const vaultKeys: string[] = [];

beforeAll(async () => {
  stack = await startKillStack({ delayMs: 300 });
});

afterAll(() => stack.stop());

/** One run of each kind, each with answers got and calls under way when this answers. */
async function runsInTheMiddle(taskQueue: string): Promise<MidRun[]> {
  const begun = await Promise.all(
    KINDS.map(async ({ kind, count, change }) => {
      const prefix = `k${randomUUID().slice(0, 8)}`;
      const path = await writeSource(stack, customers(count, 1_000, prefix));
      return { kind, prefix, count, handle: await startRun(stack, taskQueue, inputFor(path, change)) };
    }),
  );
  const runs = await Promise.all(begun.map(async (run) => ({ ...run, keyId: await keyOf(run.handle) })));
  for (const { keyId } of runs) vaultKeys.push((await stack.proxy.client.tokenFor(keyId)).vault_key);
  everyRun.push(...runs);
  await eventually(() =>
    runs.every(({ prefix }) => chargesOf(stack, prefix).length >= 6 && underWay(stack, prefix) > 0),
  );
  return runs;
}

/** What was in the middle when it happened. */
function snapshot(runs: readonly MidRun[]): ReadonlyMap<string, { readonly charged: number; readonly flying: number }> {
  return new Map(
    runs.map(({ kind, prefix }) => [
      kind,
      { charged: chargesOf(stack, prefix).length, flying: underWay(stack, prefix) },
    ]),
  );
}

async function reportsOf(runs: readonly MidRun[]): Promise<ReadonlyMap<string, RunReport>> {
  return new Map(await Promise.all(runs.map(async ({ kind, handle }) => [kind, await handle.result()] as const)));
}

describe('when the worker was killed with SIGKILL in mid-run and another one was started, a run', () => {
  let runs: readonly MidRun[];
  let before: ReturnType<typeof snapshot>;
  let reports: ReadonlyMap<string, RunReport>;

  beforeAll(async () => {
    const taskQueue = `kill-${randomUUID()}`;
    const first = await stack.startWorker(taskQueue);
    runs = await runsInTheMiddle(taskQueue);
    before = snapshot(runs);
    await kill(first);
    const leased = runs.find(({ kind }) => kind === 'with the shortest lease');
    // Its lease ends before there is another worker.
    await eventually(async () => (await stack.proxy.client.getKey(leased?.keyId ?? '')).state === 'expired');
    const second = await stack.startWorker(taskQueue);
    reports = await reportsOf(runs);
    await quit(second);
  }, 120_000);

  test.each(KINDS)('$kind completes with every record executed once', async ({ kind, count }) => {
    const { prefix, handle, keyId } = runs.find((run) => run.kind === kind)!;
    expect(before.get(kind)!.flying).toBeGreaterThan(0);
    expect(before.get(kind)!.charged).toBeLessThan(count);
    expect(await booksOf(stack, prefix, reports.get(kind)!)).toEqual(balancedBooks(count));
    // The killed worker never heard of the calls that were under way: the next one asked again.
    expect((await stack.proxy.client.getKey(keyId)).spend.calls.replayed).toBeGreaterThan(0);
    expect(await failedTasks(handle)).toEqual([]);
  });
});

describe('when the Temporal server was killed with SIGKILL in mid-run and restarted on its database, a run', () => {
  let runs: readonly MidRun[];
  let before: ReturnType<typeof snapshot>;
  let reports: ReadonlyMap<string, RunReport>;

  beforeAll(async () => {
    const taskQueue = `kill-${randomUUID()}`;
    const worker = await stack.startWorker(taskQueue);
    runs = await runsInTheMiddle(taskQueue);
    before = snapshot(runs);
    await stack.killTemporal();
    // The calls under way end while there is no server to tell.
    await eventually(() => runs.every(({ prefix }) => underWay(stack, prefix) === 0));
    await stack.restartTemporal();
    reports = await reportsOf(runs);
    // It lived through all of it.
    expect(await quit(worker)).toBe(0);
  }, 120_000);

  test.each(KINDS)('$kind completes with every record executed once', async ({ kind, count }) => {
    const { prefix, handle } = runs.find((run) => run.kind === kind)!;
    expect(before.get(kind)!.flying).toBeGreaterThan(0);
    expect(before.get(kind)!.charged).toBeLessThan(count);
    expect(await booksOf(stack, prefix, reports.get(kind)!)).toEqual(balancedBooks(count));
    expect(await failedTasks(handle)).toEqual([]);
  });
});

describe('after all these runs', () => {
  const allSecrets = () => {
    const { secret, workerKey, apiKey } = stack.proxy;
    return [secret, workerKey, apiKey, ...vaultKeys];
  };

  test("no history, no byte of Temporal's database and of the ledger, and no log holds a vault key or a secret", async () => {
    expect(vaultKeys).toHaveLength(2 * KINDS.length);
    const found = await scanAll(
      stack,
      everyRun.map(({ handle }) => handle),
      allSecrets(),
    );
    expect(Object.keys(found)).toEqual(expect.arrayContaining(PLACES));
    expect(Object.entries(found).filter(([, findings]) => findings.length > 0)).toEqual([]);
  });

  test('what a run was given to carry is found in every one of these places', async () => {
    const planted = `planted${randomUUID().replaceAll('-', '')}`;
    const taskQueue = `kill-${randomUUID()}`;
    const worker = await stack.startWorker(taskQueue);
    const path = await writeSource(stack, customers(3, 1_000, planted));
    const handle = await startRun(stack, taskQueue, inputFor(path, { label: planted }));
    const wrong = await startRun(stack, planted, inputFor(path));
    await handle.result();
    await wrong.terminate(planted);
    await quit(worker);
    const found = await scanAll(stack, [handle], [planted]);
    console.log(Object.entries(found).map(([n, f]) => n + ' ' + f.length));
    const key = `vk_${'Zk3'.repeat(14)}`;
    const memo = { note: { deep: [key] } };
    const carrier = await startRun(stack, taskQueue, inputFor(path, { label: key }), { memo });
    await carrier.terminate('seen');
    const seen = await scanAll(stack, [carrier], []);
    console.log(Object.entries(seen).map(([n, f]) => n + ' ' + f.length));
  });
});

const PLACES = ['temporal.db', 'keybrake.db', 'keybrake.db-wal', 'log of proxy', 'log of worker 1', 'log of worker 2'];
