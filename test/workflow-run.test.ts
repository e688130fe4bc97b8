import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { scanHistory } from '../src/testing';
import {
  customers,
  failedTasks,
  inputFor,
  keyWith,
  run,
  type Stack,
  startRun,
  startStack,
  withWorker,
  writeSource,
} from './support/temporal';

let stack: Stack;

beforeAll(async () => {
  stack = await startStack();
});

afterAll(() => stack.stop());

describe('pipelineRun', () => {
  test('charges every record once, reports it, and leaves the key revoked', async () => {
    const path = await writeSource(stack, customers(20));
    await withWorker(stack, async (taskQueue) => {
      const handle = await startRun(stack, taskQueue, inputFor(path, { results: { path: 'happy.ndjson' } }));
      const report = await handle.result();
      expect(report).toMatchObject({
        status: 'completed',
        records: { total: 20, succeeded: 20, replayed: 0, duplicate: 0, not_started: 0 },
        spend: { settled_usd: 200, held_usd: 0, unknown_usd: 0 },
        jobSpend: { settled_usd: 200 },
        results: 'happy.ndjson',
      });
      expect(stack.sandbox.stats().stripe.duplicates).toEqual({ keys: [], customers: [] });
      expect(stack.sandbox.charges()).toHaveLength(20);
      const key = await stack.proxy.client.getKey(report.keyId!);
      expect(key.state).toBe('revoked');
      expect(await failedTasks(handle)).toEqual([]);
      const lines = (await readFile(join(stack.sourceDir, 'happy.ndjson'), 'utf8')).trim().split('\n');
      expect(lines).toHaveLength(20);
      const secrets = [stack.proxy.secret, stack.proxy.workerKey, stack.proxy.apiKey];
      expect(scanHistory(await handle.fetchHistory(), { secrets })).toEqual([]);
    });
  });

  test('stops at the cap with exact counts, having spent all of it', async () => {
    const path = await writeSource(stack, customers(60, 1_000, 'cap'));
    await withWorker(stack, async (taskQueue) => {
      const report = await run(stack, taskQueue, inputFor(path, { key: keyWith({ usdCap: 250 }) }));
      expect(report).toMatchObject({ status: 'cap_exhausted', spend: { settled_usd: 250 } });
      const { records } = report;
      expect(records.succeeded).toBe(25);
      expect(records.succeeded + records.refused + records.not_started).toBe(60);
      expect(records.refused).toBeGreaterThan(0);
      expect(report.reason).toContain('$250.00');
      expect((await stack.proxy.client.getKey(report.keyId!)).state).toBe('revoked');
    });
  });
});
