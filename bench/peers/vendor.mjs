/**
 * The vendor of the peers: counts what it executes. A PaymentIntent at any path, a chat answer of 20 tokens at the path
 * that the LLM gateways call. argv: milliseconds that each call takes.
 */
import { createServer } from 'node:http';

const delayMs = Number(process.argv[2] ?? 0);
let executed = 0;

const server = createServer((request, response) => {
  request.resume();
  request.on('end', () => {
    executed += 1;
    const body = JSON.stringify(request.url.includes('chat/completions') ? chat(executed) : payment(executed));
    const answer = () => {
      response.writeHead(200, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) });
      response.end(body);
    };
    if (delayMs === 0) answer();
    else setTimeout(answer, delayMs);
  });
});
server.keepAliveTimeout = 75_000;
server.listen(0, '127.0.0.1', () => process.send({ url: `http://127.0.0.1:${server.address().port}` }));
process.on('message', () => process.send({ executed }));

function payment(number) {
  const id = `pi_3Peer${String(number).padStart(18, '0')}`;
  return { id, object: 'payment_intent', amount: 1_000, amount_received: 1_000, currency: 'usd', status: 'succeeded' };
}

function chat(number) {
  return {
    id: `chatcmpl-${number}`,
    object: 'chat.completion',
    created: 1,
    model: 'fake-model',
    choices: [{ index: 0, finish_reason: 'stop', message: { role: 'assistant', content: 'ok' } }],
    usage: { prompt_tokens: 8, completion_tokens: 12, total_tokens: 20 },
  };
}
