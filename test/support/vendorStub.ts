/** A vendor that answers by script, for what no well-behaved one would answer. Counts what reached it. */
import { createServer, type IncomingHttpHeaders } from 'node:http';
import type { AddressInfo } from 'node:net';

export interface Seen {
  readonly method: string;
  readonly path: string;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

/** An answer; or the connection is cut, in silence, in the middle of the answer, or never answered. */
export type Scripted =
  | {
      readonly status: number;
      readonly headers?: Readonly<Record<string, string>>;
      readonly body: string | Buffer | object;
    }
  | 'cut'
  | 'cut in the answer'
  | 'no answer';

export interface VendorStub {
  readonly url: string;
  readonly port: number;
  readonly seen: readonly Seen[];
  /** Answers the next requests, in order; when the script is over, every charge succeeds. */
  script(...answers: readonly Scripted[]): void;
  /** When the script is over, answers by what is asked. */
  answer(by: (asked: Seen) => Scripted): void;
  stop(): Promise<void>;
}

export async function startVendorStub(port = 0): Promise<VendorStub> {
  const seen: Seen[] = [];
  const scripted: Scripted[] = [];
  let answerBy = ({ body, headers }: Seen): Scripted => succeeded(body, String(headers['idempotency-key']));
  const server = createServer((request, response) => {
    let body = '';
    request.on('data', (chunk) => (body += String(chunk)));
    request.on('end', () => {
      const asked = { method: request.method ?? '', path: request.url ?? '', headers: request.headers, body };
      seen.push(asked);
      const answer = scripted.shift() ?? answerBy(asked);
      if (answer === 'no answer') return;
      if (answer === 'cut') {
        request.socket.destroy();
        return;
      }
      if (answer === 'cut in the answer') {
        response.writeHead(200, { 'content-type': 'application/json', 'content-length': 500 });
        response.write('{"id":"pi_1",', () => request.socket.destroy());
        return;
      }
      const asIs = typeof answer.body === 'string' || Buffer.isBuffer(answer.body);
      const text = asIs ? answer.body : JSON.stringify(answer.body);
      response.writeHead(answer.status, { 'content-type': 'application/json', ...answer.headers });
      response.end(text);
    });
  });
  await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve));
  const bound = (server.address() as AddressInfo).port;
  return {
    url: `http://127.0.0.1:${bound}`,
    port: bound,
    seen,
    script: (...answers) => {
      scripted.splice(0, scripted.length, ...answers);
      seen.length = 0;
    },
    answer: (by) => void (answerBy = by),
    stop: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

/** The answer to a charge that succeeded; the same one for the same idempotency key. */
function succeeded(body: string, key: string): Scripted {
  return { status: 200, body: intent(Number(new URLSearchParams(body).get('amount')), key) };
}

export function intent(amount: number, name: string, more: object = {}): object {
  const id = `pi_${Buffer.from(name).toString('hex')}`;
  const sums = { amount, amount_received: amount, amount_capturable: 0 };
  return { id, object: 'payment_intent', status: 'succeeded', currency: 'usd', ...sums, ...more };
}

/** An error in the vendor's own shape. */
export function stripeError(status: number, type: string, more: object = {}): Scripted {
  return { status, body: { error: { type, message: `no: ${type}`, ...more } } };
}
