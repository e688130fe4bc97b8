/** A chunk of records in one activity, without a Temporal server: how it ends where it cannot go on. */
import { truncate } from 'node:fs/promises';
import { join } from 'node:path';
import { ActivityCancellationDetails } from '@temporalio/common';
import { MockActivityEnvironment } from '@temporalio/testing';
import { callChunk } from '../activities/callChunk';
import type { Plan } from '../activities/contract/plan';
import { Runtime } from '../activities/runtime';
import type { CallChunkInput, CallChunkOutput } from '../activities/types';
import { type Sandbox, startSandbox, type TestProxy } from '../src/testing';
import { failureOf, type FileSource, planOf, removeSources, sourceDir } from './source-fixture';
import { startTestProxy } from './support/proxy';
import { until } from './support/until';

const CALL = {
  kind: 'endpoint',
  method: 'POST',
  path: '/v1/payment_intents',
  params: { amount: 500, currency: 'usd', customer: '{{id}}', confirm: true },
} as const;

let sandbox: Sandbox;
let proxy: TestProxy;
let runtime: Runtime;
beforeAll(async () => {
  sandbox = await startSandbox({ delayMs: 100 });
  proxy = await startTestProxy({ upstream: sandbox.url });
  runtime = new Runtime({ url: proxy.url, workerKey: proxy.workerKey, sourceDir });
});
afterAll(async () => {
  await runtime.client.close();
  await runtime.dispatcher.close();
  await proxy.close();
  await sandbox.stop();
  removeSources();
});

const executed = () => sandbox.stats().stripe.executedCharges;

async function inputOf({ source, shards, recordId }: Plan, concurrency: number): Promise<CallChunkInput> {
  const terms = { usd_cap: 1_000, expires_in: '1h', agent_run_label: 'test', job_id: 'job' };
  const key = await runtime.client.issueKey({
    vendor: 'stripe',
    allowed_endpoints: ['POST /v1/payment_intents'],
    ...terms,
  });
  const [range] = shards;
  return { keyId: key.key_id, jobId: 'job', source, recordId, call: CALL, retry: [], range: range!, concurrency };
}

function begin(input: CallChunkInput, heartbeatDetails?: unknown) {
  const activity = new MockActivityEnvironment({ heartbeatDetails });
  let beat: unknown;
  activity.on('heartbeat', (details: unknown) => {
    beat = details;
  });
  const output = activity.run<[], CallChunkOutput, () => Promise<CallChunkOutput>>(() => callChunk(runtime, input));
  return { activity, output, lastBeat: () => beat };
}

test('what goes on after a worker was stopped tells the lines of the file, also of records of several lines', async () => {
  const rows = Array.from({ length: 6 }, (_, index) => `lines_${index},"a\nb"\n`);
  const input = await inputOf(await planOf('csv', `id,note\n${rows.join('')}`), 1);
  const first = begin(input);
  const before = executed();
  await until('three calls', () => executed() >= before + 3);
  first.activity.cancel('WORKER_SHUTDOWN', new ActivityCancellationDetails({ workerShutdown: true }));
  expect((await failureOf(first.output)).type).toBe('keybrake.interrupted');
  expect(first.lastBeat()).toMatchObject({ records: expect.any(Number) });
  const { counts, progress } = await begin(input, first.lastBeat()).output;
  expect({ counts, progress }).toMatchObject({ counts: { succeeded: 6 }, progress: { records: 6, line: 14 } });
  expect(executed()).toBe(before + 6);
});

test('a source that changes ends the other records first: once the activity has failed, none of it is under way', async () => {
  const records = Array.from({ length: 40 }, (_, index) => ({ id: `cut_${index}`, note: 'x'.repeat(20_000) }));
  const plan = await planOf('jsonl', records.map((record) => `${JSON.stringify(record)}\n`).join(''));
  const input = await inputOf(plan, 5);
  const before = executed();
  const { output } = begin(input);
  await until('a call', () => executed() > before);
  await truncate(join(sourceDir, (plan.source as FileSource).path), 100_000);
  expect((await failureOf(output)).type).toBe('keybrake.source_changed');
  const { spend } = await proxy.client.getKey(input.keyId);
  expect({ held: spend.held_usd, settled: spend.settled_usd }).toEqual({ held: 0, settled: (executed() - before) * 5 });
});
