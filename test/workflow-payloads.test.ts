/** What is larger than Temporal takes is told to whoever sent it: as a command it would fail the workflow task for ever. */
import type { ApplicationFailure } from '@temporalio/common';
import type { RunReport } from '../activities/contract/plan';
import {
  customers,
  failedTasks,
  inputFor,
  keyWith,
  type Stack,
  startRun,
  startStack,
  withWorker,
} from './support/temporal';

let stack: Stack;

beforeAll(async () => {
  stack = await startStack();
});

afterAll(() => stack.stop());

const PAYLOAD_BYTES_MAX = 2 * 1024 * 1024;

interface Input {
  readonly call: { readonly params: Record<string, unknown> };
}

/** An input with a text among its parameters that makes it so many bytes. */
function inputOf(bytes: number, change: object = {}): object {
  const input = inputFor('', { source: { kind: 'inline', records: customers(1) }, ...change }) as unknown as Input;
  input.call.params['description'] = '';
  input.call.params['description'] = 'x'.repeat(bytes - JSON.stringify(input).length);
  return input;
}

/** How the run ended: of its failure or its report, what there is. */
async function failureOf(input: object, activities: object = {}): Promise<object> {
  return withWorker(
    stack,
    async (taskQueue) => {
      const handle = await startRun(stack, taskQueue, input, { workflowExecutionTimeout: '15 seconds' });
      const end = await handle.result().then(
        (report) => report,
        (failed: Error) => failed.cause,
      );
      const { type, message, status, records } = end as Partial<ApplicationFailure & RunReport>;
      // A history of two such inputs is more than a client takes at once.
      const failed = type === undefined ? [] : await failedTasks(handle).catch(() => []);
      return { type, message, status, records, failedTasks: failed };
    },
    { worker: { activities } },
  );
}

test.each([60, 600, 50_000])('an input %d bytes below what Temporal takes fails as too large', async (less) => {
  expect(await failureOf(inputOf(PAYLOAD_BYTES_MAX - less))).toEqual({
    type: 'keybrake.invalid_input',
    message: expect.stringMatching(/too large: .*bytes/),
    failedTasks: [],
  });
});

test('calls in letters of three bytes are sent in as many workflow tasks as they need', async () => {
  const input = inputOf(1_000, { source: { kind: 'inline', records: customers(6, 100, 'letters') } }) as Input;
  input.call.params['description'] = '漢'.repeat(498_000);
  // Temporal terminates a run whose task is too large.
  expect(await failureOf(input)).toMatchObject({ status: 'completed', records: { total: 6, not_started: 0 } });
});

describe("a page of a user's own reader", () => {
  const source = { kind: 'activity', activity: 'read' };
  const reader = (count: number, bytes: number) => ({
    read: async () => ({
      records: customers(count).map((record) => ({ ...record, text: 'x'.repeat(bytes) })),
      nextCursor: null,
    }),
  });
  const tooLarge = {
    type: 'keybrake.invalid_input',
    message: expect.stringMatching(/"read".*bytes/),
    failedTasks: [],
  };

  test('that is too large fails the run', async () => {
    expect(await failureOf(inputFor('', { source }), reader(200, 11_000))).toEqual(tooLarge);
  });

  test('with a record that is too large beside its call fails the run', async () => {
    expect(await failureOf(inputOf(700_000, { source }), reader(1, 1_600_000))).toEqual(tooLarge);
  });

  test('with a record that is too large beside a call in letters of many bytes fails the run', async () => {
    const input = inputOf(250_000, { source }) as Input;
    input.call.params['description'] = '漢'.repeat(300_000);
    expect(await failureOf(input, reader(1, 1_400_000))).toEqual(tooLarge);
  });

  test('that is too large beside the call of its chunk fails the run', async () => {
    const input = inputOf(700_000, { source, recordsPerActivity: 200 });
    expect(await failureOf(input, reader(160, 10_000))).toEqual(tooLarge);
  });

  test('of more records than a history holds fails the run, and in chunks it does not', async () => {
    expect(await failureOf(inputFor('', { source }), reader(2_001, 10))).toEqual({
      type: 'keybrake.invalid_input',
      message: expect.stringMatching(/"read" answered a page of 2001 records, and at most 2000 fit.*: answer fewer/),
      failedTasks: [],
    });
    const key = keyWith({ usdCap: 50_000 });
    const input = inputFor('', { source, key, recordsPerActivity: 500, concurrency: 100 });
    expect(await failureOf(input, reader(2_001, 10))).toMatchObject({ type: undefined, failedTasks: [] });
  });

  test.each([
    [2_500_000, 0],
    [1_500_000, 700_000],
  ])('with a cursor of %d bytes beside a plan of %d fails the run', async (cursor, plan) => {
    const read = async () => ({ ...(await reader(1, 10).read()), nextCursor: 'x'.repeat(cursor) });
    const message = expect.stringMatching(/"read" answered a nextCursor of \d+ bytes, and at most/);
    const input = plan === 0 ? inputFor('', { source }) : inputOf(plan, { source });
    expect(await failureOf(input, { read })).toEqual({ ...tooLarge, message });
  });

  test.each([
    ['record', { records: [{ id: 'a', amount_cents: 100n }], nextCursor: null }],
    ['cursor', { records: [{ id: 'a', amount_cents: 100 }], nextCursor: 100n }],
  ])('with a %s that JSON cannot hold fails the run', async (_what, answer) => {
    const read = async () => answer;
    expect(await failureOf(inputFor('', { source }), { read })).toEqual({
      type: 'keybrake.invalid_input',
      message: expect.stringMatching(/"read" .*BigInt/),
      failedTasks: [],
    });
  });
});
