/** Outcomes out of the ledger's rows, and the file that holds one for every record. */
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as fc from 'fast-check';
import { outcomeOf, contextOf, writeResults, type ResultLine } from '../activities/results';
import { activityIdFor } from '../activities/recordKeys';
import { prepare } from '../activities/sources';
import { Blocks } from '../activities/sources/blocks';
import type { CallState, CallView } from '../proxy/contract';
import type { Plan } from '../activities/contract/plan';

const NOW = 'key_now';
const FORMER = 'key_former';

let calls = 0;
beforeEach(() => {
  calls = 0;
});

function row(state: CallState, fields: Partial<CallView> & { offset?: number | null } = {}): CallView {
  const { offset = 0, ...rest } = fields;
  const number = ++calls;
  return {
    call_id: `call_${number}`,
    state,
    key_id: NOW,
    job_id: 'job',
    agent_run_label: 'l',
    vendor: 'stripe',
    account: 'default',
    method: 'POST',
    path: '/v1/payment_intents',
    route: 'POST /v1/payment_intents',
    record_id: 'a',
    idempotency_key: 'job:a',
    vendor_id: null,
    http_status: state === 'settled' || state === 'replayed' ? 200 : null,
    code: null,
    quote_usd: 1,
    cost_usd: null,
    replay_of: null,
    sends: 1,
    workflow_id: null,
    activity_id: null,
    attempt: 1,
    context: offset === null ? null : contextOf(offset),
    created_at: new Date(1_000 * number).toISOString(),
    ended_at: null,
    stuck_at: null,
    ...rest,
  };
}

const declined = { http_status: 402, code: 'card_declined' };
const former = { key_id: FORMER };
const at9 = { offset: 9 };

/** A row that a former run left. */
function was(state: CallState, fields: Parameters<typeof row>[1] = {}): CallView {
  return row(state, { ...former, ...fields });
}

function refused(code: string, fields: Parameters<typeof row>[1] = {}): CallView {
  return row('refused', { code, ...fields });
}

const MISMATCH = 'idempotency_mismatch';

describe('the outcome of the record at offset 0', () => {
  /** What the ledger holds, oldest first, and `outcome code`. */
  // prettier-ignore
  const cases: [string, () => CallView[], string][] = [
    ['never called', () => [], 'not_started'],
    ['settled with 2xx', () => [row('settled')], 'succeeded'],
    ['settled by look-up after a 500', () => [row('settled', { http_status: 500 })], 'succeeded'],
    ['settled with 402', () => [row('settled', declined)], 'declined card_declined'],
    ['unknown', () => [row('unknown')], 'unknown'],
    ['still held', () => [row('held')], 'unknown'],
    ['released', () => [row('released', { code: 'parameter_missing' })], 'failed parameter_missing'],
    ['only refused: last one', () => [refused('rate_limited'), refused('cap_exhausted')], 'refused cap_exhausted'],
    ['released, then refused', () => [row('released', { code: 'x' }), refused('cap_exhausted')], 'failed x'],
    ['released, then settled', () => [row('released'), row('settled')], 'succeeded'],
    ['refused, then settled', () => [refused('budget_busy'), row('settled')], 'succeeded'],
    ['released, then unknown', () => [row('released'), row('unknown')], 'unknown'],
    ['two calls for one record, one unknown', () => [row('settled'), row('unknown')], 'unknown'],
    ['settled, and its own retry replayed', () => [row('settled'), row('replayed')], 'succeeded'],
    ['settled elsewhere', () => [row('settled', at9)], 'duplicate'],
    ['settled elsewhere, replayed here', () => [row('settled', at9), row('replayed')], 'duplicate'],
    ['settled elsewhere, refused here', () => [row('settled', at9), refused(MISMATCH)], 'duplicate'],
    ['settled here, replayed elsewhere', () => [row('settled'), row('replayed', at9)], 'succeeded'],
    ['unknown elsewhere', () => [row('unknown', at9)], 'duplicate'],
    ['failed here, then settled elsewhere', () => [row('released', { code: 'x' }), row('settled', at9)], 'failed x'],
    ['released elsewhere, refused here', () => [row('released', at9), refused('key_revoked')], 'refused key_revoked'],
    ['released elsewhere', () => [row('released', at9)], 'not_started'],
    ['settled by a caller that gave no offset', () => [row('settled', { offset: null })], 'succeeded'],
    ['more words in the context', () => [row('settled', { context: 'bundle 7; offset=9' })], 'duplicate'],
    ['settled by a former run', () => [was('settled', at9), row('replayed')], 'replayed'],
    ['settled by a former run, not reached now', () => [was('settled', at9)], 'replayed'],
    ['… first met elsewhere', () => [was('settled'), row('replayed', at9), row('replayed')], 'duplicate'],
    ['… first met here', () => [was('settled'), row('replayed'), row('replayed', at9)], 'replayed'],
    ['settled by a former run, refused now', () => [was('settled'), refused('key_revoked')], 'replayed'],
    ['of a former run, another request now', () => [was('settled'), refused(MISMATCH)], `failed ${MISMATCH}`],
    ['declined by a former run', () => [was('settled', declined), row('replayed', declined)], 'declined card_declined'],
    ['declined by a former run, settled now', () => [was('settled', declined), row('settled')], 'succeeded'],
    ['declined, then settled by former runs', () => [was('settled', declined), was('settled')], 'replayed'],
    ['unknown from a former run', () => [was('unknown')], 'unknown'],
    ['released by a former run', () => [was('released')], 'not_started'],
    ['refused in a former run', () => [was('refused', { code: 'cap_exhausted' })], 'not_started'],
    ['released by a former run, settled now', () => [was('released'), row('settled')], 'succeeded'],
    ['replayed from a row that is gone', () => [row('replayed')], 'replayed'],
  ];
  test.each(cases)('%s', (_, rows, expected) => {
    const { outcome, code } = outcomeOf(rows(), { keyId: NOW, offset: 0 });
    expect([outcome, code].join(' ').trim()).toBe(expected);
  });

  test('does not depend on the order of the rows', () => {
    const rows = fc.array(
      fc.record({
        state: fc.constantFrom<CallState>('held', 'settled', 'released', 'unknown', 'refused', 'replayed'),
        key_id: fc.constantFrom(NOW, FORMER),
        offset: fc.constantFrom(0, 9, null),
        http_status: fc.constantFrom(200, 402, null),
        code: fc.constantFrom('x', null),
      }),
      { maxLength: 6 },
    );
    fc.assert(
      fc.property(rows, (specs) => {
        const all = specs.map(({ state, ...fields }) => row(state, fields));
        for (const offset of [0, 9]) {
          const outcome = outcomeOf(all, { keyId: NOW, offset });
          expect(outcomeOf(all.toReversed(), { keyId: NOW, offset })).toEqual(outcome);
        }
      }),
    );
  });

  test('no more records are succeeded than calls were settled', () => {
    const specs = fc.array(
      fc.record({ state: fc.constantFrom<CallState>('settled', 'replayed', 'refused'), offset: fc.constantFrom(0, 9) }),
    );
    fc.assert(
      fc.property(specs, (all) => {
        const rows = all.map(({ state, offset }) => row(state, { offset }));
        const executed = rows.filter(({ state }) => state === 'settled').length;
        const counted = [0, 9].filter(
          (offset) => outcomeOf(rows, { keyId: NOW, offset }).outcome === 'succeeded',
        ).length;
        expect(counted).toBeLessThanOrEqual(executed);
      }),
    );
  });
});

async function* streamOf<T>(items: readonly T[]): AsyncGenerator<T> {
  yield* items;
}

describe('the results file', () => {
  const sourceDir = mkdtempSync(join(tmpdir(), 'keybrake-results-'));
  const env = { sourceDir, host: 'h', blocks: new Blocks() };
  afterAll(() => rmSync(sourceDir, { recursive: true }));

  const ENDPOINT = 'POST /v1/payment_intents';
  async function planOf(lines: readonly string[], path = 'results.ndjson'): Promise<Plan> {
    writeFileSync(join(sourceDir, 'in.jsonl'), lines.join('\n'));
    const input = {
      label: 'l',
      source: { kind: 'jsonl', path: 'in.jsonl' },
      recordId: 'id',
      call: { endpoint: ENDPOINT, params: { amount: '{{cents}}' } },
      key: { vendor: 'stripe', usdCap: 5, allowedEndpoints: [ENDPOINT], ttl: '1h' },
      results: { path },
    };
    return prepare(input, { workflowId: 'w', firstExecutionRunId: 'r' }, env);
  }

  function read(path = 'results.ndjson'): ResultLine[] {
    const text = readFileSync(join(sourceDir, path), 'utf8');
    expect(text.endsWith('\n')).toBe(true);
    return text.trimEnd().split('\n').map((line) => JSON.parse(line) as ResultLine); // prettier-ignore
  }

  test('holds every record once, in the order of the source, with what it came to and cost', async () => {
    const ids = ['a', 'b', 'a', 'ü', 'd'];
    const lines = [
      ...ids.map((id) => JSON.stringify({ id, cents: 100 })),
      'not json',
      '{"id":"e"}',
      '{"id":"f","cents":1}',
    ];
    const plan = await planOf(lines);
    const offsets = lines.map((_, index) => Buffer.byteLength(lines.slice(0, index).join('\n')) + (index > 0 ? 1 : 0));
    const rows = [
      row('settled', { offset: offsets[0]!, vendor_id: 'pi_1', cost_usd: 1.1 }),
      row('settled', { offset: offsets[0]!, vendor_id: 'pi_2', cost_usd: 0.2, idempotency_key: 'job:a:sms' }),
      row('replayed', { offset: offsets[2]!, vendor_id: 'pi_1' }),
      row('settled', { record_id: 'b', ...declined, offset: offsets[1]!, cost_usd: 0 }),
      row('settled', { record_id: activityIdFor('ü'), ...former, offset: 77, cost_usd: 3, vendor_id: 'pi_0' }),
      ...Array.from({ length: 50 }, () => row('refused', { record_id: 'd', offset: offsets[4]!, code: 'budget_busy' })),
      row('refused', { record_id: 'd', offset: offsets[4]!, code: 'cap_exhausted', http_status: 429 }),
      row('settled', { record_id: null }),
      row('settled', { record_id: 'not in the source' }),
    ];
    const exceptions = new Map([[offsets[7]!, { outcome: 'failed', code: 'own_error' } as const]]);
    const written = await writeResults({ plan, keyId: NOW, calls: streamOf(rows), exceptions }, env);
    expect(read()).toEqual([
      {
        record_id: 'a',
        line: 1,
        outcome: 'succeeded',
        call_id: 'call_2',
        vendor_id: 'pi_2',
        cost_usd: 1.3,
        http_status: 200,
      },
      {
        record_id: 'b',
        line: 2,
        outcome: 'declined',
        code: 'card_declined',
        call_id: 'call_4',
        cost_usd: 0,
        http_status: 402,
      },
      { record_id: 'a', line: 3, outcome: 'duplicate', call_id: 'call_2', vendor_id: 'pi_2', http_status: 200 },
      { record_id: 'ü', line: 4, outcome: 'replayed', call_id: 'call_5', vendor_id: 'pi_0', http_status: 200 },
      { record_id: 'd', line: 5, outcome: 'refused', code: 'cap_exhausted', call_id: 'call_56', http_status: 429 },
      { record_id: null, line: 6, outcome: 'failed', code: 'invalid_record', reason: 'line 6: is not valid JSON' },
      { record_id: 'e', line: 7, outcome: 'failed', code: 'invalid_record', reason: '"cents" is missing' },
      { record_id: 'f', line: 8, outcome: 'failed', code: 'own_error' },
    ]);
    expect(written).toEqual({
      path: 'results.ndjson',
      total: 8,
      records: {
        succeeded: 1,
        replayed: 1,
        declined: 1,
        failed: 3,
        refused: 1,
        unknown: 0,
        duplicate: 1,
        not_started: 0,
      },
    });
  });

  test('of records with one id, calls without an offset and those of a former run belong to the first', async () => {
    const plan = await planOf(['a', 'b', 'a', 'b', 'c'].map((id) => JSON.stringify({ id, cents: 1 })));
    const rows = [row('settled', { offset: null }), row('settled', { record_id: 'b', ...former, offset: 999 })];
    await writeResults({ plan, keyId: NOW, calls: streamOf(rows) }, env);
    expect(read().map(({ outcome }) => outcome)).toEqual([
      'succeeded',
      'replayed',
      'duplicate',
      'duplicate',
      'not_started',
    ]);
  });

  test('is replaced whole or not at all, and leaves nothing behind', async () => {
    const plan = await planOf(['{"id":"a","cents":1}'], 'whole.ndjson');
    await writeResults({ plan, keyId: NOW, calls: streamOf([row('settled')]) }, env);
    const before = read('whole.ndjson');
    async function* broken(): AsyncGenerator<CallView> {
      yield row('settled');
      throw new Error('proxy gone');
    }
    await expect(writeResults({ plan, keyId: NOW, calls: broken() }, env)).rejects.toThrow('proxy gone');
    writeFileSync(join(sourceDir, 'in.jsonl'), '{"id":"changed"}');
    await expect(writeResults({ plan, keyId: NOW, calls: streamOf([]) }, env)).rejects.toMatchObject({
      type: 'keybrake.source_changed',
    });
    expect(read('whole.ndjson')).toEqual(before);
    expect(readdirSync(sourceDir).filter((name) => name.endsWith('.tmp'))).toEqual([]);
  });

  test('of a job with more rows than memory should hold is the same, and leaves nothing behind', async () => {
    const idOf = fc.constantFrom('a', 'b', 'c', 'ü', 'e');
    const someRow = fc.record({
      state: fc.constantFrom<CallState>('settled', 'settled', 'refused', 'replayed', 'released', 'unknown'),
      id: idOf,
      offset: fc.constantFrom(null, 0, 1, 2),
      mine: fc.boolean(),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(idOf, { minLength: 1 }), fc.array(someRow), async (ids, some) => {
        const lines = ids.map((id) => JSON.stringify({ id, cents: 1 }));
        const starts = lines.map((_, at) => Buffer.byteLength(lines.slice(0, at).join('\n')) + (at > 0 ? 1 : 0));
        const rows = some.map(({ state, id, offset, mine }) =>
          row(state, {
            record_id: activityIdFor(id),
            offset: offset === null ? null : (starts[offset] ?? 0),
            ...(mine ? {} : former),
          }),
        );
        const plan = await planOf(lines);
        const request = { plan, keyId: NOW };
        const held = await writeResults({ ...request, calls: streamOf(rows) }, env);
        const lineByLine = read();
        expect(await writeResults({ ...request, calls: streamOf(rows) }, env, 0)).toEqual(held);
        expect(read()).toEqual(lineByLine);
      }),
      { numRuns: 30 },
    );
    expect(readdirSync(sourceDir).filter((name) => name.includes('.parts'))).toEqual([]);
  });

  test('records of a reader of one’s own are taken from it', async () => {
    const plan = {
      ...(await planOf(['{"id":"a","cents":1}'], 'own.ndjson')),
      source: { kind: 'activity', activity: 'x', args: null },
    } as const;
    const items = streamOf([{ ref: { id: 'a', offset: 0, length: 0, line: 1 }, record: { id: 'a', cents: 1 } }]);
    await writeResults({ plan, keyId: null, calls: streamOf([]), items }, env);
    expect(read('own.ndjson')).toEqual([{ record_id: 'a', line: 1, outcome: 'not_started' }]);
  });
});
