/** What a listing costs the server: the audit log of a run is read a page at a time, however long it is. */
import type pg from 'pg';
import { Ledger } from '../proxy/ledger/ledger';
import { reserve } from '../proxy/ledger/reserve';
import { callsByKeySql, callsSql } from '../proxy/stores/listings';
import { openPools } from '../proxy/stores/postgres/connect';
import { openPostgres, type SharedStore } from '../proxy/stores/postgres/postgres';
import type { CallQuery } from '../proxy/stores/store';
import { addKey, fixed, reserveInput } from './support/ledger';
import { cluster } from './support/postgres';
import { eventually } from './support/temporal';

const CALLS = 20_000;
const LIMIT = 50;
const KEYS = 4;

const idOf = (call: number) => `call_${String(call).padStart(26, '0')}`;

let store: SharedStore;
let pool: pg.Pool;
let url: string;
let keyIds: string[];
beforeAll(async () => {
  const server = await cluster();
  url = await server.newDatabase();
  store = await openPostgres(url);
  const filling = openPools(url).listings;
  const ledger = new Ledger(store);
  // Two jobs of two keys; the second job's calls come after those of the first.
  const keys = await Promise.all(
    ['one', 'one', 'two', 'two'].map((id) => addKey(ledger, { cap: 1e9, job: { id, cap: 1e9 } })),
  );
  keyIds = keys.map(({ keyId }) => keyId);
  await ledger.hold((rows, now) => reserve(rows, now, reserveInput(keys[0]!, { price: fixed(1) })));
  // Nobody has told the planner what the tables hold, as in the first minute of a large run.
  await filling.query(
    `ALTER TABLE calls SET (autovacuum_enabled = false); ALTER TABLE keys SET (autovacuum_enabled = false)`,
  );
  await filling.query(
    `INSERT INTO calls SELECT (jsonb_populate_record(c, jsonb_build_object(
       'call_id', 'call_' || lpad(g::text, 26, '0'), 'key_id', ($1::text[])[1 + g % 2 + (g * 2 / $2) * 2],
       'state', CASE WHEN g % 997 = 0 THEN 'refused' WHEN g % 3 = 0 THEN 'replayed' ELSE 'settled' END,
       'record_id', 'r' || g))).* FROM calls c, generate_series(0, $2 - 1) g`,
    [keyIds, CALLS],
  );
  await filling.query("DELETE FROM calls WHERE state = 'held'");
  await filling.query("UPDATE keys SET issued_by = 'worker'");
  // A connection that ends has told the server what it read.
  await filling.end();
  pool = openPools(url).listings;
});
afterAll(async () => {
  await pool.end();
  await store.close();
});

interface Plan {
  readonly 'Relation Name'?: string;
  readonly 'Actual Rows': number;
  readonly 'Actual Loops': number;
  readonly 'Rows Removed by Filter'?: number;
  readonly Plans?: readonly Plan[];
}

const numbered = (sql: string) => {
  let count = 0;
  return sql.replaceAll('?', () => `$${(count += 1)}`);
};

/** How many calls the server reads for a page. */
async function readFor(query: CallQuery): Promise<number> {
  const { sql, values } = callsByKeySql(query);
  const { rows } = await pool.query(`EXPLAIN (ANALYZE, FORMAT JSON) ${numbered(sql)}`, [...values]);
  const [{ Plan: top }] = (rows as { 'QUERY PLAN': [{ Plan: Plan }] }[])[0]!['QUERY PLAN'];
  return readIn(top);
}

function readIn(plan: Plan): number {
  const own = plan['Relation Name'] === 'calls' ? plan['Actual Rows'] + (plan['Rows Removed by Filter'] ?? 0) : 0;
  return (plan.Plans ?? []).reduce((sum, inner) => sum + readIn(inner), own * plan['Actual Loops']);
}

const FILTERS = {
  label: { label: 'test' },
  'the first job': { job_id: 'one' },
  'the last job': { job_id: 'two' },
  'a worker’s view of a job': { job_id: 'one', issued_by: 'worker' },
  'a job and a state': { job_id: 'two', state: 'settled' },
  'a job and a rare state': { job_id: 'two', state: 'refused' },
  'a label and a common state': { label: 'test', state: 'replayed' },
} as const satisfies Record<string, Partial<CallQuery>>;
const WHERE = [undefined, idOf(CALLS / 4), idOf(CALLS / 2), idOf((CALLS * 3) / 4)];

test('a page that the store lists reads a page of each key at most', async () => {
  const read = async () => {
    const { rows } = await pool.query("SELECT idx_tup_fetch AS read FROM pg_stat_user_tables WHERE relname = 'calls'");
    return (rows as { read: number }[])[0]!.read;
  };
  const before = await read();
  const other = await openPostgres(url);
  const page = await other.listCalls({ job_id: 'one', order: 'oldest', limit: LIMIT });
  await other.close();
  expect(page).toHaveLength(LIMIT);
  const after = await eventually(async () => {
    const now = await read();
    return now > before && now;
  });
  expect(after - before).toBeLessThanOrEqual(KEYS * LIMIT);
});

describe.each(['unknown', 'known'])('tables that are %s to the planner', (what) => {
  beforeAll(async () => {
    if (what === 'known') await pool.query('ANALYZE calls');
  });

  test.each(Object.entries(FILTERS))('a page by %s reads a page of each key at most', async (_, filter) => {
    for (const order of ['newest', 'oldest'] as const) {
      for (const after of WHERE) {
        expect(await readFor({ ...filter, order, after, limit: LIMIT })).toBeLessThanOrEqual(KEYS * LIMIT);
      }
    }
  });

  test('a page by key reads that page', async () => {
    for (const keyId of keyIds) {
      for (const order of ['newest', 'oldest'] as const) {
        for (const after of WHERE) {
          expect(await readFor({ key_id: keyId, order, after, limit: LIMIT })).toBeLessThanOrEqual(LIMIT);
        }
      }
    }
  });
});

test('it lists what the plain statement lists, in the same order', async () => {
  const idsOf = async ({ sql, values }: ReturnType<typeof callsSql>) =>
    (await pool.query<{ call_id: string }>(numbered(sql), [...values])).rows;
  const filters = [
    ...Object.values(FILTERS),
    { key_id: keyIds[1]! },
    { job_id: 'one', label: 'test' },
    { job_id: 'x' },
  ];
  for (const filter of filters) {
    for (const order of ['newest', 'oldest'] as const) {
      for (const after of WHERE) {
        const query: CallQuery = { ...filter, order, after, limit: LIMIT };
        expect(await idsOf(callsByKeySql(query))).toEqual(await idsOf(callsSql(query)));
      }
    }
  }
});
