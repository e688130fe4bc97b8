/** Whoever may signal a workflow may send it anything: what is not the pack's is ignored, and the next word is heard. */
import { randomUUID } from 'node:crypto';
import { pauseSignal, resumeSignal, revokeSignal, statusQuery } from '../workflows';
import type { Limits } from '../activities/contract/limits';
import {
  customers,
  eventually,
  failedTasks,
  inputFor,
  type Stack,
  startRun,
  startStack,
  startWorker,
  writeSource,
} from './support/temporal';

const SMALL: Partial<Limits> = { unitsPerPage: 5, activitiesInRoot: 5, unitsPerShardRun: 10, recordsPerShard: 20 };

let stack: Stack;
let worker: Awaited<ReturnType<typeof startWorker>>;
const taskQueue = `signals-${randomUUID()}`;

beforeAll(async () => {
  stack = await startStack({ delayMs: 20 });
  worker = await startWorker(stack, taskQueue, { plugin: { limits: SMALL } });
});

afterAll(async () => {
  await worker.stop();
  await stack.stop();
});

const soon = { workflowExecutionTimeout: '40 seconds' };
const NOTHING: unknown[][] = [[], [null], ['text'], [7], [[]], [{}]];
const HELD: unknown[][] = [
  ...NOTHING,
  [{ shard: 0, code: 'no_such_code', epoch: 0 }],
  [{ shard: 0, code: 'toString', epoch: 0 }],
  [{ shard: 0, code: 'key_revoked' }],
  [{ shard: 0, code: 'key_revoked', epoch: 'x' }],
];
const PROGRESS: unknown[][] = [
  ...NOTHING,
  [{ shard: 0, counts: null }],
  [{ shard: 0, counts: [3] }],
  [{ shard: 0, counts: { succeeded: null } }],
  [{ shard: 0, counts: { succeeded: '5' } }],
  [{ shard: 0, counts: { succeeded: -5 } }],
  [{ shard: 0, counts: { nonsense: 5 } }],
  [{ shard: 99, counts: { succeeded: 5 } }],
];
const CONTROL: unknown[][] = [
  ...NOTHING,
  [{ keyId: 'key_other', epoch: 'x', paused: false }],
  [{ keyId: 7, epoch: 9, paused: false }],
  [{ keyId: 'key_other', epoch: 9 }],
  [{ keyId: 'key_other', epoch: 9, paused: false, version: null }],
];
const OPERATOR: unknown[][] = [[[1, { reason: 5 }]], [{ reason: null }], [7]];

test('signals that are not of the pack are ignored by a run: its counts stay right, and revoke is heard', async () => {
  const path = await writeSource(stack, customers(60, 100, 'run'));
  const handle = await startRun(stack, taskQueue, inputFor(path, { concurrency: 1 }), soon);
  await eventually(async () => (await handle.query(statusQuery)).phase === 'running');
  for (const args of HELD) await handle.signal('keybrake.held', ...args);
  for (const args of PROGRESS) await handle.signal('keybrake.progress', ...args);
  for (const args of OPERATOR) {
    await handle.signal(pauseSignal, ...(args as [unknown]));
    await handle.signal(resumeSignal, ...(args as [unknown]));
  }
  await handle.signal(revokeSignal, 'enough');
  const report = await handle.result();
  expect(report).toMatchObject({ status: 'revoked', reason: 'Revoked by signal: enough' });
  const charged = stack.sandbox.charges().filter(({ customer }) => customer?.startsWith('run_')).length;
  expect(report.records).toMatchObject({ succeeded: charged, unknown: 0, total: 60 });
  expect(await failedTasks(handle)).toEqual([]);
});

test('signals that are not of the pack are ignored by a run that has no key yet', async () => {
  const path = await writeSource(stack, customers(3, 100, 'early'));
  const options = { workflowId: randomUUID(), taskQueue, args: [inputFor(path)], ...soon };
  // As the first signal of a run, it is handled in its first task.
  const handle = await stack.client.workflow.signalWithStart('pipelineRun', {
    ...options,
    workflowExecutionTimeout: '40 seconds',
    signal: 'keybrake.held',
    signalArgs: [{ code: 'key_revoked' }],
  });
  expect(await handle.result()).toMatchObject({ status: 'completed', records: { succeeded: 3 } });
  expect(await failedTasks(handle)).toEqual([]);
});

test('signals that are not of the pack are ignored by a shard, which goes on with its own key', async () => {
  const path = await writeSource(stack, customers(40, 100, 'shard'));
  const handle = await startRun(stack, taskQueue, inputFor(path, { concurrency: 2 }), soon);
  const shard = stack.client.workflow.getHandle(`${handle.workflowId}/shard-0`);
  await eventually(() => stack.sandbox.charges().some(({ customer }) => customer?.startsWith('shard_')));
  for (const args of CONTROL) await shard.signal('keybrake.control', ...args);
  expect(await handle.result()).toMatchObject({ status: 'completed', records: { succeeded: 40 } });
  expect(await failedTasks(shard)).toEqual([]);
  expect(await failedTasks(handle)).toEqual([]);
});
