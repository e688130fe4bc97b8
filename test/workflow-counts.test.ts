/** Every record of a run is counted once, and as what it came to, whatever ended its activity. */
import { readFile, truncate, utimes } from 'node:fs/promises';
import { join } from 'node:path';
import type { WorkflowFailedError } from '@temporalio/client';
import type { ApplicationFailure } from '@temporalio/common';
import type { RunReport } from '../activities/contract/plan';
import type { CustomVendor } from '../proxy/vendors/custom';
import { pauseSignal, resumeSignal, statusQuery } from '../workflows';
import { startTestProxy } from './support/proxy';
import {
  customers,
  eventually,
  inputFor,
  keyWith,
  run,
  type Stack,
  startRun,
  startStack,
  withWorker,
  writeSource,
} from './support/temporal';
import { startVendorStub } from './support/vendorStub';

/** It knows no idempotency keys, so that nothing is sent again. */
const FAX: CustomVendor = {
  origin: 'https://api.fax.example',
  auth: { kind: 'bearer' },
  error: { error: { code: '{code}', message: '{message}', keybrake: '{details}' } },
  routes: [{ method: 'POST', path: '/v1/faxes', body: 'json', price: { micros: 70_000 } }],
};

let stack: Stack;

beforeAll(async () => {
  stack = await startStack({ delayMs: 10 });
});

afterAll(() => stack.stop());

/** Outcomes of the lines of a results file: `{ refused: 1150 }`. */
async function linesOf(path: string): Promise<Record<string, number>> {
  const counts: Record<string, number> = {};
  for (const line of (await readFile(join(stack.sourceDir, path), 'utf8')).trim().split('\n')) {
    const { outcome } = JSON.parse(line) as { outcome: string };
    counts[outcome] = (counts[outcome] ?? 0) + 1;
  }
  return counts;
}

test('each record of more than a thousand that are refused for one reason is refused in the report and in the file', async () => {
  const path = await writeSource(stack, customers(1_150, 1_000, 'refu'));
  await withWorker(stack, async (taskQueue) => {
    const input = inputFor(path, {
      key: keyWith({ usdCap: 50_000, maxUsdPerCall: 5 }),
      recordsPerActivity: 200,
      concurrency: 100,
      results: { path: 'refused.ndjson' },
    });
    const report = await run(stack, taskQueue, input);
    expect(report).toMatchObject({ status: 'completed', records: { refused: 1_150, not_started: 0, total: 1_150 } });
    expect(await linesOf('refused.ndjson')).toEqual({ refused: 1_150 });
  });
});

/** The report of a run that failed. */
async function failedReport(result: Promise<RunReport>): Promise<{ type: string | undefined; report: RunReport }> {
  const error = await result.then(
    () => new Error('It completed.'),
    (thrown: unknown) => thrown as WorkflowFailedError,
  );
  const { type, details } = error.cause as ApplicationFailure;
  return { type: type ?? undefined, report: details?.[0] as RunReport };
}

describe('a source that changes under a run in chunks', () => {
  const executed = (prefix: string) =>
    stack.sandbox.charges().filter(({ customer }) => customer?.startsWith(`${prefix}_`)).length;

  test.each([
    ['between two chunks', 60, { recordsPerActivity: 10, concurrency: 5 }, 0],
    ['within a chunk', 1_000, { recordsPerActivity: 1_000, concurrency: 10 }, 1_000],
  ])('%s leaves no record unknown: what was not called is not started', async (when, count, change, padding) => {
    const prefix = when.replaceAll(' ', '');
    const note = 'x'.repeat(padding);
    const path = await writeSource(
      stack,
      customers(count, 100, prefix).map((record) => ({ ...record, note })),
    );
    await withWorker(stack, async (taskQueue) => {
      const handle = await startRun(stack, taskQueue, inputFor(path, change));
      await eventually(() => executed(prefix) >= 12);
      if (padding > 0) await truncate(join(stack.sourceDir, path), 100_000);
      else await utimes(join(stack.sourceDir, path), new Date(), new Date(1_000));
      const { type, report } = await failedReport(handle.result());
      expect(type).toBe('keybrake.source_changed');
      const succeeded = executed(prefix);
      expect(succeeded).toBeLessThan(count);
      expect(report.records).toMatchObject({ succeeded, not_started: count - succeeded, unknown: 0, failed: 0 });
      expect(report.spend).toMatchObject({ settled_usd: succeeded, held_usd: 0, unknown_usd: 0 });
    });
  });
});

test("of a reader's records, the ledger knows those of a shard that was lost", async () => {
  const read = async ({ cursor }: { cursor: number | null }) => {
    const page = (cursor ?? 0) + 1;
    return { records: customers(5, 100, `lost_${page}`), nextCursor: page };
  };
  await withWorker(
    stack,
    async (taskQueue) => {
      const input = inputFor('', { source: { kind: 'activity', activity: 'read' }, concurrency: 2 });
      const handle = await startRun(stack, taskQueue, input);
      const executed = () => stack.sandbox.charges().filter(({ customer }) => customer?.startsWith('lost_')).length;
      await eventually(() => executed() >= 12);
      await stack.client.workflow.getHandle(`${handle.workflowId}/shard-0`).terminate('too large a history');
      const { report } = await failedReport(handle.result());
      const { succeeded, unknown } = report.records;
      expect(executed()).toBeGreaterThanOrEqual(12);
      // A call that was under way when the shard was lost may not have ended yet.
      expect(succeeded + unknown).toBe(executed());
      expect(unknown).toBeLessThanOrEqual(2);
      expect(report.records).toMatchObject({ total: null, not_started: 0 });
    },
    { worker: { activities: { read } } },
  );
});

test.each([
  ['one by one', {}],
  ['in chunks', { recordsPerActivity: 4 }],
])('a call that is settled after its record was left unknown counts as succeeded, %s', async (_, change) => {
  const stub = await startVendorStub();
  const accounts = { fax: { vendor: 'fax', secret: 'fax-secret', upstream: stub.url } };
  const proxy = await startTestProxy({ upstream: stub.url, vendors: { fax: FAX }, accounts, upstreamTimeoutMs: 200 });
  stub.answer(({ body }) => (body.includes('"f1"') ? 'cut' : { status: 200, body: { id: 'fx' } }));
  try {
    await withWorker({ ...stack, proxy }, async (taskQueue) => {
      const endpoint = 'POST /v1/faxes';
      const source = {
        kind: 'inline',
        records: Array.from({ length: 8 }, (_value, index) => ({ id: `f${index + 1}` })),
      };
      const key = { vendor: 'fax', usdCap: 10, allowedEndpoints: [endpoint], ttl: '1h' };
      const call = { endpoint, params: { to: '{{id}}' } };
      const handle = await startRun(stack, taskQueue, inputFor('', { source, call, key, concurrency: 1, ...change }));
      await eventually(() => stub.seen.length > 0);
      await handle.signal(pauseSignal);
      await eventually(async () => (await handle.query(statusQuery)).inFlight === 0);
      const { keyId } = await handle.query(statusQuery);
      const [unknown] = (await proxy.client.listCalls({ key_id: keyId!, state: 'unknown' })).items;
      // Not before the call can no longer be under way.
      await eventually(() =>
        proxy.client.resolveCall(unknown!.call_id, { outcome: 'settled', usd: 0.07 }).catch(() => undefined),
      );
      await handle.signal(resumeSignal);
      expect((await handle.result()).records).toMatchObject({ succeeded: 8, unknown: 0, total: 8 });
    });
  } finally {
    await proxy.close();
    await stub.stop();
  }
});
