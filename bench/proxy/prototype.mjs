/**
 * The least that a proxy with a durable ledger could be: the bare pass-through, and for each call two records in a file
 * that are synced, many calls at a time, before the call leaves and before it is answered. No keys, caps, prices, replays,
 * encryption, audit or recovery. argv: the upstream, the file.
 */
import { closeSync, constants, openSync, writeSync } from 'node:fs';
import { createServer } from 'node:http';
import { Pool } from 'undici';
import { passed } from './passed.mjs';

const [upstream, path] = process.argv.slice(2);
const pool = new Pool(upstream, { connections: 128, pipelining: 1 });
const FILE_BYTES = 64 * 1024 * 1024;

/** Its blocks are there already, which makes a sync twice as fast. */
const file = openSync(path, constants.O_RDWR | constants.O_CREAT | constants.O_DSYNC, 0o600);
writeSync(file, Buffer.alloc(FILE_BYTES), 0, FILE_BYTES, 0);
process.once('exit', () => closeSync(file));
let end = 0;
let waiting = [];

/** Resolves once the record is on the disk, with all that came in the same turn. */
function commit(record) {
  return new Promise((resolve) => {
    if (waiting.length === 0) setImmediate(flush);
    waiting.push({ record, resolve });
  });
}

function flush() {
  const batch = waiting;
  waiting = [];
  const bytes = Buffer.from(`${batch.map(({ record }) => JSON.stringify(record)).join('\n')}\n`);
  if (end + bytes.length > FILE_BYTES) end = 0;
  writeSync(file, bytes, 0, bytes.length, end);
  end += bytes.length;
  for (const { resolve } of batch) resolve();
}

let calls = 0;
const server = createServer((request, response) => {
  const chunks = [];
  request.on('data', (chunk) => chunks.push(chunk));
  request.on('end', () => {
    void passOn(request, Buffer.concat(chunks), response).catch((error) => response.writeHead(502).end(String(error)));
  });
});
server.keepAliveTimeout = 75_000;
server.listen(0, '127.0.0.1', () => process.send({ url: `http://127.0.0.1:${server.address().port}` }));

async function passOn({ method, url, headers: given }, sent, response) {
  const id = (calls += 1);
  await commit({ id, state: 'held', amount: new URLSearchParams(sent.toString()).get('amount') });
  const { statusCode, headers, body } = await pool.request({ method, path: url, headers: passed(given), body: sent });
  const whole = Buffer.from(await body.arrayBuffer());
  await commit({ id, state: 'settled', answer: JSON.parse(whole.toString()) });
  response.writeHead(statusCode, { ...passed(headers), 'content-length': whole.length }).end(whole);
}
