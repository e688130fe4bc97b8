/** Keys that are not issued or revoked: the proxy is not reached, or does not take the worker's key any more. */
import { createServer, request as send } from 'node:http';
import type { AddressInfo } from 'node:net';
import { randomUUID } from 'node:crypto';
import type { WorkflowFailedError, WorkflowHandle } from '@temporalio/client';
import { ApplicationFailure, CancelledFailure } from '@temporalio/common';
import { Worker } from '@temporalio/worker';
import { revokeSignal, statusQuery, vaultRevokeSignal } from '../workflows';
import {
  customers,
  eventually,
  failedTasks,
  inputFor,
  keyWith,
  pluginFor,
  type Stack,
  startRun,
  startStack,
  startWorker,
  writeSource,
} from './support/temporal';
import { userActivities } from './support/userActivities';

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
  /** Those with this reason alone, where it is given. */
  refuseRevocations(reason?: string): void;
  /** Keys are not issued, or issued and nobody hears of it. How often one was asked for in vain: `unissued`. */
  issueNone(lost?: 'answers_lost'): void;
  readonly unissued: number;
  changeWorkerKey(): void;
  stop(): Promise<void>;
}

async function startFront(proxy: string): Promise<Front> {
  let [refused, unissued, changed] = [0, 0, false];
  let issuing: 'all' | 'none' | 'answers_lost' = 'all';
  let refusing: ((reason: string | null) => boolean) | undefined;
  const server = createServer((request, response) => {
    const { method, url = '/', headers } = request;
    if (changed && url.startsWith('/vault/')) headers.authorization = 'Bearer yesterday';
    if (method === 'DELETE' && refusing?.(new URL(url, proxy).searchParams.get('reason'))) {
      refused += 1;
      response.writeHead(503).end();
      return;
    }
    const issue = method === 'POST' && url === '/vault/keys' && issuing !== 'all';
    if (issue) unissued += 1;
    if (issue && issuing === 'none') {
      response.writeHead(503).end();
      return;
    }
    const onward = send(new URL(url, proxy), { ...(method !== undefined && { method }), headers }, (answer) => {
      if (issue) response.destroy();
      else response.writeHead(answer.statusCode ?? 502, answer.headers);
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
    get unissued() {
      return unissued;
    },
    issueNone: (lost) => void (issuing = lost ?? 'none'),
    refuseRevocations: (reason) => void (refusing = (asked) => reason === undefined || asked === reason),
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

/** Runs a few records to their end, while revocations are refused as told. */
async function endsUnconfirmed(prefix: string, refused?: string) {
  const taskQueue = `stop-${randomUUID()}`;
  const worker = await startWorker(stack, taskQueue, { plugin: { url: front.url } });
  const path = await writeSource(stack, customers(3, 100, prefix));
  front.refuseRevocations(refused);
  const handle = await startRun(stack, taskQueue, inputFor(path, { key: keyWith({ lease: 10 }) }));
  return { worker, handle };
}

test('a worker that cannot revoke the key of a run that ended leaves that to the guard, which may be at another', async () => {
  // The run's own revocation has this reason, the guard's another.
  const { worker, handle } = await endsUnconfirmed('elsewhere', 'The run has completed.');
  await eventually(() => front.refused > 0);
  const { keyId } = await handle.query(statusQuery);
  await eventually(async () => (await stack.proxy.client.getKey(keyId!)).state === 'revoked');
  expect((await handle.describe()).status.name).toBe('RUNNING');

  const { revokeConfirmed, reason } = await handle.result();
  expect([revokeConfirmed, reason]).toEqual([true, 'Every record was tried.']);
  await worker.stop();
}, 120_000);

test('of a key that nobody could revoke the report says how to, and that its lease ends it: nothing renews that', async () => {
  const { worker, handle } = await endsUnconfirmed('nobody');
  const { revokeConfirmed, reason, keyId } = await handle.result();
  expect(revokeConfirmed).toBe(false);
  expect(reason).toMatch(
    new RegExp(`did not confirm that ${keyId} is revoked within 40 s\\. Revoke it with "keybrake revoke ${keyId}"`),
  );
  expect(reason).toMatch(/nothing renews its lease once .*, which ends it within 10 s\.$/);
  expect((await stack.proxy.client.getKey(keyId!)).state).toBe('expired');
  await worker.stop();
}, 120_000);

describe('while its key is asked for and the proxy does not answer', () => {
  const workflowsPath = require.resolve('./support/userWorkflows');
  /** Longer than those waits between two attempts that take no timer. */
  const ATTEMPTS = 6;

  async function asked<T>(work: (taskQueue: string, path: string) => Promise<T>, lost?: 'answers_lost'): Promise<T> {
    const taskQueue = `stop-${randomUUID()}`;
    const activities = userActivities({ keyIds: new Set() });
    const setup = { plugin: { url: front.url }, worker: { workflowsPath, activities } };
    const worker = await startWorker(stack, taskQueue, setup);
    front.issueNone(lost);
    try {
      return await work(taskQueue, await writeSource(stack, customers(7, 100, 'unissued')));
    } finally {
      await worker.stop();
    }
  }

  async function replays(handle: WorkflowHandle): Promise<void> {
    expect(await failedTasks(handle)).toEqual([]);
    const options = { workflowsPath, plugins: [pluginFor(stack)] };
    await Worker.runReplayHistory(options, await handle.fetchHistory(), handle.workflowId);
  }

  test.each([undefined, 'answers_lost'] as const)('a run that is revoked ends with its report; %s', async (lost) => {
    await asked(async (taskQueue, path) => {
      const jobId = `unissued-${randomUUID()}`;
      const change = { jobId, key: keyWith({ lease: 10 }), results: { path: 'unissued.ndjson' } };
      const handle = await startRun(stack, taskQueue, inputFor(path, change));
      await eventually(() => front.unissued >= ATTEMPTS);
      const from = Date.now();
      await handle.signal(revokeSignal, 'wrong file');
      const { status, reason, records, keyId, ...report } = await handle.result();
      expect(Date.now() - from).toBeLessThan(5_000);
      expect(report).toMatchObject({ jobId, label: 'test/run', results: null });
      expect([status, keyId, records.not_started, records.total]).toEqual(['revoked', null, 7, 7]);
      expect(reason).toMatch(
        /^Revoked by signal: wrong file\. The proxy did not answer, .* its lease ends it within 10 s/,
      );
      await replays(handle);
      await eventually(async () => {
        const { items } = await stack.proxy.client.listKeys({ job_id: jobId });
        return items.length === (lost ? 1 : 0) && items.every(({ state }) => state === 'expired');
      });
    }, lost);
  });

  test('a run that is cancelled ends Cancelled, without a key', async () => {
    await asked(async (taskQueue, path) => {
      const handle = await startRun(stack, taskQueue, inputFor(path));
      await eventually(() => front.unissued >= ATTEMPTS);
      await handle.cancel();
      const { cause } = (await handle.result().catch((thrown: unknown) => thrown)) as WorkflowFailedError;
      expect(cause).toBeInstanceOf(CancelledFailure);
      expect(await handle.query(statusQuery)).toMatchObject({ phase: 'ended', keyId: null, records: { total: 7 } });
      await replays(handle);
    });
  });

  test('withVaultKey throws what a stopped function would: key_revoked, or the cancellation', async () => {
    await asked(async (taskQueue) => {
      const start = () => {
        const options = { workflowId: `user-${randomUUID()}`, taskQueue, args: [['unissued_a'], 100] };
        return stack.client.workflow.start('chargeAll', options);
      };
      const [revoked, cancelled] = await Promise.all([start(), start()]);
      await eventually(() => front.unissued >= 2 * ATTEMPTS);
      await revoked.signal(vaultRevokeSignal, 'wrong file');
      await cancelled.cancel();
      const [ofRevoked, ofCancelled] = await Promise.all(
        [revoked, cancelled].map((handle) => handle.result().catch(({ cause }: WorkflowFailedError) => cause)),
      );
      expect(ofRevoked).toBeInstanceOf(ApplicationFailure);
      expect(ofRevoked).toMatchObject({ type: 'keybrake.key_revoked', message: expect.stringContaining('wrong file') });
      expect(ofCancelled).toBeInstanceOf(CancelledFailure);
      expect((await cancelled.describe()).status.name).toBe('CANCELLED');
      await Promise.all([revoked, cancelled].map(replays));
    });
  });
});
