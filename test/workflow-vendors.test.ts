/** `pipelineRun` and `withVaultKey` over Twilio, Resend and a vendor of one's own: never over the cap, never twice. */
import { randomUUID } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { WorkflowFailedError } from '@temporalio/client';
import type { ApplicationFailure } from '@temporalio/common';
import type { RunReport } from '../activities/contract/plan';
import type { CustomVendor } from '../proxy/vendors/custom';
import { scanHistory } from '../src/testing';
import { startTestProxy } from './support/proxy';
import { failedTasks, inputFor, type RecordLine, run, type Stack, startRun, startStack } from './support/temporal';
import { withWorker, writeSource } from './support/temporal';
import { vendorActivities } from './support/vendorActivities';
import { startVendorStub } from './support/vendorStub';

const TEXTS = 'POST /2010-04-01/Accounts/{AccountSid}/Messages.json';
const FROM = '+15005550006';
/** What the stand-in bills for a text and an e-mail. */
const TEXT_MICROS = 11_300;
const EMAIL_MICROS = 900;
const COUNT = 50;
const FITTING = 25;

let stack: Stack;

beforeAll(async () => {
  const prices = { twilio: { sms: { US: TEXT_MICROS } }, resend: { email: EMAIL_MICROS } };
  stack = await startStack({ delayMs: 30, proxy: { prices } });
});
afterAll(() => stack.stop());
beforeEach(() => stack.sandbox.reset());

function people(count: number): RecordLine[] {
  return Array.from({ length: count }, (_, index) => ({
    id: `p_${index + 1}`,
    phone: `+1415556${String(1_000 + index)}`,
    mail: `p${index + 1}@d.test`,
    name: index === 0 ? 'Zoë & "Co"' : `Person ${index + 1}`,
  }));
}

interface Job {
  readonly vendor: string;
  readonly endpoint: string;
  readonly params: object;
  readonly micros: number;
}

const JOBS: Readonly<Record<'twilio' | 'resend', Job>> = {
  twilio: {
    vendor: 'twilio',
    endpoint: TEXTS,
    params: { To: '{{phone}}', From: FROM, Body: 'Hello {{name}}', SmartEncoded: false },
    micros: TEXT_MICROS,
  },
  resend: {
    vendor: 'resend',
    endpoint: 'POST /emails',
    params: {
      from: 'Shop <shop@b.test>',
      to: ['{{mail}}'],
      subject: 'Hello {{name}}',
      text: 'Your order',
      tags: [{ name: 'record', value: '{{id}}' }],
    },
    micros: EMAIL_MICROS,
  },
};

async function inputOf({ vendor, endpoint, params }: Job, usdCap: number, change: object = {}) {
  const path = await writeSource(stack, people(COUNT));
  const key = { vendor, usdCap, allowedEndpoints: [endpoint], ttl: '1h' };
  return inputFor(path, { call: { endpoint, params }, key, results: { path: `${randomUUID()}.ndjson` }, ...change });
}

/** What the vendor itself says: how many it executed, for how much, and whether any twice. */
function executed(vendor: string) {
  const { twilio, resend } = stack.sandbox.stats();
  return vendor === 'twilio'
    ? { count: twilio.executedMessages, micros: twilio.chargedMicros, twice: twilio.duplicates.sends }
    : { count: resend.executedEmails, micros: resend.chargedMicros, twice: resend.duplicates.contents };
}

interface Line {
  readonly record_id: string;
  readonly outcome: string;
  readonly code?: string;
  readonly vendor_id?: string;
  readonly cost_usd?: number;
}

async function linesOf({ results }: RunReport): Promise<Line[]> {
  const text = await readFile(join(stack.sourceDir, results ?? ''), 'utf8');
  return text
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as Line);
}

const micros = (usd: number | undefined) => Math.round((usd ?? 0) * 1_000_000);

describe.each([
  { name: 'twilio', how: 'record by record', change: {} },
  { name: 'resend', how: 'record by record', change: {} },
  { name: 'twilio', how: 'in chunks', change: { recordsPerActivity: 8 } },
  { name: 'resend', how: 'in chunks', change: { recordsPerActivity: 8 } },
] as const)('pipelineRun over $name $how', ({ name, change }) => {
  const job = JOBS[name];

  test('stops at a cap in the middle; report, results, ledger and vendor agree to the micro-dollar', async () => {
    const cap = (FITTING * job.micros) / 1_000_000;
    await withWorker(stack, async (taskQueue) => {
      const input = await inputOf(job, cap, { jobId: `job-${randomUUID()}`, ...change });
      const handle = await startRun(stack, taskQueue, input);
      const report = await handle.result();
      expect(report).toMatchObject({ status: 'cap_exhausted', records: { succeeded: FITTING, total: COUNT } });
      expect(executed(name)).toEqual({ count: FITTING, micros: FITTING * job.micros, twice: [] });
      expect(micros(report.spend?.settled_usd)).toBe(FITTING * job.micros);
      expect(report.spend).toMatchObject({ held_usd: 0, unknown_usd: 0 });
      const lines = await linesOf(report);
      const paid = lines.filter(({ outcome }) => outcome === 'succeeded');
      expect(lines).toHaveLength(COUNT);
      expect(paid.reduce((sum, line) => sum + micros(line.cost_usd), 0)).toBe(FITTING * job.micros);
      const ids = name === 'twilio' ? stack.sandbox.messages() : stack.sandbox.emails();
      expect(paid.map((line) => line.vendor_id ?? '').toSorted()).toEqual(ids.map(({ id }) => id).toSorted());

      await stack.proxy.client.patchJob(report.jobId, { usd_cap: 10 });
      const rest = await run(stack, taskQueue, input);
      expect(rest).toMatchObject({ status: 'completed', records: { replayed: FITTING, succeeded: COUNT - FITTING } });
      expect(executed(name)).toEqual({ count: COUNT, micros: COUNT * job.micros, twice: [] });
      expect(micros(rest.jobSpend?.settled_usd)).toBe(COUNT * job.micros);
      expect(await failedTasks(handle)).toEqual([]);
      const { secrets, workerKey, apiKey } = stack.proxy;
      expect(scanHistory(await handle.fetchHistory(), { secrets: [...secrets, workerKey, apiKey] })).toEqual([]);
    });
  });

  test('sends nothing twice when answers are lost, and every record has one outcome', async () => {
    stack.sandbox.setFaults({ dropAfter: { every: 4 } }, name);
    await withWorker(stack, async (taskQueue) => {
      const report = await run(stack, taskQueue, await inputOf(job, 10, change));
      const { succeeded, unknown } = report.records;
      expect(executed(name)).toEqual({ count: COUNT, micros: COUNT * job.micros, twice: [] });
      // Resend is asked again with the same key; of Twilio only a look-up can tell.
      expect(succeeded + unknown).toBe(COUNT);
      if (name === 'resend') expect(unknown).toBe(0);
      const { settled_usd: settled, unknown_usd: open, held_usd: held } = report.spend ?? {};
      expect(micros(settled) + micros(open)).toBe(COUNT * job.micros);
      expect(held).toBe(0);
    });
  });
});

test("what the vendor refuses is failed by the vendor's own code, and costs nothing", async () => {
  const records = [
    { id: 'ok', phone: '+14155561000', from: FROM },
    { id: 'full', phone: '+14155561001', from: '+15005550008' },
    { id: 'odd', phone: 'none', from: FROM },
    { id: 'abroad', phone: '+819012345678', from: FROM },
  ];
  await withWorker(stack, async (taskQueue) => {
    const input = await inputOf({ ...JOBS.twilio, params: { To: '{{phone}}', From: '{{from}}', Body: 'hi' } }, 1, {
      source: { kind: 'jsonl', path: await writeSource(stack, records) },
    });
    const report = await run(stack, taskQueue, input);
    expect(report).toMatchObject({ status: 'completed', records: { succeeded: 1, failed: 1, refused: 2 } });
    const told = (await linesOf(report)).map(({ record_id: id, outcome, code }) => [id, outcome, code]);
    expect(told).toEqual([
      ['ok', 'succeeded', undefined],
      ['full', 'failed', '21611'],
      ['odd', 'refused', 'request_unpriceable'],
      ['abroad', 'refused', 'request_unpriceable'],
    ]);
    expect(executed('twilio').micros).toBe(TEXT_MICROS);
  });
});

test('a wrong endpoint, vendor or account is told by prepare, naming the field and the way out', async () => {
  const input = await inputOf({ ...JOBS.resend, endpoint: 'POST /email' }, 1);
  await withWorker(stack, async (taskQueue) => {
    const error = await run(stack, taskQueue, input).catch((thrown: unknown) => thrown);
    const { type, message } = (error as WorkflowFailedError).cause as ApplicationFailure;
    expect(type).toBe('keybrake.invalid_input');
    expect(message).toContain('call.endpoint: is no route of resend; the nearest is "POST /emails"');
    expect(message).toContain('key.allowedEndpoints[0]: is no route of resend');
  });
});

test("a vendor of one's own is called in its own form, and its errors are known by its own shape", async () => {
  const FAX: CustomVendor = {
    origin: 'https://api.fax.example',
    auth: { kind: 'bearer' },
    idempotencyHeader: 'x-request-key',
    error: { problem: { text: '{message}', code: '{code}' } },
    notExecuted: [422],
    routes: [
      {
        method: 'POST',
        path: '/v1/boxes/:id/faxes',
        body: 'json',
        price: { micros: 70_000, times: 'pages' },
        id: 'fax.id',
      },
    ],
  };
  const stub = await startVendorStub();
  const accounts = { fax: { vendor: 'fax', secret: 'fax-secret', upstream: stub.url } };
  const proxy = await startTestProxy({ upstream: stub.url, vendors: { fax: FAX }, accounts });
  const sent = (id: string) => ({ status: 200, body: { fax: { id } } });
  stub.script(sent('fx_1'), { status: 422, body: { problem: { text: 'no such box', code: 'box' } } }, sent('fx_3'));
  const records = [1, 2, 3, 4].map((n) => ({ id: `f${n}`, box: `b${n}`, pages: n }));
  try {
    await withWorker({ ...stack, proxy }, async (taskQueue) => {
      const endpoint = 'POST /v1/boxes/{{box}}/faxes';
      const path = await writeSource(stack, records);
      const input = inputFor(path, {
        call: { endpoint, params: { pages: '{{pages}}', to: ['{{box}}'], cover: { text: 'For {{id}}' } } },
        key: { vendor: 'fax', usdCap: 0.3, allowedEndpoints: ['POST /v1/boxes/:id/faxes'], ttl: '1h' },
        concurrency: 1,
        results: { path: 'fax.ndjson' },
      });
      const report = await run({ ...stack, proxy }, taskQueue, input);
      expect(report).toMatchObject({ status: 'cap_exhausted', spend: { settled_usd: 0.28, held_usd: 0 } });
      const told = (await linesOf(report)).map(({ outcome, vendor_id: id, code }) => [
        outcome,
        id ?? null,
        code ?? null,
      ]);
      expect(told).toEqual([
        ['succeeded', 'fx_1', null],
        ['failed', null, 'box'],
        ['succeeded', 'fx_3', null],
        ['refused', null, 'cap_exhausted'],
      ]);
      expect(stub.seen.map(({ path: at }) => at)).toEqual(['b1', 'b2', 'b3'].map((box) => `/v1/boxes/${box}/faxes`));
      expect(JSON.parse(stub.seen[2]?.body ?? '')).toEqual({ pages: 3, to: ['b3'], cover: { text: 'For f3' } });
      expect(stub.seen[0]?.headers).toMatchObject({ 'x-request-key': `${report.jobId}:f1`.replace('/', '%2F') });
    });
  } finally {
    await proxy.close();
    await stub.stop();
  }
});

describe('withVaultKey with the unmodified SDKs', () => {
  const workflowsPath = require.resolve('./support/userWorkflows');

  async function notifyAll(name: string, ids: readonly string[], activities: object): Promise<unknown> {
    return withWorker(
      stack,
      (taskQueue) =>
        stack.client.workflow.execute(name, {
          workflowId: `notify-${randomUUID()}`,
          taskQueue,
          args: [ids],
          workflowExecutionTimeout: '1 minute',
        }),
      { worker: { workflowsPath, activities } },
    );
  }

  test('attempts that overlap in mid-flight, and those after a lost answer of the activity, send nothing twice', async () => {
    const attempts = new Map<string, number>();
    const ids = ['a', 'b', 'c'];
    stack.sandbox.setFaults({ delayMs: 1_500 }, 'twilio');
    await notifyAll('notifyAll', ids, vendorActivities(attempts));
    // The vendor takes longer than the first attempts may: the next ones begin while a call is under way.
    for (const id of ids) expect([id, (attempts.get(`text ${id}`) ?? 0) > 1]).toEqual([id, true]);
    for (const id of ids) expect([id, (attempts.get(`mail ${id}`) ?? 0) > 1]).toEqual([id, true]);
    expect(executed('twilio')).toMatchObject({ count: 6, twice: [] });
    expect(executed('resend')).toMatchObject({ count: 3, twice: [] });
  });

  test('the SDK of another vendor than the key fails the activity at once, naming both', async () => {
    const error = await notifyAll('notifyWrong', ['w'], vendorActivities(new Map())).catch((thrown: unknown) => thrown);
    const failure = (error as WorkflowFailedError).cause?.cause as ApplicationFailure;
    expect(failure).toMatchObject({ type: 'keybrake.account_not_allowed', nonRetryable: true });
    expect(failure.message).toContain("the path is twilio's and the vault key is for stripe");
  });

  test('at the cap of the texts throws keybrake.cap_exhausted', async () => {
    const ids = ['1', '2', '3', '4', '5'];
    const error = await notifyAll('notifyCapped', ids, vendorActivities(new Map())).catch((thrown: unknown) => thrown);
    expect((error as WorkflowFailedError).cause).toMatchObject({ type: 'keybrake.cap_exhausted' });
    expect(executed('twilio')).toMatchObject({ count: 2, twice: [] });
  });
});
