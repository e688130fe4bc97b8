/** A worker that stops while a guard of its cannot revoke the key of a run that was terminated. */
import { createServer, request as send } from 'node:http';
import type { AddressInfo } from 'node:net';
import { randomUUID } from 'node:crypto';
import { statusQuery } from '../workflows';
import {
  customers,
  eventually,
  inputFor,
  keyWith,
  type Stack,
  startRun,
  startStack,
  startWorker,
  writeSource,
} from './support/temporal';

let stack: Stack;
let front: Front;

beforeAll(async () => {
  stack = await startStack();
  front = await startFront(stack.proxy.url);
});

afterAll(async () => {
  await front.stop();
  await stack.stop();
});

/** Stands before the proxy, and can keep revocations from it. */
interface Front {
  readonly url: string;
  /** How often a revocation was asked for in vain. */
  readonly refused: number;
  refuseRevocations(): void;
  stop(): Promise<void>;
}

async function startFront(proxy: string): Promise<Front> {
  let [refusing, refused] = [false, 0];
  const server = createServer((request, response) => {
    const { method, url = '/', headers } = request;
    if (refusing && method === 'DELETE') {
      refused += 1;
      response.writeHead(503).end();
      return;
    }
    const onward = send(new URL(url, proxy), { ...(method !== undefined && { method }), headers }, (answer) => {
      response.writeHead(answer.statusCode ?? 502, answer.headers);
      answer.pipe(response);
    });
    onward.on('error', () => response.destroy());
    request.pipe(onward);
  });
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    get refused() {
      return refused;
    },
    refuseRevocations: () => (refusing = true),
    async stop() {
      const closed = new Promise((resolve) => server.close(resolve));
      server.closeAllConnections();
      await closed;
    },
  };
}

test('it tries once more, and leaves the key to its lease of ten minutes', async () => {
  const taskQueue = `stop-${randomUUID()}`;
  const worker = await startWorker(stack, taskQueue, { plugin: { url: front.url } });
  const path = await writeSource(stack, customers(10));
  const input = inputFor(path, { key: keyWith({ usdCap: 50 }), onCapExhausted: 'pause' });
  const handle = await startRun(stack, taskQueue, input);
  const { keyId } = await eventually(async () => {
    const status = await handle.query(statusQuery);
    return status.phase === 'waiting_for_cap' && status;
  });
  front.refuseRevocations();
  await handle.terminate();
  await eventually(() => front.refused > 0);

  const [before, from] = [front.refused, Date.now()];
  await worker.stop();
  expect(Date.now() - from).toBeLessThan(10_000);
  expect(front.refused).toBeGreaterThan(before);
  expect((await stack.proxy.client.getKey(keyId!)).state).toBe('exhausted');
});
