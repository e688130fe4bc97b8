/** The pass-through that we are measured against: node:http in, undici out, nothing between. argv: the upstream. */
import { createServer } from 'node:http';
import { Pool } from 'undici';

const pool = new Pool(process.argv[2], { connections: 128, pipelining: 1 });
const NOT_PASSED = new Set(['host', 'connection', 'keep-alive', 'transfer-encoding', 'content-length']);

const server = createServer((request, response) => {
  const chunks = [];
  request.on('data', (chunk) => chunks.push(chunk));
  request.on('end', () => {
    const headers = {};
    for (const name in request.headers) if (!NOT_PASSED.has(name)) headers[name] = request.headers[name];
    const { method, url } = request;
    pool.dispatch({ method, path: url, headers, body: Buffer.concat(chunks) }, answerInto(response));
  });
});
server.keepAliveTimeout = 75_000;
server.listen(0, '127.0.0.1', () => process.send({ url: `http://127.0.0.1:${server.address().port}` }));

function answerInto(response) {
  return {
    onRequestStart() {},
    onResponseStart(_controller, status, headers) {
      const shown = {};
      for (const name in headers) if (!NOT_PASSED.has(name) || name === 'content-length') shown[name] = headers[name];
      response.writeHead(status, shown);
    },
    onResponseData: (_controller, chunk) => void response.write(chunk),
    onResponseEnd: () => void response.end(),
    onResponseError(_controller, error) {
      response.writeHead(502).end(String(error));
    },
  };
}
