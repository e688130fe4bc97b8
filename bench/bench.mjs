/** `npm run bench -- [--only proxy,pipeline,peers,million,million_postgres] [--json] [--quick]`. What the figures mean: README.md beside this file. */
import { availableParallelism } from 'node:os';
import { parseArgs } from 'node:util';
import { benchMillion } from './million/index.mjs';
import { benchPeers } from './peers/index.mjs';
import { benchPipeline } from './pipeline/index.mjs';
import { benchProxy } from './proxy/index.mjs';
import { describeMillion, describePeers, describePipeline, describeProxy } from './table.mjs';

const PARTS = {
  proxy: {
    bench: benchProxy,
    describe: describeProxy,
    full: { rounds: 5, seconds: 4 },
    quick: { rounds: 3, seconds: 1 },
  },
  pipeline: {
    bench: benchPipeline,
    describe: describePipeline,
    full: { rounds: 5, records: 2_000, chunkedRecords: 10_000 },
    quick: { rounds: 2, records: 1_000, chunkedRecords: 3_000 },
  },
  peers: {
    bench: benchPeers,
    describe: describePeers,
    full: { rounds: 3, seconds: 4 },
    quick: { rounds: 1, seconds: 2 },
  },
  million: {
    bench: benchMillion,
    describe: describeMillion,
    full: { records: 1_000_000 },
    quick: { records: 20_000 },
  },
  million_postgres: {
    bench: benchMillion,
    describe: describeMillion,
    full: { records: 1_000_000, postgres: true },
    quick: { records: 20_000, postgres: true },
  },
};
/** These run for a quarter of an hour each, so they are asked for by name. */
const BY_DEFAULT = Object.keys(PARTS).filter((name) => !name.startsWith('million'));

const { values } = parseArgs({
  options: {
    only: { type: 'string', default: BY_DEFAULT.join(',') },
    json: { type: 'boolean', default: false },
    quick: { type: 'boolean', default: false },
  },
});
const names = values.only.split(',');
const unknown = names.filter((name) => !Object.hasOwn(PARTS, name));
if (unknown.length > 0) {
  console.error(`--only knows ${Object.keys(PARTS).join(', ')}, not ${unknown.join(', ')}.`);
  process.exit(2);
}

// Progress goes to stderr, so that stdout is the result alone.
const say = (text) => console.error(`… ${text}`);
const results = { node: process.version, cores: availableParallelism() };
for (const name of names) {
  const { bench, describe, ...sizes } = PARTS[name];
  results[name] = await bench(values.quick ? sizes.quick : sizes.full, say);
  if (results[name] !== undefined && !values.json) console.log(`\n${describe(results[name]).join('\n')}`);
}
if (values.json)
  console.log(JSON.stringify(results, (_, value) => (Number.isFinite(value) ? rounded(value) : value), 2));

function rounded(value) {
  return Number(value.toPrecision(4));
}
