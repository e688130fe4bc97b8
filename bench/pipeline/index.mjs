/** Part 2: `pipelineRun` per record against activities that do nothing, and in chunks against Beam's direct runner. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Client, Connection } from '@temporalio/client';
import { startTemporalDev } from '../../lib/src/temporalDev.js';
import { cpuMs, median, processes, ratio, ratioRange, takeTurns } from '../processes.mjs';
import { beamPython, runBeam } from './beam.mjs';

const WINDOW = 50;
const CHUNK = 100;
/** So that no contestant is measured before its code is compiled and its connections are open. */
const WARM_RECORDS = 500;

export async function benchPipeline({ rounds, records, chunkedRecords }, say) {
  const folder = await mkdtemp(join(tmpdir(), 'keybrake-bench-'));
  const { start, stop } = processes();
  const temporal = await startTemporalDev();
  let connection;
  try {
    const upstream = await start('./proxy/upstream.mjs');
    const proxy = await start('./proxy/keybrake.mjs', upstream.url, join(folder, 'ledger.db'));
    const worker = await start('./pipeline/worker.mjs', temporal.address, proxy.url, proxy.workerKey, folder);
    connection = await Connection.connect({ address: temporal.address });
    const pids = {
      temporal: temporal.pid,
      worker: worker.child.pid,
      proxy: proxy.child.pid,
      vendor: upstream.child.pid,
    };
    const runs = contestants(new Client({ connection }), pids);
    await writeRecords(folder, 'warm.jsonl', WARM_RECORDS);
    await writeRecords(folder, 'records.jsonl', records);
    await writeRecords(folder, 'chunked.jsonl', chunkedRecords);

    say(`pipeline: ${rounds} rounds of ${records} records one by one, window ${WINDOW}, in turn`);
    for (const name of Object.keys(runs)) await runs[name](`warm-${name}`, 'warm.jsonl', WARM_RECORDS);
    const single = await takeTurns(rounds, ['noop', 'paid', 'keybrake'], (name, round) =>
      runs[name](`${name}-${round}`, 'records.jsonl', records),
    );
    say(`pipeline: ${rounds} rounds of ${chunkedRecords} records in chunks of ${CHUNK}, against Beam, in turn`);
    const python = await beamPython(say);
    const beam = python && (() => runBeam(python, upstream.url, join(folder, 'chunked.jsonl'), chunkedRecords));
    const chunked = await takeTurns(rounds, ['chunked', ...(beam ? ['beam'] : [])], (name, round) =>
      name === 'beam' ? beam() : runs.chunked(`chunked-${round}`, 'chunked.jsonl', chunkedRecords),
    );
    return report(single, chunked);
  } finally {
    await connection?.close();
    await stop();
    await temporal.stop();
    await rm(folder, { recursive: true, force: true });
  }
}

/** Each answers its records per second, and the processor time that a record took in each process. */
function contestants(temporal, pids) {
  const measured = async (records, run) => {
    const [before, started] = [cpuMs(pids), performance.now()];
    const result = await run();
    const perSecond = (records / (performance.now() - started)) * 1000;
    const after = cpuMs(pids);
    const cpu =
      after && Object.fromEntries(Object.keys(after).map((name) => [name, (after[name] - before[name]) / records]));
    return { perSecond, cpu, result };
  };
  const noops = (kind) => (name, _path, records) => {
    const start = { workflowId: name, taskQueue: 'noop', args: [records, WINDOW, kind] };
    return measured(records, () => temporal.workflow.execute('noops', start));
  };
  const pipelineRun = (recordsPerActivity) => async (name, path, records) => {
    const start = { workflowId: name, taskQueue: 'keybrake', args: [inputOf(name, { path, recordsPerActivity })] };
    const run = await measured(records, () => temporal.workflow.execute('pipelineRun', start));
    const { status, records: counts } = run.result;
    if (status !== 'completed' || counts.succeeded !== records) {
      throw new Error(`pipelineRun ${name} ended ${status}: ${JSON.stringify(counts)}`);
    }
    return run;
  };
  return { noop: noops('default'), paid: noops('paid'), keybrake: pipelineRun(1), chunked: pipelineRun(CHUNK) };
}

function inputOf(name, { path, recordsPerActivity }) {
  const endpoint = 'POST /v1/payment_intents';
  return {
    label: 'bench',
    jobId: name,
    source: { kind: 'jsonl', path },
    recordId: 'id',
    call: {
      endpoint,
      params: { amount: '{{amount_cents}}', currency: 'usd', customer: '{{id}}', confirm: 'true' },
    },
    key: { vendor: 'stripe', usdCap: 1_000_000, allowedEndpoints: [endpoint], ttl: '1h' },
    concurrency: WINDOW,
    recordsPerActivity,
  };
}

async function writeRecords(folder, path, count) {
  const lines = Array.from({ length: count }, (_, index) =>
    JSON.stringify({ id: `cus_${index}`, amount_cents: 1_500 }),
  );
  await writeFile(join(folder, path), `${lines.join('\n')}\n`);
}

function report({ noop, paid, keybrake }, { chunked, beam }) {
  const [ours, defaults, paids] = [keybrake, noop, paid].map(speeds);
  return {
    window: WINDOW,
    single: {
      noop_per_second: median(defaults),
      paid_noop_per_second: median(paids),
      keybrake_per_second: median(ours),
      ratio_to_noop: ratio(ours, defaults),
      ratio_to_noop_range: ratioRange(ours, defaults),
      ratio_to_paid_noop: ratio(ours, paids),
      ratio_to_paid_noop_range: ratioRange(ours, paids),
      cpu_ms: { noop: cpuOf(noop), paid_noop: cpuOf(paid), keybrake: cpuOf(keybrake) },
    },
    chunked: {
      chunk: CHUNK,
      keybrake_per_second: median(speeds(chunked)),
      beam_per_second: beam ? median(beam) : null,
      ratio_to_beam: beam ? ratio(speeds(chunked), beam) : null,
      ratio_to_beam_range: beam ? ratioRange(speeds(chunked), beam) : null,
      cpu_ms: { keybrake: cpuOf(chunked) },
    },
  };
}

function speeds(runs) {
  return runs.map(({ perSecond }) => perSecond);
}

/** Medians by process, and their sum; null where the system does not tell. */
function cpuOf(runs) {
  const [first] = runs;
  if (first.cpu === null) return null;
  const byProcess = Object.keys(first.cpu).map((name) => [name, median(runs.map(({ cpu }) => cpu[name]))]);
  return { ...Object.fromEntries(byProcess), total: byProcess.reduce((sum, [, ms]) => sum + ms, 0) };
}
