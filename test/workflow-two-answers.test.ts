/**
 * Two local activities that end in one workflow task: at first the workflow is told of each in an activation of its own, at
 * replay of both in one. What the first one's answer sets going must come before the second one's answer all the same.
 */
import { EventEmitter, once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { Context } from '@temporalio/activity';
import { Worker, type WorkerInterceptors } from '@temporalio/worker';
import { raiseCapUpdate, statusQuery } from '../workflows';
import {
  customers,
  eventsOf,
  eventually,
  failedTasks,
  inputFor,
  keyWith,
  pluginFor,
  type Stack,
  startRun,
  startStack,
  withWorker,
  writeSource,
} from './support/temporal';

let stack: Stack;

beforeAll(async () => {
  stack = await startStack({ delayMs: 20 });
});

afterAll(() => stack.stop());

/** Longer than from one heartbeat of the workflow task to the next: both activities are begun before either ends. */
const OVER_A_HEARTBEAT_MS = 1_100;
const BETWEEN_MS = 150;

/** Of a run whose cap is raised and whose key dies: the raise ends just before the question for another key. */
function oneAfterTheOther(): WorkerInterceptors {
  const issues = new Map<string, number>();
  const questions = new EventEmitter();
  return {
    activity: [
      () => ({
        inbound: {
          async execute(input, next) {
            const { activityType, workflowExecution } = Context.current().info;
            const workflowId = workflowExecution?.workflowId ?? '';
            const issued = issues.get(workflowId) ?? 0;
            if (activityType === 'keybrake.issue') issues.set(workflowId, issued + 1);
            const answer = next(input);
            if (activityType === 'keybrake.raise') await once(questions, workflowId);
            if (activityType === 'keybrake.issue' && issued > 0) {
              await sleep(OVER_A_HEARTBEAT_MS);
              questions.emit(workflowId);
              await sleep(BETWEEN_MS);
            }
            return answer;
          },
        },
      }),
    ],
  };
}

test('a run whose cap is raised while its key dies replays', async () => {
  const plugin = { limits: { spendPollMs: 100 } };
  await withWorker(
    stack,
    async (taskQueue) => {
      const runs = Array.from({ length: 3 }, async (_, index) => {
        const path = await writeSource(stack, customers(20, 1_000, `two${index}`));
        const input = inputFor(path, { concurrency: 4, onCapExhausted: 'pause', key: keyWith({ usdCap: 30 }) });
        const handle = await startRun(stack, taskQueue, input, { workflowTaskTimeout: '1s' });
        await eventually(async () => (await handle.query(statusQuery)).phase === 'waiting_for_cap');
        const { keyId } = await handle.query(statusQuery);
        const raised = handle.executeUpdate(raiseCapUpdate, { args: [500] });
        await stack.proxy.client.revokeKey(keyId!, 'leaked');
        expect((await raised).usdCap).toBe(500);
        expect((await handle.result()).status).toBe('revoked');
        expect(await failedTasks(handle)).toEqual([]);
        const history = await handle.fetchHistory();
        await Worker.runReplayHistory({ plugins: [pluginFor(stack, plugin)] }, history, handle.workflowId);
      });
      await Promise.all(runs);
    },
    { plugin, worker: { interceptors: oneAfterTheOther() } },
  );
});

test('a run asks for its patches before all else, since behind a local activity a query can part the two', async () => {
  await withWorker(stack, async (taskQueue) => {
    const path = await writeSource(stack, customers(2, 1_000, 'patches'));
    const handle = await startRun(stack, taskQueue, inputFor(path, {}));
    await handle.result();
    const markers = eventsOf(await handle.fetchHistory()).flatMap(
      ({ markerRecordedEventAttributes: marker }) => marker?.markerName ?? [],
    );
    expect(markers.slice(0, 6)).toEqual([...Array<string>(5).fill('core_patch'), 'core_local_activity']);
    expect(markers.lastIndexOf('core_patch')).toBe(4);
  });
});
