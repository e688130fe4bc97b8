/** Part 3: one run over a file of a million lines in chunks. Does speed, memory or a history grow with the run? */
import { mkdtemp, rm, stat } from 'node:fs/promises';
import { createReadStream, createWriteStream } from 'node:fs';
import { once } from 'node:events';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { finished } from 'node:stream/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { Client, Connection } from '@temporalio/client';
import { KeybrakeClient } from '../../lib/proxy/client.js';
import { startTemporalDev } from '../../lib/src/temporalDev.js';
import { processes, told } from '../processes.mjs';
import { startPostgres } from '../proxy/postgres.mjs';
import { watchMemory } from './memory.mjs';

const CHUNK = 100;
const WINDOW = 50;
const CENTS = 1_500;
const POLL_MS = 250;

/** On SQLite, or on a Postgres of its own; undefined where none can be started. */
export async function benchMillion({ records, postgres = false }, say) {
  const server = postgres ? await startPostgres(say) : undefined;
  if (postgres && server === undefined) return undefined;

  const folder = await mkdtemp(join(tmpdir(), 'keybrake-million-'));
  const { start, stop } = processes();
  const temporal = await startTemporalDev({ dbFilename: join(folder, 'temporal.db') });
  let connection;
  try {
    await writeRecords(join(folder, 'customers.jsonl'), records);
    const upstream = await start('./proxy/upstream.mjs');
    const database = await server?.newDatabase();
    const store = database === undefined ? [join(folder, 'ledger.db')] : [database, join(folder, 'spool')];
    const proxy = await start('./proxy/keybrake.mjs', upstream.url, ...store);
    const worker = await start('./pipeline/worker.mjs', temporal.address, proxy.url, proxy.workerKey, folder);
    connection = await Connection.connect({ address: temporal.address });
    const temporalClient = new Client({ connection });
    const control = new KeybrakeClient({ url: proxy.url, apiKey: proxy.apiKey });

    say(`million: ${records} records in chunks of ${CHUNK}, window ${WINDOW}`);
    const memory = watchMemory({ proxy: proxy.child.pid, worker: worker.child.pid });
    const started = performance.now();
    const handle = await temporalClient.workflow.start('pipelineRun', {
      workflowId: 'million',
      taskQueue: 'keybrake',
      args: [inputOf(records)],
    });
    const tenths = watchTenths(upstream.child, records, started, memory, say);
    const report = await handle.result();
    const seconds = (performance.now() - started) / 1000;
    const perTenth = await tenths;
    const { made, cents } = await ask(upstream.child);

    say('million: the audit log is read, and every history');
    const audit = await readAudit(control, memory);
    const histories = await longestHistories(temporalClient);
    const results = await linesOf(join(folder, 'results.ndjson'));
    return {
      records,
      store: postgres ? 'Postgres' : 'SQLite',
      status: report.status,
      outcomes: report.records,
      seconds,
      per_second: records / seconds,
      tenths: perTenth,
      memory_mib: memory.stop(),
      vendor: { charges: made, usd: cents / 100 },
      ledger: { settled_usd: report.spend.settled_usd, held_usd: report.spend.held_usd },
      results_lines: results,
      audit,
      histories,
      ledger_mib: database === undefined ? (await stat(store[0])).size / 2 ** 20 : await sizeOf(server, database),
    };
  } finally {
    await connection?.close();
    await stop();
    await temporal.stop();
    server?.remove();
    await rm(folder, { recursive: true, force: true });
  }
}

async function sizeOf(server, url) {
  const { rows } = await server.query(
    'SELECT pg_database_size(current_database()) AS bytes',
    new URL(url).pathname.slice(1),
  );
  return Number(rows[0].bytes) / 2 ** 20;
}

function inputOf(records) {
  const endpoint = 'POST /v1/payment_intents';
  return {
    label: 'bench/million',
    jobId: 'million',
    source: { kind: 'jsonl', path: 'customers.jsonl' },
    recordId: 'id',
    call: { endpoint, params: { amount: '{{amount_cents}}', currency: 'usd', customer: '{{id}}', confirm: 'true' } },
    key: { vendor: 'stripe', usdCap: (records * CENTS) / 100, allowedEndpoints: [endpoint], ttl: '12h' },
    concurrency: WINDOW,
    recordsPerActivity: CHUNK,
    results: { path: 'results.ndjson' },
  };
}

async function writeRecords(path, count) {
  const file = createWriteStream(path);
  for (let index = 0; index < count; index += 1) {
    const line = `${JSON.stringify({ id: `cus_${index}`, amount_cents: CENTS, name: `Customer number ${index}` })}\n`;
    if (!file.write(line)) await once(file, 'drain');
  }
  file.end();
  await finished(file);
}

/** Asks the vendor how far it has come, and answers each tenth of the run by its own. */
async function watchTenths(vendor, records, started, memory, say) {
  const tenths = [];
  let before = started;
  for (let tenth = 1; tenth <= 10;) {
    const { made } = await ask(vendor);
    if (made < (records / 10) * tenth) {
      await sleep(POLL_MS);
      continue;
    }
    const now = performance.now();
    const perSecond = (records / 10 / (now - before)) * 1000;
    tenths.push({ tenth, per_second: perSecond, ...memory.now() });
    say(`million: tenth ${tenth}: ${Math.round(perSecond)} records/s, ${JSON.stringify(memory.now())}`);
    before = now;
    tenth += 1;
  }
  return tenths;
}

/** What the vendor has executed. */
async function ask(vendor) {
  const answer = told(vendor);
  vendor.send({ count: true });
  return answer;
}

async function readAudit(control, memory) {
  const before = memory.now().proxy_mib;
  const started = performance.now();
  let rows = 0;
  for await (const chunk of await control.exportCalls({ job_id: 'million' }, 'application/x-ndjson')) {
    for (const byte of chunk) if (byte === 10) rows += 1;
  }
  const seconds = (performance.now() - started) / 1000;
  return { rows, seconds, proxy_grew_mib: Math.max(0, memory.now().proxy_mib - before) };
}

/** Over the root and every run of every shard. */
async function longestHistories({ workflow, workflowService }) {
  let runs = 0;
  let events = 0;
  let bytes = 0;
  let payload = 0;
  for await (const { workflowId, runId } of workflow.list()) {
    const { workflowExecutionInfo: info } = await workflowService.describeWorkflowExecution({
      namespace: 'default',
      execution: { workflowId, runId },
    });
    runs += 1;
    events = Math.max(events, Number(info.historyLength));
    bytes = Math.max(bytes, Number(info.historySizeBytes));
    if (runs <= 5 || workflowId === 'million')
      payload = Math.max(payload, await largestPayload(workflow, workflowId, runId));
  }
  return { runs, longest_events: events, largest_kib: bytes / 1024, largest_payload_kib: payload / 1024 };
}

async function largestPayload(workflow, workflowId, runId) {
  const { events } = await workflow.getHandle(workflowId, runId).fetchHistory();
  let largest = 0;
  const visit = (value) => {
    if (value === null || typeof value !== 'object' || value instanceof Uint8Array) return;
    if (value.data instanceof Uint8Array) largest = Math.max(largest, value.data.length);
    for (const part of Object.values(value)) visit(part);
  };
  visit(events);
  return largest;
}

async function linesOf(path) {
  let lines = 0;
  for await (const chunk of createReadStream(path)) for (const byte of chunk) if (byte === 10) lines += 1;
  return lines;
}
