/**
 * Recorded histories of each release replay on today's workflows: a worker that is upgraded in the middle of a run goes
 * on with it. When a workflow's order of steps must change, guard the change with `patched()`; the old files stay.
 * `RECORD_HISTORIES=<version> npx jest test/replay` records a new folder. Those of `one-issue` asked for a key in one activity.
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { historyToJSON } from '@temporalio/common/lib/proto-utils';
import { Worker, type WorkerInterceptors } from '@temporalio/worker';
import { DeterminismViolationError } from '@temporalio/workflow';
import { KeybrakePlugin } from '../src/plugin';
import { raiseCapUpdate, revokeSignal, statusQuery } from '../workflows';
import type { Limits } from '../activities/contract/limits';
import { ACTIVITIES } from '../activities/contract/plan';
import type { CallChunkInput, CallChunkOutput } from '../activities/types';
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
import { userActivities } from './support/userActivities';

const FOLDER = join(__dirname, 'histories');
const RECORD = process.env['RECORD_HISTORIES'];
const workflowsPath = require.resolve('./support/userWorkflows');
const KINDS = ['small', 'cap', 'paused', 'revoked', 'chunks', 'shards', 'shard', 'vault-key'].concat([
  'late-key',
  'chunk-doubts',
  'reader-lost',
]);
const SMALL: Partial<Limits> = { unitsPerPage: 10, activitiesInRoot: 20, unitsPerShardRun: 20, recordsPerShard: 35 };

const PATCHES = ['send-together', 'cap-free', 'guard-first', 'text-bytes', 'chunk-doubts', 'reader-lost'].map(
  (name) => `keybrake.${name}`,
);

const files = existsSync(FOLDER)
  ? readdirSync(FOLDER, { recursive: true, encoding: 'utf8' }).filter((file) => file.endsWith('.json'))
  : [];

function replay(file: string, change: (text: string) => string = (text) => text): Promise<void> {
  const text = readFileSync(join(FOLDER, file), 'utf8');
  const workflowId = /"workflowId": "([^"]+)"/.exec(text.slice(text.indexOf('workflowExecutionStartedEvent')))?.[1];
  return Worker.runReplayHistory(
    { workflowsPath, plugins: [new KeybrakePlugin()] },
    JSON.parse(change(text)),
    workflowId,
  );
}

/** The history with another text in its payloads. */
function inPayloads(history: string, change: (json: string) => string): string {
  return history.replaceAll(/(?<="data": ")[^"]+/g, (data) =>
    Buffer.from(change(Buffer.from(data, 'base64').toString())).toString('base64'),
  );
}

if (RECORD === undefined) {
  describe('histories of every release', () => {
    test('there are some of each kind', () => {
      for (const kind of KINDS) expect(files.map((file) => file.split('/').at(-1))).toContain(`${kind}.json`);
    });

    test('every patch that a new run asks for, or that its loss of a shard does, is in one', () => {
      const texts = files.map((file) => readFileSync(join(FOLDER, file), 'utf8'));
      for (const patch of PATCHES) {
        const id = Buffer.from(JSON.stringify({ id: patch, deprecated: false })).toString('base64');
        expect([patch, texts.some((text) => text.includes(id))]).toEqual([patch, true]);
      }
    });

    test.each(files)('%s replays', (file) => expect(replay(file)).resolves.toBeUndefined());

    test('a shard from before reads on where one of today would continue as new', async () => {
      const [file = ''] = files.filter((name) => name.endsWith('0.1.0/shard.json'));
      const full = (text: string) =>
        inPayloads(text, (json) => json.replace('"limits":{', '"limits":{"historyBytes":1,'));
      expect(full(readFileSync(join(FOLDER, file), 'utf8'))).not.toBe(readFileSync(join(FOLDER, file), 'utf8'));
      await expect(replay(file, full)).resolves.toBeUndefined();
    });

    test('a history of other steps does not replay: the check can fail', async () => {
      const [file = ''] = files.filter((name) => name.endsWith('small.json'));
      const other = (text: string) => text.replaceAll('"keybrake.prepare"', '"keybrake.other"');
      await expect(replay(file, other)).rejects.toThrow(DeterminismViolationError);
    });
  });
} else {
  test('record', () => expect(record(join(FOLDER, RECORD))).resolves.toBeUndefined(), 300_000);
}

async function record(folder: string): Promise<void> {
  mkdirSync(folder, { recursive: true });
  const stack = await startStack({ delayMs: 10 });
  const save = async (kind: string, handle: Pick<RunHandle, 'fetchHistory'>) =>
    writeFileSync(join(folder, `${kind}.json`), `${withoutHost(historyToJSON(await handle.fetchHistory()))}\n`);
  const plain = { worker: { workflowsPath, activities: userActivities({ keyIds: new Set() }) } };
  try {
    await withWorker(stack, (taskQueue) => recordSmall(stack, taskQueue, save), plain);
    await withWorker(stack, (taskQueue) => recordShards(stack, taskQueue, save), { plugin: { limits: SMALL } });
    const lossy = { interceptors: lossyActivities(), activities: { read: reader } };
    await withWorker(stack, (taskQueue) => recordLosses(stack, taskQueue, save), { worker: lossy });
  } finally {
    await stack.stop();
  }
}

/** Who recorded it, and on which machine, is nobody's business. */
function withoutHost(json: string): string {
  return json
    .replaceAll(/"identity": "[^"]*"/g, '"identity": "recorded"')
    .replaceAll(/"stackTrace": "[^"]*"/g, '"stackTrace": ""')
    .replaceAll(/"name": "\d+@[^"]*"/g, '"name": "sticky"');
}

type Save = (kind: string, handle: Pick<RunHandle, 'fetchHistory'>) => Promise<void>;

async function recordSmall(stack: Stack, taskQueue: string, save: Save): Promise<void> {
  const start = async (prefix: string, count: number, change: object) => {
    const path = await writeSource(stack, customers(count, 1_000, prefix));
    return startRun(stack, taskQueue, inputFor(path, change));
  };
  const finished = async (kind: string, handle: RunHandle) => {
    await handle.result();
    await save(kind, handle);
  };
  await finished('small', await start('small', 20, { results: { path: 'small.ndjson' } }));
  await finished('cap', await start('cap', 30, { key: keyWith({ usdCap: 95 }) }));
  await finished('chunks', await start('chunks', 60, { recordsPerActivity: 10 }));
  const paused = await start('paused', 30, { key: keyWith({ usdCap: 95 }), onCapExhausted: 'pause' });
  await eventually(async () => (await paused.query(statusQuery)).phase === 'waiting_for_cap');
  await paused.executeUpdate(raiseCapUpdate, { args: [500] });
  await finished('paused', paused);
  const revoked = await start('revoked', 300, {});
  await eventually(() => stack.sandbox.charges().some(({ customer }) => customer?.startsWith('revoked')));
  await revoked.signal(revokeSignal, { reason: 'recorded' });
  await finished('revoked', revoked);
  const vault = await stack.client.workflow.start('chargeAll', {
    workflowId: 'recorded-vault-key',
    taskQueue,
    args: [['user_1', 'user_2'], 100],
  });
  await vault.result();
  await save('vault-key', vault);
}

async function recordShards(stack: Stack, taskQueue: string, save: Save): Promise<void> {
  const path = await writeSource(stack, customers(100, 100, 'shards'));
  const root = await startRun(stack, taskQueue, inputFor(path, {}));
  await root.result();
  await save('shards', root);
  await save('shard', stack.client.workflow.getHandle(`${root.workflowId}/shard-0`));
}

const LATE_ATTEMPTS = 5;

/** A proxy that does not answer for the key of a run at first, and a chunk that does not know what became of a record. */
function lossyActivities(): WorkerInterceptors {
  let issues = 0;
  return {
    activity: [
      ({ info }) => ({
        inbound: {
          async execute(input, next) {
            issues += info.activityType === ACTIVITIES.issue ? 1 : 0;
            if (info.activityType === ACTIVITIES.issue && issues <= LATE_ATTEMPTS) throw new Error('No answer.');
            const answer = await next(input);
            if (info.activityType !== ACTIVITIES.callChunk) return answer;
            const output = answer as CallChunkOutput;
            const { range } = input.args[0] as CallChunkInput;
            const unknown = [
              { id: `chunk-doubts_${range.firstLine}`, offset: range.start, length: 0, line: range.firstLine },
            ];
            const counts = { succeeded: (output.counts.succeeded ?? 0) - 1, unknown: 1 };
            return { ...output, counts, unknown };
          },
        },
      }),
    ],
  };
}

async function reader({ cursor }: { cursor: number | null }) {
  const page = (cursor ?? 0) + 1;
  return { records: customers(5, 100, `reader-lost_${page}`), nextCursor: page };
}

async function recordLosses(stack: Stack, taskQueue: string, save: Save): Promise<void> {
  const start = async (prefix: string, change: object) =>
    startRun(stack, taskQueue, inputFor(await writeSource(stack, customers(20, 100, prefix)), change));
  const late = await start('late-key', {});
  await late.result();
  await save('late-key', late);
  const doubts = await start('chunk-doubts', { recordsPerActivity: 10 });
  expect((await doubts.result()).records).toMatchObject({ succeeded: 20 });
  await save('chunk-doubts', doubts);
  const lost = await start('none', { source: { kind: 'activity', activity: 'read' }, concurrency: 2 });
  await eventually(() => stack.sandbox.charges().some(({ customer }) => customer?.startsWith('reader-lost_')));
  await stack.client.workflow.getHandle(`${lost.workflowId}/shard-0`).terminate('lost');
  await lost.result().catch(() => undefined);
  await save('reader-lost', lost);
}
