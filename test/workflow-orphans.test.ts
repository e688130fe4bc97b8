/** Runs that end without their own clean-up, with a worker alive and with none: the key dies, and no call leaves. */
import { randomUUID } from 'node:crypto';
import { WorkflowFailedError } from '@temporalio/client';
import {
  chargesOf,
  keyOf,
  kill,
  type KillStack,
  quit,
  scanAll,
  SCANNED,
  startKillStack,
  underWay,
} from './support/kill';
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
/** A guard looks at a young run every second; then it asks Temporal and the proxy. */
const GUARD_MS = 5_000;
/** Long enough for every run of the file to be in its middle. */
const TIMEOUT = '15 seconds';

const KINDS = [
  { kind: 'record by record', change: {} },
  { kind: 'in chunks', change: { recordsPerActivity: 100 } },
];
const ENDS = [
  { end: 'terminated', status: 'TERMINATED', options: {} },
  { end: 'ended by its run timeout', status: 'TIMED_OUT', options: { workflowRunTimeout: TIMEOUT } },
  { end: 'ended by its execution timeout', status: 'TIMED_OUT', options: { workflowExecutionTimeout: TIMEOUT } },
];
const CASES = KINDS.flatMap((kind) => ENDS.map((end) => ({ name: `${kind.kind}, ${end.end}`, ...kind, ...end })));
type Case = (typeof CASES)[number];

interface Orphan {
  readonly name: string;
  readonly prefix: string;
  readonly handle: RunHandle;
  readonly keyId: string;
  readonly vaultKey: string;
}

interface Death {
  readonly state: string;
  readonly reason: string | null;
  /** From the end of the run, or of the last worker. */
  readonly tookMs: number;
}

let stack: KillStack;
const everyOrphan: Orphan[] = [];

beforeAll(async () => {
  stack = await startKillStack({ delayMs: 100 });
});

afterAll(() => stack.stop());

/** A run of the shortest lease, in the middle of its calls, with far more to do than a test lasts. */
async function runInTheMiddle(taskQueue: string, { name, change, options }: Case): Promise<Orphan> {
  const prefix = `o${randomUUID().slice(0, 8)}`;
  const path = await writeSource(stack, customers(900, 1_000, prefix));
  const key = keyWith({ usdCap: 10_000, lease: LEASE_MS / 1_000 });
  const handle = await startRun(stack, taskQueue, inputFor(path, { key, concurrency: 2, ...change }), options);
  const keyId = await keyOf(handle);
  const { vault_key: vaultKey } = await stack.proxy.client.tokenFor(keyId);
  await eventually(() => chargesOf(stack, prefix).length >= 4 && underWay(stack, prefix) > 0);
  const orphan = { name, prefix, handle, keyId, vaultKey };
  everyOrphan.push(orphan);
  return orphan;
}

function runsInTheMiddle(taskQueue: string): Promise<Orphan[]> {
  return Promise.all(CASES.map((each) => runInTheMiddle(taskQueue, each)));
}

/** Terminates it, or waits for its timeout. */
async function untilClosed({ name, handle }: Orphan): Promise<void> {
  const { status } = caseOf(name);
  if (status === 'TERMINATED') await handle.terminate('orphaned by a test');
  expect(await handle.result().catch((error: unknown) => error)).toBeInstanceOf(WorkflowFailedError);
  expect((await handle.describe()).status.name).toBe(status);
}

function caseOf(name: string): Case {
  return CASES.find((each) => each.name === name)!;
}

async function untilDead({ keyId }: Orphan): Promise<Death> {
  const from = Date.now();
  const key = await eventually(async () => {
    const view = await stack.proxy.client.getKey(keyId);
    return view.state !== 'active' && view;
  }, 40_000);
  return { state: key.state, tookMs: Date.now() - from, reason: key.revoke_reason };
}

function theOrphan(orphans: readonly Orphan[], name: string): Orphan {
  return orphans.find((orphan) => orphan.name === name)!;
}

/** Anyone who still holds the vault key is refused, and the vendor hears nothing of it. */
async function answerToVaultKey({ prefix, vaultKey }: Orphan): Promise<object> {
  const caller = callerOf(stack.proxy.url);
  const body = `amount=1000&currency=usd&confirm=true&customer=${prefix}_late`;
  const { status, code } = await caller.call(vaultKey, { body, key: randomUUID() });
  await caller.close();
  const reached = stack.sandbox.requests().filter((request) => request.body.includes(`${prefix}_late`)).length;
  return { status, code, reached };
}

/** A worker that comes later does its own runs; answers the requests at the vendor for each orphan, before and after. */
async function laterWorker(orphans: readonly Orphan[], taskQueue: string): Promise<ReadonlyMap<string, number[]>> {
  await eventually(() => orphans.every(({ prefix }) => underWay(stack, prefix) === 0));
  const before = orphans.map(requestsOf);
  const worker = await stack.startWorker(taskQueue);
  const path = await writeSource(stack, customers(5, 1_000, `n${randomUUID().slice(0, 8)}`));
  expect((await run(stack, taskQueue, inputFor(path))).records.succeeded).toBe(5);
  await quit(worker);
  return new Map(orphans.map((orphan, index) => [orphan.name, [before[index] ?? -1, requestsOf(orphan)]]));
}

function requestsOf({ prefix }: Orphan): number {
  return stack.sandbox.requests().filter(({ body }) => body.includes(`customer=${prefix}_`)).length;
}

async function expectSettledBooks({ prefix, keyId }: Orphan, state: string): Promise<void> {
  const key = await stack.proxy.client.getKey(keyId);
  const charged = chargesOf(stack, prefix);
  expect(key.state).toBe(state);
  expect(key.spend).toMatchObject({ settled_usd: charged.length * 10, held_usd: 0, unknown_usd: 0 });
  expect(new Set(charged.map(({ customer }) => customer)).size).toBe(charged.length);
}

describe('with a worker alive, the guard revokes the key at once of a run', () => {
  let orphans: readonly Orphan[];
  let deaths: ReadonlyMap<string, Death>;
  let later: ReadonlyMap<string, number[]>;

  beforeAll(async () => {
    const taskQueue = `orphan-${randomUUID()}`;
    const worker = await stack.startWorker(taskQueue);
    orphans = await runsInTheMiddle(taskQueue);
    const ends = orphans.map(async (orphan) => {
      await untilClosed(orphan);
      return [orphan.name, await untilDead(orphan)] as const;
    });
    deaths = new Map(await Promise.all(ends));
    await quit(worker);
    later = await laterWorker(orphans, taskQueue);
  }, 100_000);

  test.each(CASES)('$name', async ({ name, status }) => {
    const orphan = theOrphan(orphans, name);
    const { tookMs, ...death } = deaths.get(name)!;
    expect(death).toEqual({ state: 'revoked', reason: `The workflow run is ${status}.` });
    expect(tookMs).toBeLessThan(GUARD_MS);
    expect(await answerToVaultKey(orphan)).toEqual({ status: 401, code: 'key_revoked', reached: 0 });
    const [before, after] = later.get(name)!;
    expect(after).toBe(before);
    await expectSettledBooks(orphan, 'revoked');
  });
});

describe('with every worker killed, the lease ends the key of a run', () => {
  let orphans: readonly Orphan[];
  let deaths: ReadonlyMap<string, Death>;
  let later: ReadonlyMap<string, number[]>;

  beforeAll(async () => {
    const taskQueue = `orphan-${randomUUID()}`;
    const worker = await stack.startWorker(taskQueue);
    orphans = await runsInTheMiddle(taskQueue);
    await kill(worker);
    const ends = orphans.map(async (orphan) => {
      const [death] = await Promise.all([untilDead(orphan), untilClosed(orphan)]);
      return [orphan.name, death] as const;
    });
    deaths = new Map(await Promise.all(ends));
    later = await laterWorker(orphans, taskQueue);
  }, 100_000);

  test.each(CASES)('$name', async ({ name }) => {
    const orphan = theOrphan(orphans, name);
    const { tookMs, ...death } = deaths.get(name)!;
    expect(death).toEqual({ state: 'expired', reason: null });
    expect(tookMs).toBeLessThan(LEASE_MS + 1_000);
    expect(await answerToVaultKey(orphan)).toEqual({ status: 401, code: 'key_expired', reached: 0 });
    const [before, after] = later.get(name)!;
    expect(after).toBe(before);
    await expectSettledBooks(orphan, 'expired');
  });
});

test('of all these runs, no vault key and no secret is in a history, a database or a log', async () => {
  const { secret, workerKey, apiKey } = stack.proxy;
  const secrets = [secret, workerKey, apiKey, ...everyOrphan.map(({ vaultKey }) => vaultKey)];
  const handles = everyOrphan.map(({ handle }) => handle);
  const found = await scanAll(stack, handles, secrets);
  expect(handles).toHaveLength(2 * CASES.length);
  expect(Object.keys(found)).toEqual(expect.arrayContaining(SCANNED));
  expect(Object.entries(found).filter(([, findings]) => findings.length > 0)).toEqual([]);
});
