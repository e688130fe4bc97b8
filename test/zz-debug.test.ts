import type { Limits } from '../workflows/limits';
import {
  customers,
  eventsOf,
  failedTasks,
  inputFor,
  keyWith,
  type Stack,
  startRun,
  startStack,
  withWorker,
  writeSource,
} from './support/temporal';
let stack: Stack;
beforeAll(async () => {
  stack = await startStack({ delayMs: 5 });
});
afterAll(() => stack.stop());
const SMALL: Partial<Limits> = {
  unitsPerPage: 10,
  activitiesInRoot: 20,
  unitsPerShardRun: 20,
  recordsPerShard: 35,
  shardsRunning: 2,
};
test('debug', async () => {
  const path = await writeSource(stack, customers(100, 1_000, 'shardcap'));
  await withWorker(
    stack,
    async (taskQueue) => {
      const handle = await startRun(stack, taskQueue, inputFor(path, { key: keyWith({ usdCap: 400 }) }));
      const r = await Promise.race([handle.result(), new Promise((x) => setTimeout(x, 9000))]);
      console.log(JSON.stringify(r));
      for (const id of [handle.workflowId, ...[0, 1, 2].map((i) => `${handle.workflowId}/shard-${i}`)]) {
        const h = stack.client.workflow.getHandle(id);
        const d = await h.describe().catch(() => undefined);
        if (!d) continue;
        const events = eventsOf(await h.fetchHistory());
        console.log(
          id,
          d.status.name,
          await failedTasks(h),
          events
            .slice(-25)
            .map((e) => {
              const k = Object.keys(e).find((x) => x.endsWith('Attributes'))!;
              const a = (e as never)[k] as any;
              return `${e.eventId} ${k.replace('EventAttributes', '')} ${a?.activityId ?? ''} ${a?.activityType?.name ?? ''} ${a?.signalName ?? ''} ${a?.workflowExecution?.workflowId ?? ''} ${a?.failure?.message ?? ''} ${a?.scheduledEventId ?? ''}`;
            })
            .join('\n'),
        );
      }
      await stack.client.workflow
        .getHandle(handle.workflowId)
        .terminate()
        .catch(() => 0);
    },
    { plugin: { limits: SMALL } },
  );
}, 40000);
