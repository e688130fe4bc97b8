/** Part 2: `pipelineRun` per record against activities that do nothing, and in chunks against Beam's direct runner. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Client, Connection } from '@temporalio/client';
import { startTemporalDev } from '../../lib/src/temporalDev.js';
import { median, processes, ratio, takeTurns } from '../processes.mjs';
import { beamPython, runBeam } from './beam.mjs';

const WINDOW = 50;
const CHUNK = 100;

export async function benchPipeline({ rounds, records, chunkedRecords }, say) {
  const folder = await mkdtemp(join(tmpdir(), 'keybrake-bench-'));
  const { start, stop } = processes();
  const temporal = await startTemporalDev();
  let connection;
  try {
    const upstream = await start('./proxy/upstream.mjs');
    const proxy = await start('./proxy/keybrake.mjs', upstream.url, join(folder, 'ledger.db'));
    await start('./pipeline/worker.mjs', temporal.address, proxy.url, proxy.workerKey, folder);
    connection = await Connection.connect({ address: temporal.address });
    const runs = contestants(new Client({ connection }), folder);
    await writeRecords(folder, 'records.jsonl', records);
    await writeRecords(folder, 'chunked.jsonl', chunkedRecords);

    say(`pipeline: ${rounds} rounds of ${records} records one by one, window ${WINDOW}, in turn`);
    await runs.noop('warm', WINDOW * 4);
    const single = await takeTurns(rounds, ['noop', 'keybrake'], (name, round) =>
      runs[name](`single-${round}`, records),
    );
    say(`pipeline: ${rounds} rounds of ${chunkedRecords} records in chunks of ${CHUNK}, against Beam, in turn`);
    const python = await beamPython(say);
    const beam = python && (() => runBeam(python, upstream.url, join(folder, 'chunked.jsonl'), chunkedRecords));
    const chunked = await takeTurns(rounds, ['chunked', ...(beam ? ['beam'] : [])], (name, round) =>
      name === 'beam' ? beam() : runs.chunked(`chunked-${round}`, chunkedRecords),
    );
    return report(single, chunked);
  } finally {
    await connection?.close();
    await stop();
    await temporal.stop();
    await rm(folder, { recursive: true, force: true });
  }
}

/** Each answers its records per second. */
function contestants(temporal) {
  const timed = async (records, run) => {
    const started = performance.now();
    const result = await run();
    return { perSecond: (records / (performance.now() - started)) * 1000, result };
  };
  const pipelineRun = async (name, records, plan) => {
    const { perSecond, result } = await timed(records, () =>
      temporal.workflow.execute('pipelineRun', {
        workflowId: name,
        taskQueue: 'keybrake',
        args: [inputOf(name, plan)],
      }),
    );
    const { status, records: counts } = result;
    if (status !== 'completed' || counts.succeeded !== records) {
      throw new Error(`pipelineRun ${name} ended ${status}: ${JSON.stringify(counts)}`);
    }
    return perSecond;
  };
  return {
    async noop(name, records) {
      const start = { workflowId: `noop-${name}`, taskQueue: 'noop', args: [records, WINDOW] };
      return (await timed(records, () => temporal.workflow.execute('noops', start))).perSecond;
    },
    keybrake: (name, records) => pipelineRun(name, records, { path: 'records.jsonl', recordsPerActivity: 1 }),
    chunked: (name, records) => pipelineRun(name, records, { path: 'chunked.jsonl', recordsPerActivity: CHUNK }),
  };
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

function report(single, { chunked, beam }) {
  return {
    window: WINDOW,
    single: {
      noop_per_second: median(single.noop),
      keybrake_per_second: median(single.keybrake),
      ratio_to_noop: ratio(single.keybrake, single.noop),
    },
    chunked: {
      chunk: CHUNK,
      keybrake_per_second: median(chunked),
      beam_per_second: beam ? median(beam) : null,
      ratio_to_beam: beam ? ratio(chunked, beam) : null,
    },
  };
}
