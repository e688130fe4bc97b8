/** A run's histories stay below what Temporal ends a run at, however large its calls and its records are. */
import { type Limits, LIMITS } from '../activities/contract/limits';
import type { Plan } from '../activities/contract/plan';
import { limitsForCall, withFewerShards } from '../activities/prepareRun';
import {
  customers,
  failedTasks,
  inputFor,
  run,
  type Stack,
  startRun,
  startStack,
  withWorker,
  writeSource,
} from './support/temporal';

let stack: Stack;

/** A server that ends runs sooner, so that the test is short. */
const SERVER = { 'limit.historySize.error': 4_000_000, 'limit.historyCount.error': 600 };
const SMALL: Partial<Limits> = { historyBytes: 400_000, historyEvents: 200, unitsPerPage: 5 };

beforeAll(async () => {
  const extraArgs = Object.entries(SERVER).map(([name, value]) => `--dynamic-config-value=${name}=${value}`);
  stack = await startStack({ delayMs: 2, temporal: { extraArgs } });
});

afterAll(() => stack.stop());

function chargesOf(prefix: string): number {
  return stack.sandbox.charges().filter(({ customer }) => customer?.startsWith(`${prefix}_`)).length;
}

test('a call that carries much text, such as a whole e-mail, is made for every record', async () => {
  const path = await writeSource(stack, customers(100, 100, 'text'));
  const { call } = inputFor(path) as { call: { params: object } };
  const heavy = { ...call, params: { ...call.params, description: 'x'.repeat(50_000) } };
  await withWorker(
    stack,
    async (taskQueue) => {
      const handle = await startRun(stack, taskQueue, inputFor(path, { call: heavy }));
      const report = await handle.result();
      expect(report).toMatchObject({ status: 'completed', records: { succeeded: 100, total: 100 } });
      expect(chargesOf('text')).toBe(100);
      expect(await failedTasks(handle)).toEqual([]);
    },
    { plugin: { limits: SMALL } },
  );
});

test('what a run of the usual sizes may bring into one history stays below half of what Temporal takes', async () => {
  for (const bytes of [0, 5_000, 20_000, 100_000, 500_000, 1_500_000]) {
    const { unitsPerPage, activitiesInRoot, unitsPerShardRun, shardsRunning } = {
      ...LIMITS,
      ...limitsForCall(planOf(bytes)),
    };
    const most = Math.max(activitiesInRoot, unitsPerShardRun + unitsPerPage);
    expect(most * (bytes + 1_000)).toBeLessThan(25_000_000);
    // A workflow task takes 4 MB.
    expect(shardsRunning * bytes).toBeLessThan(2_000_000);
    expect(Math.min(unitsPerPage, activitiesInRoot, unitsPerShardRun, shardsRunning)).toBeGreaterThan(0);
  }
  expect(limitsForCall(planOf(1_000))).toEqual({});
});

test('the shards of a large plan are so few that the root holds them all, and leave no record out', () => {
  const shards = Array.from({ length: 499 }, (_, index) => {
    const start = 1_000 * index;
    return { index, start, end: start + 1_000, firstLine: 20 * index + 1, records: 20 };
  });
  for (const bytes of [0, 30_000, 100_000, 500_000, 1_500_000]) {
    const { shards: joined } = withFewerShards({ ...planOf(bytes), shards });
    expect(joined.length * (bytes + 1_000)).toBeLessThan(25_000_000);
    expect(joined.map(({ index }) => index)).toEqual(joined.map((_, index) => index));
    expect(joined.map(({ start }) => start)).toEqual([0, ...joined.map(({ end }) => end)].slice(0, -1));
    expect(joined.map(({ firstLine, start }) => firstLine - start / 50)).toEqual(joined.map(() => 1));
    expect(joined.map(({ start, end }) => (end - start) / 50)).toEqual(joined.map(({ records }) => records));
    expect(joined.at(-1)?.end).toBe(499_000);
  }
  const small = { ...planOf(1_000), shards };
  expect(withFewerShards(small)).toBe(small);
});

function planOf(bytes: number): Plan {
  const call = { kind: 'endpoint', method: 'POST', path: '/emails', params: { html: 'x'.repeat(bytes) } } as const;
  const source = { kind: 'jsonl', path: 'in.jsonl', sizeBytes: 1, mtimeMs: 1, header: [] } as const;
  return { call, source, recordId: 'id' } as unknown as Plan;
}

describe("of a user's own reader", () => {
  async function read(pages: readonly (readonly object[])[], prefix: string) {
    const activities = {
      async read({ cursor }: { cursor: number | null }) {
        const page = cursor ?? 0;
        return { records: pages[page], nextCursor: page + 1 < pages.length ? page + 1 : null };
      },
    };
    return withWorker(
      stack,
      async (taskQueue) => {
        const source = { kind: 'activity', activity: 'read' };
        const { status, records } = await run(stack, taskQueue, inputFor('', { source }));
        return { status, succeeded: records.succeeded, charges: chargesOf(prefix) };
      },
      { plugin: { limits: SMALL }, worker: { activities, maxCachedWorkflows: 0 } },
    );
  }

  test('records that are large go through', async () => {
    const records = customers(60, 100, 'large').map((record) => ({ ...record, text: 'x'.repeat(50_000) }));
    const pages = Array.from({ length: 12 }, (_, page) => records.slice(page * 5, page * 5 + 5));
    expect(await read(pages, 'large')).toEqual({ status: 'completed', succeeded: 60, charges: 60 });
  });

  test('pages without a record may be many', async () => {
    const empty = Array.from({ length: 110 }, () => []);
    const pages = [...empty, customers(3, 100, 'sparse')];
    expect(await read(pages, 'sparse')).toEqual({ status: 'completed', succeeded: 3, charges: 3 });
  });
});
