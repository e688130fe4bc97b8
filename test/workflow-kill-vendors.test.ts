/** The worker is killed while texts and e-mails are under way, and another one started: nothing is sent twice. */
import { randomUUID } from 'node:crypto';
import { kill, type KillStack, quit, startKillStack } from './support/kill';
import { eventually, inputFor, type RunHandle, startRun, writeSource } from './support/temporal';

const COUNT = 40;
const TEXTS = 'POST /2010-04-01/Accounts/{AccountSid}/Messages.json';
// prettier-ignore
const RUNS = [
  { vendor: 'twilio', endpoint: TEXTS, params: { To: '{{phone}}', From: '+15005550006', Body: 'To {{id}}' }, usd: 0.02 },
  { vendor: 'resend', endpoint: 'POST /emails', params: { from: 'a@b.test', to: ['{{id}}@d.test'], subject: '{{id}}', text: 't' }, usd: 0.0009 },
] as const;

let stack: KillStack;
const handles = new Map<string, RunHandle>();

beforeAll(async () => {
  stack = await startKillStack({ delayMs: 300 });
  const taskQueue = `kill-${randomUUID()}`;
  const first = await stack.startWorker(taskQueue);
  for (const { vendor, endpoint, params } of RUNS) {
    const records = Array.from({ length: COUNT }, (_, n) => ({ id: `r${n}`, phone: `+1415556${1_000 + n}` }));
    const key = { vendor, usdCap: 10, allowedEndpoints: [endpoint], ttl: '1h' };
    const input = inputFor(await writeSource(stack, records), { call: { endpoint, params }, key, concurrency: 5 });
    handles.set(vendor, await startRun(stack, taskQueue, input));
  }
  await eventually(() => executed().every((count) => count >= 5 && count < COUNT) && underWay().every((n) => n > 0));
  await kill(first);
  const second = await stack.startWorker(taskQueue);
  await Promise.all([...handles.values()].map((handle) => handle.result()));
  await quit(second);
}, 120_000);

afterAll(() => stack.stop());

function executed(): number[] {
  const { twilio, resend } = stack.sandbox.stats();
  return [twilio.executedMessages, resend.executedEmails];
}

function underWay(): number[] {
  const open = stack.sandbox.requests().filter(({ status }) => status === null);
  return ['twilio', 'resend'].map((vendor) => open.filter((request) => request.vendor === vendor).length);
}

test.each(RUNS)('$vendor: every record is sent once, and the ledger has each', async ({ vendor, usd }) => {
  const report = await handles.get(vendor)!.result();
  expect(report).toMatchObject({ status: 'completed', records: { succeeded: COUNT, total: COUNT, unknown: 0 } });
  const { twilio, resend } = stack.sandbox.stats();
  const counts = vendor === 'twilio' ? twilio.executedMessages : resend.executedEmails;
  const twice = vendor === 'twilio' ? twilio.duplicates.sends : resend.duplicates.contents;
  expect([counts, twice]).toEqual([COUNT, []]);
  expect(report.spend).toMatchObject({ settled_usd: Math.round(COUNT * usd * 1e6) / 1e6, held_usd: 0, unknown_usd: 0 });
  const { items } = await stack.proxy.client.listCalls({ key_id: report.keyId ?? '', limit: 1_000 });
  expect(items.filter(({ state }) => state === 'settled')).toHaveLength(COUNT);
});
