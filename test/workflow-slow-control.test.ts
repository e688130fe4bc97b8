/**
 * Local activities that take longer than a workflow task: it heartbeats, and news of other activities comes in between.
 * At replay a local activity's answer comes in one step with that news, so the workflow must not depend on which is first.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { Context } from '@temporalio/activity';
import { Worker, type WorkerInterceptors } from '@temporalio/worker';
import { statusQuery } from '../workflows';
import {
  customers,
  eventually,
  failedTasks,
  inputFor,
  pluginFor,
  type Stack,
  startRun,
  startStack,
  withWorker,
  writeSource,
} from './support/temporal';
import { userActivities } from './support/userActivities';

let stack: Stack;

beforeAll(async () => {
  stack = await startStack({ delayMs: 400 });
});

afterAll(() => stack.stop());

/** Milliseconds: the tasks below heartbeat after 800. */
const SLOW: Readonly<Record<string, number>> = { 'keybrake.issue': 1_200, 'keybrake.revoke': 2_500 };

const interceptors: WorkerInterceptors = {
  activity: [
    () => ({
      inbound: {
        async execute(input, next) {
          await sleep(SLOW[Context.current().info.activityType] ?? 0);
          return next(input);
        },
      },
    }),
  ],
};

test('a run whose key dies while its calls end replays, so that it can still be asked for its status', async () => {
  const plugin = { limits: { spendPollMs: 50 } };
  await withWorker(
    stack,
    async (taskQueue) => {
      const runs = Array.from({ length: 6 }, async (_, index) => {
        const prefix = `slow${index}`;
        const charges = () => stack.sandbox.charges().filter(({ customer }) => customer?.startsWith(`${prefix}_`));
        const path = await writeSource(stack, customers(60, 1_000, prefix));
        const input = inputFor(path, { concurrency: 4 + index });
        const handle = await startRun(stack, taskQueue, input, { workflowTaskTimeout: '1s' });
        await eventually(() => charges().length > 8);
        await stack.proxy.client.revokeKey((await handle.query(statusQuery)).keyId!, 'leaked');
        expect((await handle.result()).status).toBe('revoked');
        expect(await failedTasks(handle)).toEqual([]);
        const history = await handle.fetchHistory();
        await Worker.runReplayHistory({ plugins: [pluginFor(stack, plugin)] }, history, handle.workflowId);
      });
      await Promise.all(runs);
    },
    { plugin, worker: { interceptors } },
  );
});

/** The workflow has heard of its guard's end, and of it alone, for two of its tasks. */
async function guardEnded(workflowId: string): Promise<boolean> {
  const { events = [] } = await stack.client.workflow.getHandle(workflowId).fetchHistory();
  const guard = events?.find(
    (event) => event.activityTaskScheduledEventAttributes?.activityType?.name === 'keybrake.guard',
  );
  const end = events?.findIndex(({ activityTaskCompletedEventAttributes: completed }) =>
    completed?.scheduledEventId?.equals(guard?.eventId ?? 0),
  );
  const tasks = events?.slice(end).filter((event) => event.workflowTaskCompletedEventAttributes);
  return end !== undefined && end > 0 && (tasks?.length ?? 0) >= 2;
}

test('a function that has ended does not fail because its guard sees the key revoked before the answer to that comes', async () => {
  const late: WorkerInterceptors = {
    activity: [
      () => ({
        inbound: {
          async execute(input, next) {
            const answer = await next(input);
            const { activityType, workflowExecution } = Context.current().info;
            if (activityType === 'keybrake.revoke') await eventually(() => guardEnded(workflowExecution!.workflowId));
            return answer;
          },
        },
      }),
    ],
  };
  const worker = {
    interceptors: late,
    workflowsPath: require.resolve('./support/userWorkflows'),
    activities: userActivities({ keyIds: new Set() }),
  };
  await withWorker(
    stack,
    async (taskQueue) => {
      const workflowId = `late-${taskQueue}`;
      const args = [['late_1', 'late_2'], 100];
      const options = { workflowId, taskQueue, args, workflowTaskTimeout: '1s' as const };
      const handle = await stack.client.workflow.start('chargeAll', options);
      expect(await handle.result()).toMatchObject({ done: 2 });
      expect(await failedTasks(handle)).toEqual([]);
    },
    { worker },
  );
});
