import { randomUUID } from 'node:crypto';
import { WorkflowFailedError, type WorkflowHandle } from '@temporalio/client';
import { ApplicationFailure, CancelledFailure } from '@temporalio/common';
import { vault } from '../activities';
import { scanHistory } from '../src/testing';
import { vaultRevokeSignal, vaultStatusQuery } from '../workflows';
import { eventsOf, eventually, failedTasks, type Stack } from './support/temporal';
import { useUserWorker } from './support/userWorker';
import type * as workflows from './support/userWorkflows';

type Workflows = Omit<typeof workflows, 'keyOptions' | 'withVaultKey'>;
type Name = keyof {
  [K in keyof Workflows as Workflows[K] extends (...args: never[]) => Promise<unknown> ? K : never]: true;
};

const users = useUserWorker({
  async revokeOwn(reason: string): Promise<void> {
    await users.stack.proxy.client.revokeKey(vault('none').keyId, reason);
  },
});
const { taskQueue, seen } = users;
let stack: Stack;
beforeAll(() => void ({ stack } = users));

function start(name: Name, ...args: unknown[]): Promise<WorkflowHandle> {
  const options = {
    workflowId: `user-${randomUUID()}`,
    taskQueue,
    args,
    workflowExecutionTimeout: '1 minute' as const,
  };
  return stack.client.workflow.start(name, options);
}

async function result(name: Name, ...args: unknown[]): Promise<unknown> {
  return (await start(name, ...args)).result();
}

async function failure(handle: WorkflowHandle): Promise<ApplicationFailure> {
  const error = await handle.result().catch((thrown: unknown) => thrown);
  expect(error).toBeInstanceOf(WorkflowFailedError);
  let { cause } = error as WorkflowFailedError;
  while (cause !== undefined && !(cause instanceof ApplicationFailure) && cause.cause instanceof Error)
    cause = cause.cause;
  return cause as ApplicationFailure;
}

function ids(prefix: string, count: number): string[] {
  return Array.from({ length: count }, (_, index) => `${prefix}_${index}`);
}

function chargesOf(prefix: string): number {
  return stack.sandbox.charges().filter(({ customer }) => customer?.startsWith(prefix)).length;
}

/** Every key of the test is dead, and nothing secret is in the history. */
async function expectClosed(handle: WorkflowHandle): Promise<void> {
  expect(seen.keyIds.size).toBeGreaterThan(0);
  for (const keyId of seen.keyIds) expect((await stack.proxy.client.getKey(keyId)).state).toBe('revoked');
  expect(await failedTasks(handle)).toEqual([]);
  const secrets = [stack.proxy.secret, stack.proxy.workerKey, stack.proxy.apiKey];
  expect(scanHistory(await handle.fetchHistory(), { secrets })).toEqual([]);
}

test('a workflow task that is run anew at the end of the function does not take its own revocation for another’s', async () => {
  expect(await result('revokedAtItsEnd', 'anew_1', 'The function has ended.')).toBe('done');
  const capped = await failure(await start('revokedAtItsEnd', 'anew_2', 'cap_exhausted'));
  expect(capped.type).toBe('keybrake.cap_exhausted');
  const revoked = await failure(await start('revokedAtItsEnd', 'anew_3', 'the operator says so'));
  expect(revoked).toMatchObject({ type: 'keybrake.key_revoked', message: expect.stringContaining('operator says so') });
});

describe('withVaultKey', () => {
  test('gives the activities their key and revokes it at the end', async () => {
    const handle = await start('chargeAll', ids('plain', 3), 100);
    expect(await handle.result()).toMatchObject({ done: 3 });
    expect(chargesOf('plain')).toBe(3);
    await expectClosed(handle);
    const { items } = await stack.proxy.client.listCalls({ record_id: 'plain_0' });
    expect(items).toEqual([expect.objectContaining({ workflow_id: handle.workflowId, attempt: 1 })]);
  });

  test('at the cap throws keybrake.cap_exhausted with the spend', async () => {
    const handle = await start('chargeAll', ids('cap', 5), 30);
    const error = await failure(handle);
    expect(error).toMatchObject({ type: 'keybrake.cap_exhausted', nonRetryable: true });
    expect(error.message).toMatch(/\$30\.00 spent of \$30\.00/);
    expect(error.details?.[0]).toMatchObject({ spend: { settled_usd: 30 } });
    expect(chargesOf('cap')).toBe(3);
    await expectClosed(handle);
  });

  test('names the spend of the whole job where the runs before it have spent the cap', async () => {
    const error = await failure(await start('chargeInTurns', ids('turns', 3), 20));
    expect(error.type).toBe('keybrake.cap_exhausted');
    expect(error.message).toMatch(/\$0\.00 spent of \$20\.00, \$20\.00 by all keys of its job/);
    expect(chargesOf('turns')).toBe(2);
  });

  test.each(['workflow', 'activity'] as const)('throws it also when the %s swallows every failure', async (how) => {
    const handle = await start('swallowAll', ids(`swallow-${how}`, 5), 20, how);
    expect(await failure(handle)).toMatchObject({ type: 'keybrake.cap_exhausted' });
    expect(chargesOf(`swallow-${how}`)).toBe(2);
    await expectClosed(handle);
  });

  test("with onStop 'return' leaves that to the function", async () => {
    expect(await result('swallowAll', ids('return', 5), 20, 'workflow', { onStop: 'return' })).toBe('swallowed');
    expect(chargesOf('return')).toBe(2);
  });

  test('a failure of the function passes as it is, with the key revoked', async () => {
    const handle = await start('failInside', ids('fail', 1));
    expect(await failure(handle)).toMatchObject({ type: 'user.failure', message: 'the user fails' });
    await expectClosed(handle);
  });

  test.each([
    { name: 'nothing', args: [], words: /Revoked by signal/ },
    { name: 'a reason', args: [{ reason: 'stop it' }], words: /stop it/ },
  ])('the signal keybrake.revoke with $name revokes and cancels', async ({ args, words }) => {
    const handle = await start('chargeAndSleep', ids('revoke', 1));
    await eventually(() => seen.keyIds.size > 0);
    expect(await handle.query(vaultStatusQuery)).toMatchObject([{ stop: null, ended: false }]);
    await handle.signal(vaultRevokeSignal, ...(args as [unknown?]));
    const error = await failure(handle);
    expect(error.type).toBe('keybrake.key_revoked');
    expect(error.message).toMatch(words);
    await expectClosed(handle);
  });

  test('a revocation at the proxy cancels the function too', async () => {
    const handle = await start('chargeAndSleep', ids('outside', 1));
    const [keyId] = await eventually(() => seen.keyIds.size > 0 && [...seen.keyIds]);
    await stack.proxy.client.revokeKey(keyId!, 'operator');
    expect((await failure(handle)).type).toBe('keybrake.key_revoked');
    await expectClosed(handle);
  });

  test('a revocation after a key that was not issued ends the next', async () => {
    const handle = await start('secondKeyAfterNone', 'after_none');
    // The local activity that was to issue it has left its marker.
    await eventually(async () =>
      eventsOf(await handle.fetchHistory()).some((event) => event.markerRecordedEventAttributes),
    );
    await handle.signal(vaultRevokeSignal, 'stop it');
    await handle.signal('goOn');
    expect(await failure(handle)).toMatchObject({ type: 'keybrake.key_revoked' });
    expect(seen.keyIds.size).toBe(0);
    expect(await failedTasks(handle)).toEqual([]);
  });

  test('a revocation while a key is asked for that is not issued ends the next', async () => {
    const handle = await stack.client.workflow.signalWithStart('secondKeyAfterNone', {
      workflowId: `user-${randomUUID()}`,
      taskQueue,
      args: ['while_none'],
      signal: vaultRevokeSignal,
      signalArgs: ['stop it'],
    });
    await handle.signal('goOn');
    expect(await failure(handle)).toMatchObject({ type: 'keybrake.key_revoked' });
    expect(seen.keyIds.size).toBe(0);
    expect(await failedTasks(handle)).toEqual([]);
  });

  test("the workflow's own cancellation wins", async () => {
    const handle = await start('chargeAndSleep', ids('cancel', 1));
    await eventually(() => seen.keyIds.size > 0);
    await handle.cancel();
    const error = await handle.result().catch((thrown: unknown) => thrown);
    expect((error as WorkflowFailedError).cause).toBeInstanceOf(CancelledFailure);
    expect((await handle.describe()).status.name).toBe('CANCELLED');
    await expectClosed(handle);
  });

  test('a terminated workflow leaves no open key', async () => {
    const handle = await start('chargeAndSleep', ids('terminate', 1));
    const [keyId] = await eventually(() => seen.keyIds.size > 0 && [...seen.keyIds]);
    await handle.terminate();
    await eventually(async () => (await stack.proxy.client.getKey(keyId!)).state === 'revoked', 12_000);
  });

  test('waits for a call that the function left behind', async () => {
    const handle = await start('leaveBehind', 'left_1');
    expect(await handle.result()).toBe('left');
    const { calls } = (await stack.proxy.client.summary('test/user')).spend;
    expect(calls.held).toBe(0);
    expect(await failedTasks(handle)).toEqual([]);
  });

  test.each([
    { name: 'an unknown vendor', change: { vendor: 'acme' }, words: /vendor/ },
    {
      name: 'a misspelt cap',
      change: { max_usd_per_call: 5 },
      words: /max_usd_per_call: unknown field; did you mean maxUsdPerCall/,
    },
    { name: 'a cap as text', change: { usdCap: '5' }, words: /^usdCap: (?!.*usd_cap)/m },
    { name: 'no time to live', change: { ttl: null }, words: /^ttl: (?!.*expires_in)/m },
    { name: 'an unknown route', change: { allowedEndpoints: ['POST /v1/payment_intent'] }, words: /payment_intents/ },
  ])('refuses $name as keybrake.invalid_input', async ({ change, words }) => {
    const handle = await start('wrongOptions', change);
    const error = await failure(handle);
    expect(error).toMatchObject({ type: 'keybrake.invalid_input', nonRetryable: true });
    expect(error.message).toMatch(words);
    expect(await failedTasks(handle)).toEqual([]);
  });

  test.each([[null], [undefined], ['stripe']])('refuses %j for options as keybrake.invalid_input', async (options) => {
    const handle = await start('givenOptions', options);
    const error = await failure(handle);
    expect(error).toMatchObject({ type: 'keybrake.invalid_input', nonRetryable: true });
    expect(error.message).toMatch(/withVaultKey needs options/);
    expect(await failedTasks(handle)).toEqual([]);
  });

  test('the key goes on into a child and over its continue-as-new, and not further', async () => {
    const handle = await start('parentOf', 'child');
    expect(await handle.result()).toBe('child_2');
    expect(chargesOf('child_')).toBe(3);
    expect(seen.keyIds.size).toBe(1);
    await expectClosed(handle);
  });

  test('two keys of one workflow have a cap and a job each', async () => {
    const handle = await start('twoKeys', 'two');
    const [first, second] = (await handle.result()) as string[];
    expect(second).toBe(`${first}/2`);
    expect(chargesOf('two_')).toBe(3);
    await expectClosed(handle);
  });

  test('a local activity that meets the cap ends what else is going on', async () => {
    const handle = await start('waitsAfterLocal', 'local_2');
    expect(await failure(handle)).toMatchObject({ type: 'keybrake.cap_exhausted' });
    await expectClosed(handle);
  });

  test('works with local activities, and leaves scopes of the user alone', async () => {
    expect(await result('inLocalActivity', 'local_1')).toMatch(/^pi_/);
    expect(await result('ownScope', 'scope_1')).toBe('fine');
  });
});

describe('vault()', () => {
  test('fetch is bound to the vendor, the record and its idempotency key', async () => {
    expect(await result('byFetch', 'fetch_1')).toBe(200_403);
    expect(chargesOf('fetch_1')).toBe(1);
  });

  test('a second paid call of a record needs a suffix, and has its own key then', async () => {
    const [first, second] = (await result('twice', 'suffix_1')) as string[];
    expect(first).not.toBe(second);
    expect(chargesOf('suffix_1')).toBe(2);
  });

  test('outside of withVaultKey says what to do', async () => {
    const error = await failure(await start('withoutVault'));
    expect(error.type).toBe('keybrake.no_context');
    expect(error.message).toMatch(/withVaultKey/);
  });

  test("wants a record id, since Temporal's own activity ids repeat; an activity id of the user's will do", async () => {
    const error = await failure(await start('withoutRecordId'));
    expect(error.type).toBe('keybrake.no_context');
    expect(error.message).toMatch(/id of the record/);
    expect(await result('withActivityId', 'own-id')).toMatch(/^pi_/);
    const { items } = await stack.proxy.client.listCalls({ record_id: 'own-id' });
    expect(items[0]?.idempotency_key).toMatch(/:own-id$/);
  });

  test('a refusal that no retry can pass fails the activity at once, by its code', async () => {
    const handle = await start('forbidden');
    const error = await failure(handle);
    expect(error).toMatchObject({ type: 'keybrake.endpoint_not_allowed', nonRetryable: true });
    const { items } = await stack.proxy.client.listCalls({ record_id: 'forbidden_1' });
    expect(items).toHaveLength(1);
  });
});
