import { vault } from '../activities';
import { stopWords } from '../workflows/stopWords';
import { statusQuery } from '../workflows';
import {
  customers,
  eventually,
  inputFor,
  keyWith,
  type RunHandle,
  type Stack,
  startRun,
  startStack,
  withWorker,
  writeSource,
} from './support/temporal';

let stack: Stack;

beforeAll(async () => {
  stack = await startStack();
});

afterAll(() => stack.stop());

/** A run of six customers at $10 each. */
async function run(taskQueue: string, key: object, change: object = {}) {
  const terms = { vendor: 'stripe', usdCap: 500, allowedEndpoints: ['POST /v1/payment_intents'], ttl: '1h', ...key };
  const path = await writeSource(stack, customers(6, 1_000, `w${Math.random()}`));
  return startRun(stack, taskQueue, inputFor(path, { key: terms, concurrency: 1, ...change }));
}

test('a run that met its daily cap, or the cap of a key above, does not say that its own cap is spent', async () => {
  const terms = { vendor: 'stripe', allowed_endpoints: ['POST /v1/payment_intents'], expires_in: '1h' };
  const above = await stack.proxy.client.issueKey({ ...terms, usd_cap: 20, agent_run_label: 'above' });
  await withWorker(stack, async (taskQueue) => {
    const day = await (await run(taskQueue, { dailyUsdCap: 20 })).result();
    expect([day.status, day.spend?.settled_usd]).toEqual(['cap_exhausted', 20]);
    expect(day.reason).toMatch(/^The daily cap of \$20\.00 is spent\. To do the rest, start again with jobId /);
    const below = await (await run(taskQueue, { parentKeyId: above.key_id })).result();
    const first = `The cap of ${above.key_id}, above this key, is spent. To do the rest, raise it and start again`;
    expect([below.status, below.reason]).toEqual(['cap_exhausted', expect.stringContaining(first)]);
  });
});

test('a run that waits at its daily cap goes on by itself on the next UTC day', async () => {
  const setup = { plugin: { limits: { spendPollMs: 300 } } };
  await withWorker(
    stack,
    async (taskQueue) => {
      const terms = { dailyUsdCap: 20, ttl: '4d', lease: '3d' };
      const handle = await run(taskQueue, terms, { onCapExhausted: 'pause' });
      const waiting = await waits(handle);
      expect(waiting).toMatch(
        /^The daily cap of \$20\.00 is spent: it is free again at 00:00 UTC, and the run goes on then/,
      );
      const now = Date.now.bind(Date);
      let aheadMs = 0;
      const clock = jest.spyOn(Date, 'now').mockImplementation(() => now() + aheadMs);
      try {
        aheadMs = 24 * 3_600_000;
        await eventually(async () => (await handle.query(statusQuery)).records.succeeded === 4);
        await waits(handle);
        aheadMs *= 2;
        const report = await handle.result();
        expect([report.status, report.records.succeeded, report.spend?.settled_usd]).toEqual(['completed', 6, 60]);
      } finally {
        clock.mockRestore();
      }
    },
    setup,
  );
});

test('a run that waits at the cap of a key above goes on once that is raised', async () => {
  const terms = { vendor: 'stripe', allowed_endpoints: ['POST /v1/payment_intents'], expires_in: '1h' };
  const above = await stack.proxy.client.issueKey({ ...terms, usd_cap: 20, agent_run_label: 'above' });
  const setup = { plugin: { limits: { spendPollMs: 300 } } };
  await withWorker(
    stack,
    async (taskQueue) => {
      const handle = await run(taskQueue, { parentKeyId: above.key_id }, { onCapExhausted: 'pause' });
      expect(await waits(handle)).toMatch(/above this key, is spent: once it is raised the run goes on/);
      await stack.proxy.client.patchKey(above.key_id, { usd_cap: 40 });
      await eventually(async () => (await handle.query(statusQuery)).records.succeeded === 4);
      await waits(handle);
      await stack.proxy.client.patchKey(above.key_id, { usd_cap: 400 });
      const report = await handle.result();
      expect([report.status, report.records.succeeded, report.spend?.settled_usd]).toEqual(['completed', 6, 60]);
    },
    setup,
  );
});

describe('a cap above that was raised before the run heard that it was spent', () => {
  /** Runs six records of $10 under a key of $20, which the activity raises to `usd_cap` when it is first refused. */
  async function raisedTo(usd_cap: number, then?: (handle: RunHandle, aboveId: string) => Promise<void>) {
    const terms = { vendor: 'stripe', allowed_endpoints: ['POST /v1/payment_intents'], expires_in: '1h' };
    const above = await stack.proxy.client.issueKey({ ...terms, usd_cap: 20, agent_run_label: 'above' });
    const fields = { amount: '1000', currency: 'usd', confirm: 'true', payment_method: 'pm_card_visa' };
    let refused = 0;
    const activities = {
      async charge({ id }: { id: string }) {
        const body = new URLSearchParams(fields);
        const { status } = await vault(id).fetch('/v1/payment_intents', { method: 'POST', body });
        if (status === 429 && (refused += 1) === 1) await stack.proxy.client.patchKey(above.key_id, { usd_cap });
      },
    };
    return withWorker(
      stack,
      async (taskQueue) => {
        const change = { call: { activity: 'charge' }, concurrency: 1, onCapExhausted: 'pause' };
        const handle = await run(taskQueue, { parentKeyId: above.key_id }, change);
        await then?.(handle, above.key_id);
        const { status, records, spend } = await handle.result();
        return [status, records.succeeded, spend?.settled_usd];
      },
      { worker: { activities }, plugin: { limits: { spendPollMs: 300 } } },
    );
  }

  test('far enough: the run goes on', async () => {
    expect(await raisedTo(400)).toEqual(['completed', 6, 60]);
  });

  test('not far enough: the run tries once, waits again, and goes on once it is raised further', async () => {
    const further = async (handle: RunHandle, aboveId: string) => {
      await waits(handle);
      await stack.proxy.client.patchKey(aboveId, { usd_cap: 400 });
    };
    expect(await raisedTo(25, further)).toEqual(['completed', 6, 60]);
  });
});

test('a run that waits because money is of unknown outcome goes on once that is known', async () => {
  const { client, url } = stack.proxy;
  const terms = { vendor: 'stripe', allowed_endpoints: ['POST /v1/payment_intents'], expires_in: '1h', usd_cap: 35 };
  const other = await client.issueKey({ ...terms, agent_run_label: 'other', job_id: 'doubtful' });
  stack.sandbox.setFaults({ dropBefore: { first: 1 } });
  const send = () =>
    fetch(`${url}/stripe/v1/payment_intents`, {
      method: 'POST',
      headers: { authorization: `Bearer ${other.vault_key}`, 'idempotency-key': 'lost' },
      body: new URLSearchParams({ amount: '2000', currency: 'usd', confirm: 'true', payment_method: 'pm_card_visa' }),
    });
  expect((await send()).headers.get('keybrake-code')).toBe('outcome_unknown');
  const setup = { plugin: { limits: { spendPollMs: 300 } } };
  await withWorker(
    stack,
    async (taskQueue) => {
      const path = await writeSource(stack, customers(3, 1_000, 'doubtful'));
      const change = { key: keyWith({ usdCap: 35 }), jobId: 'doubtful', concurrency: 1, onCapExhausted: 'pause' };
      const handle = await startRun(stack, taskQueue, inputFor(path, change));
      const words =
        'The cap of $35.00, less $20.00 in calls of unknown outcome, is spent: the run goes on once they are known';
      await eventually(async () => (await handle.query(statusQuery)).reason?.startsWith(words));
      // At the cap, and once more because it could have been free by then.
      const refused = async () => (await client.listCalls({ job_id: 'doubtful', state: 'refused' })).items.length;
      await eventually(async () => (await refused()) === 2);
      stack.sandbox.setFaults({ decline: { first: 1 } });
      expect((await send()).status).toBe(402);
      const report = await handle.result();
      expect([report.status, report.records.succeeded, report.spend?.settled_usd]).toEqual(['completed', 3, 30]);
      expect(await refused()).toBe(2);
    },
    setup,
  );
});

/** Why the run waits, once it knows which cap is spent. */
function waits(handle: RunHandle): Promise<string | null> {
  return eventually(async () => {
    const { phase, keyState, reason } = await handle.query(statusQuery);
    return phase === 'waiting_for_cap' && keyState === 'exhausted' && reason;
  });
}

const key = { vendor: 'stripe', usdCap: 5, allowedEndpoints: [], ttlMs: 1, leaseMs: 1 } as const;
const plan = { jobId: 'job', key, onCapExhausted: 'pause' } as const;

test.each([
  [null, /^The cap of \$5\.00 is spent: send the update raiseCap/],
  ['job job', /^The cap of \$5\.00 is spent: send the update raiseCap/],
  ['key key_1', /^The cap of \$5\.00 is spent: send the update raiseCap/],
  ['job other', /^The cap of job other, above this key, is spent: raise it first; then send/],
  ['day key_2:2026-11-24', /^The daily cap of key_2, above this key, is spent: it is free again at 00:00 UTC; then/],
])('the budget %s is named by what can be done about it', (exhaustedBy, words) => {
  const facts = { plan, keyId: 'key_1', capUsd: 5, exhaustedBy, unknownUsd: 0, seesFreeCap: false };
  expect(stopWords('cap_exhausted', facts)).toMatch(words);
});

test.each([
  ['job other', /^The cap of job other, above this key, is spent: once it is raised the run goes on; or send/],
  ['day key_2:2026-11-24', /is spent: it is free again at 00:00 UTC, and the run goes on then; or send/],
])('of the budget %s is said that the run goes on by itself', (exhaustedBy, words) => {
  const facts = { plan, keyId: 'key_1', capUsd: 5, exhaustedBy, unknownUsd: 0, seesFreeCap: true };
  expect(stopWords('cap_exhausted', facts)).toMatch(words);
});

test('of several caps, none is named before it is known which is spent', () => {
  const both = { ...plan, key: { ...key, dailyUsdCap: 3 } };
  const facts = { plan: both, keyId: 'key_1', capUsd: 5, exhaustedBy: null, unknownUsd: 0, seesFreeCap: true };
  expect(stopWords('cap_exhausted', facts)).toMatch(/^A cap is spent: send the update raiseCap/);
});
