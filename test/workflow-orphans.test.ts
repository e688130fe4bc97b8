/** Runs that end without their own clean-up, with a worker alive and with none: the key dies, and no call leaves. */
import { randomUUID } from 'node:crypto';
import { WorkflowFailedError } from '@temporalio/client';
import { chargesOf, keyOf, kill, type KillStack, quit, startKillStack, underWay } from './support/kill';
import { callerOf } from './support/rig';
import {
  customers,
  eventually,
  inputFor,
  keyWith,
  run,
  type RunHandle,
  startRun,
  writeSource,
} from './support/temporal';

const LEASE_MS = 10_000;
/** The guard looks at least every second at a young run; then it asks Temporal and the proxy. */
const GUARD_MS = 4_000;

let stack: KillStack;

beforeAll(async () => {
  stack = await startKillStack({ delayMs: 100 });
});

afterAll(() => stack.stop());

interface Orphan {
  readonly prefix: string;
  readonly handle: RunHandle;
  readonly keyId: string;
  readonly vaultKey: string;
}

/** A run of the shortest lease, in the middle of its calls, with far more to do than a test lasts. */
async function runInTheMiddle(taskQueue: string, change: object, options: object): Promise<Orphan> {
  const prefix = `o${randomUUID().slice(0, 8)}`;
  const path = await writeSource(stack, customers(900, 1_000, prefix));
  const key = keyWith({ usdCap: 10_000, lease: LEASE_MS / 1_000 });
  const handle = await startRun(stack, taskQueue, inputFor(path, { key, concurrency: 2, ...change }), options);
  const keyId = await keyOf(handle);
  const { vault_key: vaultKey } = await stack.proxy.client.tokenFor(keyId);
  await eventually(() => chargesOf(stack, prefix).length >= 4 && underWay(stack, prefix) > 0);
  return { prefix, handle, keyId, vaultKey };
}

/** How long it took until the key was dead. */
async function untilDead({ keyId }: Orphan): Promise<{ state: string; tookMs: number; reason: string | null }> {
  const from = Date.now();
  const key = await eventually(async () => {
    const view = await stack.proxy.client.getKey(keyId);
    return view.state !== 'active' && view;
  }, 30_000);
  return { state: key.state, tookMs: Date.now() - from, reason: key.revoke_reason };
}

async function closed(handle: RunHandle): Promise<string> {
  expect(await handle.result().catch((error: unknown) => error)).toBeInstanceOf(WorkflowFailedError);
  return (await handle.describe()).status.name;
}

/** Anyone who still holds the vault key is refused, and the vendor hears nothing of it. */
async function expectRefused({ prefix, vaultKey }: Orphan, code: string): Promise<void> {
  await eventually(() => underWay(stack, prefix) === 0);
  const heard = stack.sandbox.requests().length;
  const caller = callerOf(stack.proxy.url);
  const body = `amount=1000&currency=usd&confirm=true&customer=${prefix}_late`;
  const { status, code: told } = await caller.call(vaultKey, { body, key: randomUUID() });
  await caller.close();
  expect({ status, told }).toEqual({ status: 401, told: code });
  expect(stack.sandbox.requests().length).toBe(heard);
}

/** A worker that comes later does its own runs and none of the orphan's calls. */
async function expectNothingMore({ prefix, keyId }: Orphan, taskQueue: string): Promise<void> {
  const charged = chargesOf(stack, prefix).length;
  const { spend, state } = await stack.proxy.client.getKey(keyId);
  expect(spend).toMatchObject({ settled_usd: charged * 10, held_usd: 0, unknown_usd: 0 });
  const worker = await stack.startWorker(taskQueue);
  const path = await writeSource(stack, customers(5, 1_000, `n${randomUUID().slice(0, 8)}`));
  expect((await run(stack, taskQueue, inputFor(path))).records.succeeded).toBe(5);
  await quit(worker);
  expect(chargesOf(stack, prefix)).toHaveLength(charged);
  expect((await stack.proxy.client.getKey(keyId)).state).toBe(state);
}

const KINDS = [
  { kind: 'record by record', change: {} },
  { kind: 'in chunks', change: { recordsPerActivity: 100 } },
];
const ENDS = [
  { end: 'terminated', status: 'TERMINATED', options: {} },
  { end: 'ended by its run timeout', status: 'TIMED_OUT', options: { workflowRunTimeout: '6 seconds' } },
  { end: 'ended by its execution timeout', status: 'TIMED_OUT', options: { workflowExecutionTimeout: '6 seconds' } },
];
const CASES = KINDS.flatMap((kind) => ENDS.map((end) => ({ ...kind, ...end })));

async function endRun({ handle }: Orphan, status: string): Promise<void> {
  if (status === 'TERMINATED') await handle.terminate('orphaned by a test');
  expect(await closed(handle)).toBe(status);
}

test.each(CASES)('$kind, $end with a worker alive: its guard revokes the key at once', async (theCase) => {
  const taskQueue = `orphan-${randomUUID()}`;
  const worker = await stack.startWorker(taskQueue);
  const orphan = await runInTheMiddle(taskQueue, theCase.change, theCase.options);
  await endRun(orphan, theCase.status);
  const { state, tookMs, reason } = await untilDead(orphan);
  expect({ state, reason }).toEqual({ state: 'revoked', reason: `The workflow run is ${theCase.status}.` });
  expect(tookMs).toBeLessThan(GUARD_MS);
  await expectRefused(orphan, 'key_revoked');
  await quit(worker);
  await expectNothingMore(orphan, taskQueue);
});

test.each(CASES)('$kind, $end with every worker killed: the lease ends the key', async (theCase) => {
  const taskQueue = `orphan-${randomUUID()}`;
  const worker = await stack.startWorker(taskQueue);
  const orphan = await runInTheMiddle(taskQueue, theCase.change, theCase.options);
  await kill(worker);
  const [{ state, tookMs }] = await Promise.all([untilDead(orphan), endRun(orphan, theCase.status)]);
  expect(state).toBe('expired');
  expect(tookMs).toBeLessThan(LEASE_MS + 1_000);
  await expectRefused(orphan, 'key_expired');
  await expectNothingMore(orphan, taskQueue);
});
