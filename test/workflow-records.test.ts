import type { WorkflowFailedError } from '@temporalio/client';
import type { ApplicationFailure } from '@temporalio/common';
import { vault } from '../activities';
import {
  customers,
  eventsOf,
  eventually,
  failedTasks,
  inputFor,
  keyWith,
  type RecordLine,
  run,
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

function chargesOf(prefix: string): number {
  return stack.sandbox.charges().filter(({ customer }) => customer?.startsWith(`${prefix}_`)).length;
}

describe('a wrong input', () => {
  const good = inputFor('in/x.jsonl');
  const { key, call, source } = good as { key: object; call: object; source: object };
  const wrong: [string, unknown][] = [
    ['nothing', undefined],
    ['null', null],
    ['a text', 'run'],
    ['a number', 7],
    ['a list', [good]],
    ['an empty object', {}],
    ['no label', { ...good, label: undefined }],
    ['an empty label', { ...good, label: '  ' }],
    ['a source of no kind', { ...good, source: { path: 'x' } }],
    ['a path that climbs', { ...good, source: { ...source, path: '../etc/passwd' } }],
    ['no record id', { ...good, recordId: 5 }],
    ['a call of nothing', { ...good, call: {} }],
    ['a call that the key does not allow', { ...good, call: { ...call, endpoint: 'POST /v1/refunds' } }],
    ['an unknown vendor', { ...good, key: { ...key, vendor: 'acme' } }],
    ['a cap of zero', { ...good, key: { ...key, usdCap: 0 } }],
    ['a cap as text', { ...good, key: { ...key, usdCap: '500' } }],
    ['no time to live', { ...good, key: { ...key, ttl: undefined } }],
    ['an odd time to live', { ...good, key: { ...key, ttl: 'soon' } }],
    ['a concurrency of -1', { ...good, concurrency: -1 }],
    ['an unknown field', { ...good, usdCap: 5 }],
    ['an unknown onCapExhausted', { ...good, onCapExhausted: 'ask' }],
    ['an open template', { ...good, call: { ...call, params: { amount: '{{amount' } } }],
  ];

  test('fails the run at once with what is wrong, whatever it is', async () => {
    await withWorker(stack, async (taskQueue) => {
      for (const [name, input] of wrong) {
        const handle = await startRun(stack, taskQueue, input);
        const error = await handle.result().catch((thrown: unknown) => thrown);
        const failure = (error as WorkflowFailedError).cause as ApplicationFailure;
        expect({ name, type: failure?.type }).toEqual({ name, type: 'keybrake.invalid_input' });
        expect(failure.message).toMatch(/wrong in/);
        expect(await failedTasks(handle)).toEqual([]);
      }
    });
  });

  test('of the key is told by the proxy, and fails the run too', async () => {
    const path = await writeSource(stack, customers(1));
    await withWorker(stack, async (taskQueue) => {
      const input = inputFor(path, { key: keyWith({ account: 'nobody' }) });
      const error = await run(stack, taskQueue, input).catch((thrown: unknown) => thrown);
      const failure = (error as WorkflowFailedError).cause as ApplicationFailure;
      expect(failure.type).toBe('keybrake.invalid_input');
      expect(failure.message).toContain('account');
    });
  });
});

test('duplicates in a source are told apart and charged once, near and far', async () => {
  const records = [
    ...customers(5, 1_000, 'dup'),
    { id: 'dup_1', amount_cents: 1_000 },
    { id: 'dup_1', amount_cents: 1_000 },
    ...customers(40, 1_000, 'dupfill'),
    { id: 'dup_2', amount_cents: 1_000 },
    { id: 'dup_3', amount_cents: 1_000 },
  ];
  await withWorker(stack, async (taskQueue) => {
    const handle = await startRun(stack, taskQueue, inputFor(await writeSource(stack, records)));
    expect((await handle.result()).records).toMatchObject({ succeeded: 45, duplicate: 4, total: 49, not_started: 0 });
    expect(chargesOf('dup')).toBe(5);
    expect(await failedTasks(handle)).toEqual([]);
  });
});

test('ids that look like activity ids of Temporal or of the pack, or are long or odd, wedge nothing', async () => {
  const ids = [
    ...Array.from({ length: 12 }, (_, index) => String(index + 1)),
    'keybrake·guard',
    'keybrake.guard',
    'keybrake',
    'x'.repeat(900),
    'Zoë',
    'a b',
    ' padded ',
    '日本',
    'a/b?c#d',
    '50%25off',
    '50%off',
    '%41',
    'A',
  ];
  const records: RecordLine[] = [
    ...ids.map((id) => ({ id, amount_cents: 100 })),
    { id: '', amount_cents: 1 },
    { amount_cents: 1 },
  ];
  await withWorker(stack, async (taskQueue) => {
    const input = inputFor(await writeSource(stack, records), {
      call: {
        endpoint: 'POST /v1/payment_intents',
        params: { amount: '{{amount_cents}}', currency: 'usd', payment_method: 'pm_card_visa', confirm: true },
      },
    });
    const handle = await startRun(stack, taskQueue, { ...input, results: { path: 'odd-ids.ndjson' } });
    const report = await handle.result();
    expect(report.records).toMatchObject({ succeeded: ids.length, failed: 2, duplicate: 0 });
    expect(await failedTasks(handle)).toEqual([]);
  });
});

describe('the same job again', () => {
  test('replays what is done and does the rest, within one cap', async () => {
    const path = await writeSource(stack, customers(30, 1_000, 'again'));
    await withWorker(stack, async (taskQueue) => {
      const input = inputFor(path, {
        jobId: 'again',
        key: keyWith({ usdCap: 200 }),
        results: { path: 'again.ndjson' },
      });
      const first = await run(stack, taskQueue, input);
      expect(first).toMatchObject({ status: 'cap_exhausted', records: { succeeded: 20 } });
      const second = await run(stack, taskQueue, input);
      expect(second).toMatchObject({
        status: 'cap_exhausted',
        spend: { settled_usd: 0 },
        jobSpend: { settled_usd: 200 },
      });
      expect(second.records.succeeded).toBe(0);
      await stack.proxy.client.patchJob('again', { usd_cap: 1_000 });
      const third = await run(stack, taskQueue, input);
      expect(third).toMatchObject({
        status: 'completed',
        records: { replayed: 20, succeeded: 10, duplicate: 0 },
        jobSpend: { settled_usd: 300 },
      });
      expect(chargesOf('again')).toBe(30);
    });
  });

  test.each([
    ['', 'decl_decline'],
    [', however long its id is', `decl_${'x'.repeat(300)}_decline`],
  ])('sends a declined record again only when it is told to, and once a run%s', async (_words, id) => {
    const path = await writeSource(stack, [...customers(4, 500, `decl${id.length}`), { id, amount_cents: 500 }]);
    await withWorker(stack, async (taskQueue) => {
      const attempts = (): number => stack.sandbox.requests().filter(({ body }) => body.includes(id)).length;
      const input = inputFor(path, { jobId: `decl-${id.length}` });
      const again = { ...input, retry: ['declined'] };
      expect((await run(stack, taskQueue, input)).records).toMatchObject({ succeeded: 4, declined: 1 });
      expect(attempts()).toBe(1);
      expect((await run(stack, taskQueue, input)).records).toMatchObject({ replayed: 4, declined: 1 });
      expect(attempts()).toBe(1);
      expect((await run(stack, taskQueue, again)).records).toMatchObject({ declined: 1 });
      expect(attempts()).toBe(2);
      expect((await run(stack, taskQueue, again)).records).toMatchObject({ declined: 1 });
      expect(attempts()).toBe(3);
    });
  });

  test('a workflow retry gets a key of its own, and replays what the first attempt did', async () => {
    const path = await writeSource(stack, customers(10, 1_000, 'wfretry'));
    const seen: string[] = [];
    const activities = {
      async chargeOnce({ id }: { id: string }) {
        const { stripe, keyId } = vault(id);
        seen.push(keyId);
        await stripe.paymentIntents.create({
          amount: 1_000,
          currency: 'usd',
          customer: id,
          payment_method: 'pm_card_visa',
          confirm: true,
        });
        // Longer than the first attempt of the workflow may take.
        if (id === 'wfretry_10' && new Set(seen).size === 1) await new Promise((resolve) => setTimeout(resolve, 4_000));
      },
    };
    await withWorker(
      stack,
      async (taskQueue) => {
        const input = inputFor(path, { call: { activity: 'chargeOnce' } });
        const retry = { maximumAttempts: 3, initialInterval: '100ms' };
        const report = await run(stack, taskQueue, input, { retry, workflowRunTimeout: '3 seconds' });
        const [first] = seen;
        expect(new Set(seen).size).toBe(2);
        expect(report).toMatchObject({
          status: 'completed',
          records: { replayed: 10 },
          jobSpend: { settled_usd: 100 },
        });
        expect(report.keyId).not.toBe(first);
        expect(chargesOf('wfretry')).toBe(10);
        await eventually(async () => (await stack.proxy.client.getKey(first!)).state === 'revoked');
      },
      { worker: { activities } },
    );
  });
});

describe('sources', () => {
  test('inline records', async () => {
    await withWorker(stack, async (taskQueue) => {
      const source = { kind: 'inline', records: customers(25, 1_000, 'inline') };
      const report = await run(stack, taskQueue, inputFor('', { source, results: { path: 'inline.ndjson' } }));
      expect(report.records).toMatchObject({ succeeded: 25, total: 25 });
      expect(chargesOf('inline')).toBe(25);
    });
  });

  test("the user's own reader, page by page", async () => {
    const all = customers(23, 1_000, 'reader');
    const activities = {
      async readCustomers({ cursor, args }: { cursor: number | null; args: { size: number } }) {
        const from = cursor ?? 0;
        const next = from + args.size;
        return { records: all.slice(from, next), nextCursor: next < all.length ? next : null };
      },
    };
    await withWorker(
      stack,
      async (taskQueue) => {
        const source = { kind: 'activity', activity: 'readCustomers', args: { size: 5 } };
        const handle = await startRun(stack, taskQueue, inputFor('', { source, results: { path: 'reader.ndjson' } }));
        const report = await handle.result();
        expect(report).toMatchObject({ status: 'completed', records: { succeeded: 23, total: null } });
        expect(chargesOf('reader')).toBe(23);
      },
      { worker: { activities } },
    );
  });

  test("the user's own activity gets the record, and its outcome counts", async () => {
    const path = await writeSource(stack, [...customers(6, 1_000, 'own'), { id: 'own_decline', amount_cents: 100 }]);
    const seen: unknown[] = [];
    const activities = {
      async charge(record: { id: string; amount_cents: number }) {
        seen.push(record);
        const { stripe } = vault();
        await stripe.paymentIntents.create({
          amount: record.amount_cents,
          currency: 'usd',
          customer: record.id,
          payment_method: 'pm_card_visa',
          confirm: true,
        });
        return { big: 'x'.repeat(1_000) };
      },
    };
    await withWorker(
      stack,
      async (taskQueue) => {
        const handle = await startRun(
          stack,
          taskQueue,
          inputFor(path, { call: { activity: 'charge' }, key: keyWith({ usdCap: 50 }) }),
        );
        const report = await handle.result();
        expect(report.status).toBe('cap_exhausted');
        expect(report.records.succeeded).toBe(5);
        expect(chargesOf('own')).toBeGreaterThanOrEqual(5);
        expect(seen).toContainEqual({ id: 'own_1', amount_cents: 1_000 });
        // Neither the record nor what the activity returned is in the history.
        expect(JSON.stringify(eventsOf(await handle.fetchHistory()))).not.toContain('xxxxxxxx');
        expect(await failedTasks(handle)).toEqual([]);
      },
      { worker: { activities } },
    );
  });
});

test('a vendor that answers late or not at all is asked again with the same key', async () => {
  const path = await writeSource(stack, customers(30, 1_000, 'fault'));
  stack.sandbox.setFaults({ dropAfter: { every: 4 } });
  try {
    await withWorker(stack, async (taskQueue) => {
      const report = await run(stack, taskQueue, inputFor(path));
      expect(report.records.succeeded).toBe(30);
      expect(chargesOf('fault')).toBe(30);
      expect(report.spend).toMatchObject({ settled_usd: 300, unknown_usd: 0 });
    });
  } finally {
    stack.sandbox.setFaults({});
  }
});
