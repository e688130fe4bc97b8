/** How the records in flight are divided over activities, and what each is reckoned to bring into a workflow task. */
import { parseInput } from '../activities/input';
import type { Plan } from '../activities/contract/plan';
import { shapeOf } from '../workflows/range';
import { unitMaker } from '../workflows/units';

const ENDPOINT = { kind: 'endpoint', method: 'POST', path: '/v1/payment_intents', params: {} } as const;
const OWN = { kind: 'activity', activity: 'charge' } as const;
const CONCURRENCIES = [1, 2, 3, 5, 7, 10, 24, 50, 99, 250, 500];

function shape(concurrency: number, { records = 10_000, recordsPerActivity = 100, together = true } = {}) {
  return shapeOf({ call: ENDPOINT, recordsPerActivity }, { records }, { concurrency, together });
}

test.each([
  [50, 10_000, { width: 10, inside: 5 }],
  [500, 10_000, { width: 20, inside: 25 }],
  [5, 10_000, { width: 1, inside: 5 }],
  [50, 300, { width: 3, inside: 16 }],
  [50, 40, { width: 2, inside: 25 }],
  // A reader's records are not counted.
  [50, 0, { width: 10, inside: 5 }],
])('of %d in flight and %d records, so many chunks run side by side', (concurrency, records, expected) => {
  expect(shape(concurrency, { records })).toEqual(expected);
});

test('never are more records in flight than the concurrency, and some always are', () => {
  for (const concurrency of CONCURRENCIES) {
    for (const recordsPerActivity of [1, 2, 10, 100]) {
      for (const records of [0, 1, 90, 10_000]) {
        const { width, inside } = shape(concurrency, { records, recordsPerActivity });
        expect(width * inside).toBeLessThanOrEqual(concurrency);
        expect(Math.min(width, inside)).toBeGreaterThanOrEqual(1);
        expect(inside).toBeLessThanOrEqual(recordsPerActivity);
      }
    }
  }
});

test('a run in chunks takes few of a worker’s slots', () => {
  for (const concurrency of CONCURRENCIES) expect(shape(concurrency).width).toBeLessThanOrEqual(20);
});

test('one record, and a user’s own activity, is an activity each', () => {
  expect(shape(50, { recordsPerActivity: 1 })).toEqual({ width: 50, inside: 1 });
  const own = { call: OWN, recordsPerActivity: 100 };
  expect(shapeOf(own, { records: 100 }, { concurrency: 50, together: true })).toEqual({ width: 50, inside: 1 });
});

test('a run from before goes on as it began', () => {
  expect(shape(50, { together: false })).toEqual({ width: 2, inside: 25 });
  expect(shape(10, { together: false })).toEqual({ width: 1, inside: 10 });
  expect(shape(50, { records: 300, together: false })).toEqual({ width: 2, inside: 25 });
});

describe('the size of a unit', () => {
  const sizesWith = (letter: string, inBytes: boolean): number[] => {
    const text = letter.repeat(1_000);
    const draft = parseInput(
      {
        label: 'l',
        source: { kind: 'activity', activity: 'read' },
        recordId: 'id',
        call: { endpoint: 'POST /v1/payment_intents', params: { amount: 1, description: text } },
        key: { vendor: 'stripe', usdCap: 5, allowedEndpoints: ['POST /v1/payment_intents'], ttl: '1h' },
      },
      { workflowId: 'w', firstExecutionRunId: 'r' },
    );
    const units = unitMaker(draft as unknown as Plan, { inside: 1, inBytes, namesUnknown: true });
    const ref = { id: 'a', offset: 0, length: 0, line: 1, record: { id: 'a', text } };
    const range = { index: 0, start: 0, end: 2, firstLine: 1, records: 2 };
    return [units.record(ref).bytes, units.chunk(range, [ref, ref]).bytes];
  };

  test('is of bytes: the letters of a call and of a record count as what they are sent as', () => {
    const [record, chunk] = sizesWith('漢', true);
    const [ofRecord, ofChunk] = sizesWith('x', true);
    expect([record! - ofRecord!, chunk! - ofChunk!]).toEqual([4_000, 6_000]);
    expect(ofRecord).toBeGreaterThan(2_000);
  });

  test('of a run from before is of letters, which are the same where all are ASCII', () => {
    expect(sizesWith('漢', false)).toEqual(sizesWith('x', false));
    expect(sizesWith('x', false)).toEqual(sizesWith('x', true));
  });
});
