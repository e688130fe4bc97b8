/** A user's own payload codec, as for encryption: what the pack carries is sealed as all else is, and read everywhere. */
import { randomUUID } from 'node:crypto';
import { Client, Connection } from '@temporalio/client';
import type { Payload, PayloadCodec } from '@temporalio/common';
import { vault } from '../activities';
import type { Limits } from '../activities/contract/limits';
import { statusQuery } from '../workflows';
import {
  customers,
  eventsOf,
  eventually,
  failedTasks,
  inputFor,
  keyWith,
  type Stack,
  startRun,
  startStack,
  withWorker,
  writeSource,
} from './support/temporal';
import { userActivities } from './support/userActivities';

/** Nothing that is not sealed can be read, and nothing that is can be read without it. */
const codec: PayloadCodec = {
  encode: async (payloads) =>
    payloads.map((payload) => ({ metadata: { sealed: Buffer.from('1') }, data: seal(payload) })),
  decode: async (payloads) => payloads.map(({ data }) => open(data ?? new Uint8Array())),
};

function flipped(data: Uint8Array): Buffer {
  return Buffer.from(data.map((byte) => byte ^ 0x5a));
}

function seal({ metadata = {}, data }: Payload): Uint8Array {
  const texts = Object.entries(metadata ?? {}).map(([name, value]) => [name, Buffer.from(value).toString('base64')]);
  return flipped(Buffer.from(JSON.stringify([texts, Buffer.from(data ?? []).toString('base64')])));
}

function open(data: Uint8Array): Payload {
  const [texts, inner] = JSON.parse(flipped(data).toString()) as [[string, string][], string];
  const metadata = Object.fromEntries(texts.map(([name, value]) => [name, Buffer.from(value, 'base64')]));
  return { metadata, data: Buffer.from(inner, 'base64') };
}

const dataConverter = { payloadCodecs: [codec] };
const SMALL: Partial<Limits> = { unitsPerPage: 10, activitiesInRoot: 20, unitsPerShardRun: 20, recordsPerShard: 35 };
const activities = {
  ...userActivities({ keyIds: new Set() }),
  async read({ cursor }: { cursor: number | null }) {
    const page = (cursor ?? 0) + 1;
    return { records: customers(5, 1_000, `read_${page}`), nextCursor: page < 8 ? page : null };
  },
  async own({ id }: { id: string }): Promise<void> {
    const paid = { amount: 1_000, currency: 'usd', payment_method: 'pm_card_visa', confirm: true };
    await vault(id).stripe.paymentIntents.create({ ...paid, customer: id });
  },
};

let stack: Stack;
let connection: Connection;
beforeAll(async () => {
  const plain = await startStack({ delayMs: 5 });
  connection = await Connection.connect({ address: plain.temporal.address });
  stack = { ...plain, client: new Client({ connection, dataConverter }) };
});
afterAll(async () => {
  await connection.close();
  await stack.stop();
});

function withCodec<T>(work: (taskQueue: string) => Promise<T>): Promise<T> {
  const workflowsPath = require.resolve('./support/userWorkflows');
  return withWorker(stack, work, { plugin: { limits: SMALL }, worker: { dataConverter, workflowsPath, activities } });
}

test.each([
  ['one by one, in shards', {}],
  ['in chunks', { recordsPerActivity: 10 }],
  ["by the user's own activity", { call: { activity: 'own' } }],
  ["from the user's own reader", { source: { kind: 'activity', activity: 'read' }, recordsPerActivity: 3 }],
])('a run calls its records %s', async (what, change) => {
  await withCodec(async (taskQueue) => {
    const path = await writeSource(stack, customers(40, 1_000, `codec-${what.length}`));
    const handle = await startRun(stack, taskQueue, inputFor(path, change));
    expect(await handle.result()).toMatchObject({ status: 'completed', records: { succeeded: 40 } });
    expect(await failedTasks(handle)).toEqual([]);
    const data = eventsOf(await handle.fetchHistory()).flatMap(
      ({ activityTaskScheduledEventAttributes: scheduled }) => [
        ...(scheduled?.input?.payloads ?? []),
        ...Object.values(scheduled?.header?.fields ?? {}),
      ],
    );
    expect(data.length).toBeGreaterThan(1);
    expect(data.filter(({ metadata }) => metadata?.['sealed'] === undefined)).toEqual([]);
  });
});

test('a run hears of its guard that its key is dead, and a child of withVaultKey has its key', async () => {
  await withCodec(async (taskQueue) => {
    const path = await writeSource(stack, customers(5, 1_000, 'codec-guard'));
    const input = inputFor(path, { onCapExhausted: 'pause', key: keyWith({ usdCap: 20 }) });
    const handle = await startRun(stack, taskQueue, input);
    await eventually(async () => (await handle.query(statusQuery)).phase === 'waiting_for_cap');
    await stack.proxy.client.revokeKey((await handle.query(statusQuery)).keyId!, 'leaked');
    expect(await handle.result()).toMatchObject({ status: 'revoked', records: { succeeded: 2 } });

    const options = { workflowId: `user-${randomUUID()}`, taskQueue, args: ['codec'] };
    expect(await stack.client.workflow.execute('parentOf', options)).toBe('codec_2');
  });
});
