/** Every record of a run is counted once, and as what it came to, whatever ended its activity. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { customers, inputFor, keyWith, run, type Stack, startStack, withWorker, writeSource } from './support/temporal';

let stack: Stack;

beforeAll(async () => {
  stack = await startStack();
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
