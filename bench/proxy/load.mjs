/**
 * The load: N keep-alive connections, on each the next call as soon as the last is answered. Plain sockets, so that the
 * load costs far less than what it measures. Every answer is checked: status, and the amount that was asked for.
 */
import { connect } from 'node:net';

let sent = 0;
process.send({});

process.on('message', (told) => void fire(told));

/** The connections are spread over `urls` evenly. */
async function fire({ urls, bearer, connections, seconds }) {
  const run = { until: performance.now() + seconds * 1000, times: [], wrong: [] };
  const started = performance.now();
  await Promise.all(Array.from({ length: connections }, (_, index) => client(urls[index % urls.length], bearer, run)));
  const took = (performance.now() - started) / 1000;
  const times = Float64Array.from(run.times).toSorted();
  const at = (share) => times[Math.min(times.length - 1, Math.floor(share * times.length))];
  process.send({ calls: times.length, perSecond: times.length / took, p50: at(0.5), p99: at(0.99), wrong: run.wrong });
}

function client(url, bearer, run) {
  const { hostname, port, host } = new URL(url);
  const head = headOf(host, bearer);
  return new Promise((resolve, reject) => {
    const socket = connect({ host: hostname, port, noDelay: true });
    let amount = 0;
    let startedAt = 0;
    let got = '';
    const next = () => {
      startedAt = performance.now();
      if (startedAt >= run.until) {
        socket.destroy();
        resolve();
        return;
      }
      amount = 100 + (sent % 900);
      socket.write(request(head, amount));
    };
    socket.setEncoding('latin1').on('data', (text) => {
      got += text;
      const end = endOf(got);
      if (end === undefined || got.length < end) return;
      run.times.push(performance.now() - startedAt);
      const right = got.startsWith('HTTP/1.1 200 ') && got.includes(`"amount":${amount},`);
      if (!right && run.wrong.length < 3) run.wrong.push(got.slice(0, 500));
      got = '';
      next();
    });
    socket.once('connect', next);
    socket.once('error', reject);
    socket.once('close', () => reject(new Error(`the connection to port ${port} was closed`)));
  });
}

function endOf(text) {
  const head = text.indexOf('\r\n\r\n');
  if (head === -1) return undefined;
  const length = /\r\ncontent-length: (\d+)\r\n/i.exec(text.slice(0, head + 2));
  if (length === null) throw new Error(`an answer without a length: ${text.slice(0, 200)}`);
  return head + 4 + Number(length[1]);
}

/** What stripe-node sends. */
function headOf(host, bearer) {
  return [
    'POST /v1/payment_intents HTTP/1.1',
    `Host: ${host}`,
    `Authorization: Bearer ${bearer}`,
    'Accept: application/json',
    'Content-Type: application/x-www-form-urlencoded',
    'User-Agent: Stripe/v1 NodeBindings/23.1.0',
    'X-Stripe-Client-User-Agent: {"bindings_version":"23.1.0","lang":"node","publisher":"stripe","lang_version":"v20"}',
    'Stripe-Version: 2026-10-28.acacia',
    'Connection: keep-alive',
  ].join('\r\n');
}

function request(head, amount) {
  const id = `${process.pid}-${sent++}`;
  const body =
    `amount=${amount}&currency=usd&customer=cus_${id}&confirm=true&off_session=true` +
    '&payment_method=pm_1Bench00000000000000001&description=November%20invoice&metadata[invoice]=in_2026_11';
  return `${head}\r\nIdempotency-Key: bench-${id}\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
}
