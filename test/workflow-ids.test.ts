/** Workflow ids are the user's: any that Temporal takes will do, though a header or a job id could not hold it. */
import { randomUUID } from 'node:crypto';
import type { WorkflowHandle } from '@temporalio/client';
import { vaultStatusQuery } from '../workflows';
import {
  customers,
  eventsOf,
  eventually,
  failedTasks,
  inputFor,
  type RunHandle,
  type Stack,
  startRun,
  writeSource,
} from './support/temporal';
import { useUserWorker } from './support/userWorker';

const users = useUserWorker();
const { taskQueue, seen } = users;
let stack: Stack;
beforeAll(() => void ({ stack } = users));

// A run that cannot get its key tries for ten minutes.
const soon = { workflowExecutionTimeout: '20 seconds' as const };

describe('pipelineRun', () => {
  test.each([
    ['in Chinese', '請求-2026'],
    ['of accents', 'août-2026'],
    ['of emoji', '💸'.repeat(100)],
    ['with a line break and spaces', ' a\nb '],
    ['that makes its issue key just too long', 'x'.repeat(205)],
    ['as long as Temporal takes', 'y'.repeat(900)],
  ])('an id %s gets its key, charges and revokes it', async (_what, workflowId) => {
    const path = await writeSource(stack, customers(2, 100, `run${randomUUID()}`));
    const handle = await startRun(stack, taskQueue, inputFor(path), { ...soon, workflowId });
    const report = await handle.result();
    expect(report).toMatchObject({ status: 'completed', records: { succeeded: 2 } });
    expect((await stack.proxy.client.getKey(report.keyId!)).state).toBe('revoked');
    expect(await failedTasks(handle)).toEqual([]);
  });

  test('a long id gets another key in place of a dead one after a reset', async () => {
    const path = await writeSource(stack, customers(3, 100, 'reset'));
    const workflowId = 'z'.repeat(190);
    const handle = await startRun(stack, taskQueue, inputFor(path), { ...soon, workflowId });
    const first = await handle.result();
    const report = await (await resetToTheBeginning(handle)).result();
    expect(report).toMatchObject({ status: 'completed', jobId: first.jobId, records: { replayed: 3 } });
    expect(report.keyId).not.toBe(first.keyId);
  });
});

async function resetToTheBeginning(handle: WorkflowHandle): Promise<RunHandle> {
  const { workflowId } = handle;
  const [task] = eventsOf(await handle.fetchHistory()).filter((event) => event.workflowTaskCompletedEventAttributes);
  const { runId } = await stack.client.workflowService.resetWorkflowExecution({
    namespace: 'default',
    workflowExecution: { workflowId },
    workflowTaskFinishEventId: task!.eventId!,
    requestId: randomUUID(),
    reason: 'test',
  });
  return stack.client.workflow.getHandle(workflowId, runId);
}

describe('withVaultKey', () => {
  test.each([
    ['in Chinese', '請求-2026-鍵', false],
    ['of emoji', '💸'.repeat(90), true],
    ['whose job id just fits', 'v'.repeat(163), false],
    ['whose job id is just too long', 'v'.repeat(164), true],
    ['as long as Temporal takes', 'w'.repeat(900), true],
  ])('an id %s gets its key, and the calls carry its job id', async (_what, workflowId, hashed) => {
    const customer = `vault${randomUUID()}`;
    const options = { ...soon, workflowId, taskQueue, args: [[customer], 100] as [string[], number] };
    const handle = await stack.client.workflow.start('chargeAll', options);
    expect(await handle.result()).toMatchObject({ done: 1 });
    const [{ jobId } = { jobId: '' }] = await handle.query(vaultStatusQuery);
    if (hashed) expect(jobId).toMatch(/^job_[0-9a-f]{64}$/);
    else expect(jobId).toBe(`${workflowId}/${handle.firstExecutionRunId}`);
    const { items } = await stack.proxy.client.listCalls({ record_id: customer });
    expect(items).toMatchObject([
      { job_id: jobId, idempotency_key: expect.stringContaining(encodeURIComponent(jobId)) },
    ]);
    expect((await stack.proxy.client.getJob(jobId)).spend.settled_usd).toBe(10);
    expect(await failedTasks(handle)).toEqual([]);
  });

  test('two keys of a long id have a job each', async () => {
    const options = { ...soon, workflowId: 'u'.repeat(400), taskQueue, args: ['long'] };
    const jobs = (await stack.client.workflow.execute('twoKeys', options)) as string[];
    expect(new Set(jobs).size).toBe(2);
    for (const jobId of jobs) expect(jobId).toMatch(/^job_[0-9a-f]{64}$/);
  });

  test('a job id that was given is never changed: one that is too long is refused', async () => {
    const options = { ...soon, workflowId: randomUUID(), taskQueue, args: [{ jobId: 'j'.repeat(201) }] };
    const handle = await stack.client.workflow.start('wrongOptions', options);
    const error = await handle.result().catch((thrown: Error) => thrown.cause);
    expect(error).toMatchObject({ type: 'keybrake.invalid_input', message: expect.stringMatching(/jobId/) });
  });

  test('a revocation reaches a key of an id in Chinese', async () => {
    const options = { ...soon, workflowId: '取消', taskQueue, args: [['revoked']] };
    const handle = await stack.client.workflow.start('chargeAndSleep', options);
    await eventually(() => seen.keyIds.size > 0);
    await handle.signal('keybrake.revoke', 'stop it');
    const error = await handle.result().catch((thrown: Error) => thrown.cause);
    expect(error).toMatchObject({ type: 'keybrake.key_revoked' });
  });
});
