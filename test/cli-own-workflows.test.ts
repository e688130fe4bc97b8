/** The commands and a user's own workflow with a vault key: whatever they say has happened, has happened. */
import { randomUUID } from 'node:crypto';
import type { WorkflowFailedError, WorkflowHandle } from '@temporalio/client';
import { keybrake } from './support/cli';
import { statusQuery } from '../workflows';
import { customers, eventually, inputFor, type Stack, startRun, writeSource } from './support/temporal';
import { useUserWorker } from './support/userWorker';

const users = useUserWorker();
const { taskQueue, seen } = users;
let stack: Stack;
beforeAll(() => void ({ stack } = users));

function cli(...args: string[]) {
  const env = { KEYBRAKE_URL: stack.proxy.url, KEYBRAKE_API_KEY: stack.proxy.apiKey };
  return keybrake(args, { env: { ...env, TEMPORAL_ADDRESS: stack.temporal.address } });
}

/** A workflow that has charged one customer and now sleeps for a minute within `withVaultKey`. */
async function sleeping(): Promise<{ readonly handle: WorkflowHandle; readonly keyId: string }> {
  const options = { workflowId: `own-${randomUUID()}`, taskQueue, args: [[`cus_${randomUUID()}`]] };
  const handle = await stack.client.workflow.start('chargeAndSleep', options);
  const [keyId] = await eventually(() => seen.keyIds.size > 0 && [...seen.keyIds]);
  return { handle, keyId: keyId! };
}

test('revoke ends what a vault key of an own workflow pays for', async () => {
  const { handle, keyId } = await sleeping();
  const { code, stdout } = await cli('revoke', handle.workflowId, '--reason', 'wrong list');
  expect([code, stdout]).toEqual([0, `${handle.workflowId} was told to revoke its key and to end.\n`]);
  const error = await handle.result().catch((thrown: unknown) => thrown);
  expect((error as WorkflowFailedError).cause).toMatchObject({ type: 'keybrake.key_revoked' });
  expect(await stack.proxy.client.getKey(keyId)).toMatchObject({
    state: 'revoked',
    revoke_reason: 'Revoked by signal: wrong list',
  });
});

test('status shows the keys of an own workflow, while it runs and when it has ended', async () => {
  const { handle, keyId } = await sleeping();
  const running = await cli('status', handle.workflowId);
  expect([running.code, running.stdout]).toEqual([0, expect.stringMatching(`: running\n[^]*key +${keyId}\n +job `)]);
  await handle.cancel();
  await handle.result().catch(() => undefined);
  const ended = await cli('status', handle.workflowId, '--json');
  expect(JSON.parse(ended.stdout)).toMatchObject({ status: 'cancelled', vaults: [{ keyId, ended: true }] });
});

test('pause says that an own workflow cannot be paused, and what can be done', async () => {
  const { handle } = await sleeping();
  const { code, stderr } = await cli('pause', handle.workflowId);
  expect([code, stderr]).toEqual([1, expect.stringContaining(`keybrake revoke ${handle.workflowId} ends`)]);
  await handle.cancel();
});

test('of a workflow without a vault key, no command says that it was stopped', async () => {
  const options = { workflowId: `plain-${randomUUID()}`, taskQueue };
  const { workflowId } = await stack.client.workflow.start('waitForever', options);
  const revoked = await cli('revoke', workflowId);
  expect([revoked.code, revoked.stdout]).toEqual([1, '']);
  expect(revoked.stderr).toMatch(/a workflow of type waitForever, has no vault key now/);
  expect(await cli('status', workflowId)).toMatchObject({ code: 1, stderr: expect.stringMatching(/no vault key/) });
  await stack.client.workflow.getHandle(workflowId).terminate();
});

test('status of a terminated run says why, once, and where its spend is found', async () => {
  stack.sandbox.setFaults({ delayMs: 100 });
  const path = await writeSource(stack, customers(200, 100, 'terminated'));
  const handle = await startRun(stack, taskQueue, inputFor(path, { concurrency: 1 }));
  const { jobId, keyId } = await eventually(async () => {
    const view = await handle.query(statusQuery);
    return view.keyId !== null && view;
  });
  await stack.client.workflow.getHandle(handle.workflowId).terminate('wrong file');
  stack.sandbox.setFaults({});
  const { stdout } = await cli('status', handle.workflowId);
  expect(stdout.split('\n')).toEqual([
    `${handle.workflowId}: terminated`,
    '  The run was terminated: wrong file',
    `  key  ${keyId}`,
    `  job  ${jobId}`,
    `  Whether its key is dead: keybrake status ${keyId}`,
    `  What it has spent: keybrake status --job ${jobId}`,
    '',
  ]);
});
