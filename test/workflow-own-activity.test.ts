/** Runs whose call or reader is the user's own activity: what it swallows, leaves out or keeps for itself. */
import { EventEmitter, once } from 'node:events';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { activityInfo, heartbeat } from '@temporalio/activity';
import { ApplicationFailure } from '@temporalio/common';
import { MockActivityEnvironment } from '@temporalio/testing';
import { vault } from '../activities';
import { beatingForUser } from '../activities/beat';
import { raiseCapUpdate, statusQuery } from '../workflows';
import {
  customers,
  eventually,
  inputFor,
  keyWith,
  run,
  type Stack,
  startRun,
  startStack,
  withWorker,
  writeSource,
} from './support/temporal';

let stack: Stack;

beforeAll(async () => {
  stack = await startStack({ delayMs: 2 });
});

afterAll(() => stack.stop());

/** A payment by `fetch`, which throws for no answer whatever. */
async function pay(customer: string, recordId?: string, card = 'pm_card_visa'): Promise<number> {
  const fields = { amount: '1000', currency: 'usd', customer, payment_method: card, confirm: 'true' };
  const body = new URLSearchParams(fields);
  return (await vault(recordId).fetch('/v1/payment_intents', { method: 'POST', body })).status;
}

function linesOf(path: string): { record_id: string; outcome: string }[] {
  return readFileSync(join(stack.sourceDir, path), 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));
}

describe('an activity that swallows the refusal of its call', () => {
  const activities = { charge: ({ id }: { id: string }) => pay(id) };

  test('ends the run at the cap all the same', async () => {
    const path = await writeSource(stack, customers(10, 1_000, 'swallow'));
    await withWorker(
      stack,
      async (taskQueue) => {
        const change = { call: { activity: 'charge' }, key: keyWith({ usdCap: 30 }), concurrency: 1 };
        const report = await run(stack, taskQueue, inputFor(path, change));
        expect(report).toMatchObject({
          status: 'cap_exhausted',
          records: { succeeded: 3, refused: 1, not_started: 6, total: 10 },
        });
      },
      { worker: { activities } },
    );
  });

  test('is called again for that record after raiseCap', async () => {
    const path = await writeSource(stack, customers(6, 1_000, 'again'));
    await withWorker(
      stack,
      async (taskQueue) => {
        const change = { call: { activity: 'charge' }, key: keyWith({ usdCap: 30 }), onCapExhausted: 'pause' };
        const handle = await startRun(stack, taskQueue, inputFor(path, change));
        await eventually(async () => (await handle.query(statusQuery)).phase === 'waiting_for_cap');
        await handle.executeUpdate(raiseCapUpdate, { args: [60] });
        expect(await handle.result()).toMatchObject({ status: 'completed', records: { succeeded: 6 } });
      },
      { worker: { activities } },
    );
  });
});

test('a record that was paid before its key was revoked counts as paid, though its activity was tried again', async () => {
  const path = await writeSource(stack, customers(3, 1_000, 'paid'));
  const activities = {
    async charge({ id }: { id: string }) {
      await pay(id);
      if (activityInfo().attempt > 1) return;
      await stack.proxy.client.revokeKey(vault().keyId, 'operator');
      throw new Error('the activity breaks after its call');
    },
  };
  await withWorker(
    stack,
    async (taskQueue) => {
      const report = await run(stack, taskQueue, inputFor(path, { call: { activity: 'charge' }, concurrency: 1 }));
      expect(report).toMatchObject({
        status: 'revoked',
        records: { succeeded: 1, refused: 0, not_started: 2 },
        spend: { settled_usd: 10 },
      });
    },
    { worker: { activities } },
  );
});

/** Tried again at once, so that many attempts take no time. */
function again(message: string, ms = 1): ApplicationFailure {
  return ApplicationFailure.create({ message, type: 'again', nextRetryDelay: ms });
}

test("an activity's own failure is tried ten times, and its record has failed then", async () => {
  const path = await writeSource(stack, customers(1, 1_000, 'own'));
  let attempts = 0;
  const activities = {
    charge() {
      attempts += 1;
      throw again('its own trouble');
    },
  };
  await withWorker(
    stack,
    async (taskQueue) => {
      const report = await run(stack, taskQueue, inputFor(path, { call: { activity: 'charge' } }));
      expect([attempts, report.records.failed]).toEqual([10, 1]);
    },
    { worker: { activities } },
  );
});

test('an activity whose calls come to nothing, since the store is down, goes on until it is back', async () => {
  const path = await writeSource(stack, customers(1, 1_000, 'away'));
  const asked = new EventEmitter();
  const begun = once(asked, 'attempt');
  const statuses: number[] = [];
  let find: (() => Promise<void>) | undefined;
  const activities = {
    async charge({ id }: { id: string }) {
      if (statuses.length === 0) {
        const noticed = once(asked, 'noticed');
        asked.emit('attempt');
        await noticed;
      }
      statuses.push(await pay(id));
      if (statuses.length === 12) await find?.();
      if (statuses.at(-1) !== 200) throw again('no answer', statuses.length < 12 ? 1 : 500);
    },
  };
  await withWorker(
    stack,
    async (taskQueue) => {
      const handle = await startRun(stack, taskQueue, inputFor(path, { call: { activity: 'charge' } }));
      await begun;
      find = await stack.proxy.loseLedger();
      await eventually(async () => (await fetch(`${stack.proxy.url}/readyz`)).status === 503);
      asked.emit('noticed');
      expect((await handle.result()).records.succeeded).toBe(1);
      expect(statuses.slice(0, 12)).toEqual(Array(12).fill(503));
    },
    { worker: { activities } },
  );
});

test('what an activity came to without a call counts in the report, with a results file too', async () => {
  const path = await writeSource(stack, customers(6, 1_000, 'mixed'));
  const activities = {
    async charge({ id }: { id: string }) {
      if (id === 'mixed_1') throw ApplicationFailure.nonRetryable('no such customer here');
      if (id === 'mixed_2') return;
      await pay(id, id === 'mixed_3' ? 'an id of its own' : id);
    },
  };
  await withWorker(
    stack,
    async (taskQueue) => {
      const change = { call: { activity: 'charge' }, results: { path: 'mixed.ndjson' } };
      const report = await run(stack, taskQueue, inputFor(path, change));
      expect(report.records).toMatchObject({ succeeded: 5, failed: 1, not_started: 0, total: 6 });
      const lines = linesOf('mixed.ndjson');
      expect(lines.map(({ outcome }) => outcome)).toEqual([
        'not_started',
        'not_started',
        'not_started',
        'succeeded',
        'succeeded',
        'succeeded',
      ]);
      // The file is made of the ledger, which knows calls alone, and says so.
      expect(lines[0]).toMatchObject({ reason: expect.stringMatching(/no call/) });
    },
    { worker: { activities } },
  );
});

test.each([true, false])('a read beside the payment makes no record succeeded; results file: %s', async (written) => {
  const path = await writeSource(stack, customers(4, 1_000, 'read'));
  const activities = {
    async charge({ id }: { id: string }) {
      const read = () => vault(id).fetch('/v1/payment_intents?limit=1');
      await read();
      await pay(id, id, id === 'read_1' ? 'pm_card_chargeDeclined' : undefined);
      await read();
    },
  };
  await withWorker(
    stack,
    async (taskQueue) => {
      const allowedEndpoints = ['POST /v1/payment_intents', 'GET /v1/payment_intents'];
      const change = {
        key: keyWith({ usdCap: 10, allowedEndpoints }),
        ...(written && { results: { path: 'read.ndjson' } }),
      };
      const input = inputFor(path, { call: { activity: 'charge' }, concurrency: 1, ...change });
      const report = await run(stack, taskQueue, input);
      const outcomes = ['declined', 'succeeded', 'refused', 'not_started'];
      if (written) expect(linesOf('read.ndjson').map(({ outcome }) => outcome)).toEqual(outcomes);
      expect(report).toMatchObject({
        status: 'cap_exhausted',
        records: { succeeded: 1, declined: 1, refused: 1, not_started: 1, total: 4 },
      });
    },
    { worker: { activities } },
  );
});

test('records of a reader whose ids are no plain text are in the results file with what they came to', async () => {
  const ids = ['plain', 'müller@example.com', 'x'.repeat(300)];
  const records = ids.map((id) => ({ id, amount_cents: 100 }));
  const activities = { read: async () => ({ records, nextCursor: null }) };
  await withWorker(
    stack,
    async (taskQueue) => {
      const source = { kind: 'activity', activity: 'read' };
      const report = await run(stack, taskQueue, inputFor('', { source, results: { path: 'odd.ndjson' } }));
      expect(report.records.succeeded).toBe(3);
      expect(linesOf('odd.ndjson').map(({ outcome }) => outcome)).toEqual(['succeeded', 'succeeded', 'succeeded']);
    },
    { worker: { activities } },
  );
});

test("the pack's heartbeats leave the user's own details to the next attempt", async () => {
  const env = new MockActivityEnvironment({ heartbeatTimeoutMs: 30, heartbeatDetails: { done: 1 } });
  const beats: unknown[] = [];
  env.on('heartbeat', (details) => beats.push(details));
  await env.run(() =>
    beatingForUser(async () => {
      await once(env, 'heartbeat');
      heartbeat({ done: 3 });
      await once(env, 'heartbeat');
    }),
  );
  expect(beats).toEqual([{ done: 1 }, { done: 3 }, { done: 3 }]);
});
