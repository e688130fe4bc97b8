/**
 * The pass-throughs that we are measured against: node:http in, undici out, nothing between. argv: the upstream, and how
 * undici is used: by `request`, as its documentation shows it, or by `dispatch`, the least that it can be made to do.
 */
import { createServer } from 'node:http';
import { Pool } from 'undici';
import { passed } from './passed.mjs';

const [upstream, how] = process.argv.slice(2);
const pool = new Pool(upstream, { connections: 128, pipelining: 1 });

const server = createServer((request, response) => {
  const chunks = [];
  request.on('data', (chunk) => chunks.push(chunk));
  request.on('end', () => {
    const { method, url } = request;
    const call = { method, path: url, headers: passed(request.headers), body: Buffer.concat(chunks) };
    if (how === 'dispatch') pool.dispatch(call, answerInto(response));
    else void passOn(call, response).catch((error) => response.writeHead(502).end(String(error)));
  });
});
server.keepAliveTimeout = 75_000;
server.listen(0, '127.0.0.1', () => process.send({ url: `http://127.0.0.1:${server.address().port}` }));

async function passOn(call, response) {
  const { statusCode, headers, body } = await pool.request(call);
  const whole = Buffer.from(await body.arrayBuffer());
  response.writeHead(statusCode, { ...passed(headers), 'content-length': whole.length }).end(whole);
}

function answerInto(response) {
  return {
    onRequestStart() {},
    onResponseStart(_controller, status, headers) {
      response.writeHead(status, { ...passed(headers), 'content-length': headers['content-length'] });
    },
    onResponseData: (_controller, chunk) => void response.write(chunk),
    onResponseEnd: () => void response.end(),
    onResponseError(_controller, error) {
      response.writeHead(502).end(String(error));
    },
  };
}
