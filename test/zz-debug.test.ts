import { randomUUID } from 'node:crypto';
import { vaultRevokeSignal } from '../workflows';
import { eventsOf, failedTasks, type Stack, startStack, startWorker } from './support/temporal';
import { userActivities } from './support/userActivities';
let stack: Stack;
let worker: Awaited<ReturnType<typeof startWorker>>;
const taskQueue = `vault-${randomUUID()}`;
beforeAll(async () => {
  stack = await startStack();
  worker = await startWorker(stack, taskQueue, { worker: { workflowsPath: require.resolve('./support/userWorkflows'), activities: userActivities({ keyIds: new Set() }) } });
});
afterAll(async () => { await worker.stop(); await stack.stop(); });
test('debug', async () => {
  let bad = 0;
  let shown = false;
  for (let round = 0; round < 8; round++) {
    const handles = await Promise.all(Array.from({ length: 15 }, async (_, i) => {
      const h = await stack.client.workflow.start('chargeAndSleep', { workflowId: `u-${randomUUID()}`, taskQueue, args: [[`d${round}_${i}`]], workflowExecutionTimeout: '20s' });
      await new Promise((r) => setTimeout(r, 20 + Math.random() * 250));
      await h.signal(vaultRevokeSignal).catch(() => 0);
      return h;
    }));
    for (const h of handles) {
      await h.result().catch(() => 0); const d = await h.describe(); const ms = +d.closeTime! - +d.startTime; if (ms > 2500) console.log(ms, d.status.name, await failedTasks(h));
      const f = (await failedTasks(h)).filter((x) => x !== "UnhandledCommand");
      if (f.length || ms > 2500) {
        bad++;
        if (!shown) { shown = true; const events = eventsOf(await h.fetchHistory());
        console.log(f, events.map((e) => { const k = Object.keys(e).find((x) => x.endsWith('Attributes'))!; const a = (e as never)[k] as any; return `${e.eventId} ${Number(e.eventTime!.seconds) % 1000}.${String(e.eventTime!.nanos).slice(0,3)} ${k.replace('EventAttributes', '')} ${a?.activityId ?? ''} ${a?.activityType?.name ?? ''} ${a?.signalName ?? ''} ${a?.failure?.message ?? ''} ${a?.scheduledEventId ?? ''} ${a?.details?.data ? Buffer.from(a.details.data.payloads[0].data).toString().slice(0, 200) : ''}`; }).join('\n')); }
      }
    }
  }
  console.log('bad', bad);
}, 100000);
