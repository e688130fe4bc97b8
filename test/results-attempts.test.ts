/** Attempts at one results file: the worker of one may be killed, or be lost and live on; its name may be long. */
import { once, EventEmitter } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { writeResults } from '../activities/results';
import { prepare } from '../activities/sources';
import { Blocks } from '../activities/sources/blocks';
import type { CallView } from '../proxy/contract';

const sourceDir = mkdtempSync(join(tmpdir(), 'keybrake-attempts-'));
const env = { sourceDir, host: 'h', blocks: new Blocks() };
afterAll(() => rmSync(sourceDir, { recursive: true }));

const ENDPOINT = 'POST /v1/payment_intents';
const input = {
  label: 'l',
  source: { kind: 'jsonl', path: 'in.jsonl' },
  recordId: 'id',
  call: { endpoint: ENDPOINT, params: { amount: 1 } },
  key: { vendor: 'stripe', usdCap: 5, allowedEndpoints: [ENDPOINT], ttl: '1h' },
  results: { path: 'out.ndjson' },
};

const settled: CallView = {
  call_id: 'call_1',
  state: 'settled',
  key_id: 'key_now',
  job_id: 'job',
  agent_run_label: 'l',
  vendor: 'stripe',
  account: 'default',
  method: 'POST',
  path: '/v1/payment_intents',
  route: ENDPOINT,
  record_id: 'a',
  idempotency_key: 'job:a',
  vendor_id: null,
  http_status: 200,
  code: null,
  quote_usd: 1,
  cost_usd: 1,
  replay_of: null,
  sends: 1,
  workflow_id: null,
  activity_id: null,
  attempt: 1,
  context: null,
  created_at: new Date(1_000).toISOString(),
  ended_at: null,
  stuck_at: null,
};

function left(): string[] {
  return readdirSync(sourceDir).filter((name) => name.startsWith('.'));
}

test('one takes away what a former one of its run has left, and that one replaces nothing any more', async () => {
  writeFileSync(join(sourceDir, 'in.jsonl'), '{"id":"a"}');
  const plan = await prepare(input, { workflowId: 'w', firstExecutionRunId: 'r' }, env);
  const network = new EventEmitter();
  const back = once(network, 'back');
  async function* slow(): AsyncGenerator<CallView> {
    yield { ...settled, state: 'unknown', cost_usd: null };
    await back;
  }
  async function* quick(): AsyncGenerator<CallView> {
    yield settled;
  }
  const lost = writeResults({ plan, keyId: 'key_now', calls: slow() }, env, 0).catch((error: unknown) => error);
  while (left().length < 2) await setImmediate();
  const file = left();
  await writeResults({ plan, keyId: 'key_other', calls: quick() }, env, 0);
  // The file of another run stays.
  expect(left()).toEqual(expect.arrayContaining(file));
  await writeResults({ plan, keyId: 'key_now', calls: quick() }, env);
  expect(left()).toEqual([]);
  network.emit('back');
  expect(await lost).toMatchObject({ code: 'ENOENT' });
  expect(left()).toEqual([]);
  expect(JSON.parse(readFileSync(join(sourceDir, 'out.ndjson'), 'utf8'))).toMatchObject({ outcome: 'succeeded' });
});

test.each([`${'r'.repeat(248)}.ndjson`, '漢'.repeat(85)])(
  'one writes the longest name that is taken: %s',
  async (path) => {
    writeFileSync(join(sourceDir, 'in.jsonl'), '{"id":"a"}');
    const facts = { workflowId: 'w', firstExecutionRunId: 'r' };
    const plan = await prepare({ ...input, results: { path } }, facts, env);
    async function* calls(): AsyncGenerator<CallView> {
      yield settled;
    }
    // In memory, and with the rows beside the file.
    for (const rowsInMemory of [1, 0])
      await writeResults({ plan, keyId: 'key_now', calls: calls() }, env, rowsInMemory);
    expect(JSON.parse(readFileSync(join(sourceDir, path), 'utf8'))).toMatchObject({ outcome: 'succeeded' });
    expect(left()).toEqual([]);
  },
);
