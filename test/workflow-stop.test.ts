/** Revocations that do not come about: the proxy is not reached, or does not take the worker's key any more. */
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
  stack = await startStack({ delayMs: 50 });
});
beforeEach(async () => {
  front = await startFront(stack.proxy.url);
});
afterEach(() => front.stop());
afterAll(() => stack.stop());

/** Stands before the proxy, can keep revocations from it, and make the worker's key a wrong one. */
interface Front {
  readonly url: string;
  /** How often a revocation was asked for in vain. */
  readonly refused: number;
  refuseRevocations(): void;
  changeWorkerKey(): void;
  stop(): Promise<void>;
}

async function startFront(proxy: string): Promise<Front> {
  let [refusing, refused, changed] = [false, 0, false];
  const server = createServer((request, response) => {
    const { method, url = '/', headers } = request;
    if (changed && url.startsWith('/vault/')) headers.authorization = 'Bearer yesterday';
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
    refuseRevocations: () => void (refusing = true),
    changeWorkerKey: () => void (changed = true),
    async stop() {
      const closed = new Promise((resolve) => server.close(resolve));
      server.closeAllConnections();
      await closed;
    },
  };
}

test('a worker that stops while its guard cannot revoke a terminated run tries once more, and leaves the key to its lease of ten minutes', async () => {
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

test("the worker's key is changed at the proxy in mid-run: every record ends, and the report says how to end the vault key", async () => {
  const taskQueue = `stop-${randomUUID()}`;
  const worker = await startWorker(stack, taskQueue, { plugin: { url: front.url } });
  const path = await writeSource(stack, customers(20, 100, 'changed'));
  const charged = () => stack.sandbox.charges().filter(({ customer }) => customer?.startsWith('changed_')).length;
  const handle = await startRun(stack, taskQueue, inputFor(path, { concurrency: 2 }));
  await eventually(() => charged() > 2);
  front.changeWorkerKey();

  const { status, reason, records, keyId, revokeConfirmed } = await handle.result();
  expect([status, records.succeeded, charged(), revokeConfirmed]).toEqual(['completed', 20, 20, false]);
  expect(reason).toMatch(
    new RegExp(
      `did not confirm that ${keyId} is revoked: .*KEYBRAKE_WORKER_KEY.* Revoke it with "keybrake revoke ${keyId}"`,
    ),
  );
  expect((await stack.proxy.client.getKey(keyId!)).state).toBe('active');
  await worker.stop();
});
