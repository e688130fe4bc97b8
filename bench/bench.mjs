/** `npm run bench -- [--only proxy,pipeline] [--json] [--rounds 5] [--seconds 4]`. See README.md for what it means. */
import { parseArgs } from 'node:util';
import { benchProxy } from './proxy/index.mjs';

const { values } = parseArgs({
  options: {
    only: { type: 'string', default: 'proxy' },
    json: { type: 'boolean', default: false },
    rounds: { type: 'string', default: '5' },
    seconds: { type: 'string', default: '4' },
  },
});
const r = await benchProxy({ rounds: Number(values.rounds), seconds: Number(values.seconds) }, console.error);
console.log(JSON.stringify(r, (k, v) => typeof v === 'number' ? +v.toFixed(3) : v, 1));
