/** Tables of an older version are brought up to date while others read them, pay with them, or start as well. */
import pg from 'pg';
import { Ledger } from '../proxy/ledger/ledger';
import { reserve } from '../proxy/ledger/reserve';
import { openPostgres, type SharedStore } from '../proxy/stores/postgres/postgres';
import { TABLES } from '../proxy/stores/tables';
import { addKey, fixed, reserveInput } from './support/ledger';
import { type Cluster, cluster } from './support/postgres';
import { until } from './support/until';

let server: Cluster;
let url: string;
const stores: SharedStore[] = [];
const sessions: pg.Client[] = [];
beforeEach(async () => {
  server = await cluster();
  url = await server.newDatabase();
});
afterEach(async () => {
  await Promise.all(sessions.splice(0).map((session) => session.end()));
  await Promise.all(stores.splice(0).map((store) => store.close()));
});

const query = (sql: string) => server.query(sql, new URL(url).pathname.slice(1));

async function connect(sql: string): Promise<pg.Client> {
  const client = new pg.Client(url);
  sessions.push(client);
  await client.connect();
  await client.query(sql);
  return client;
}

/** A proxy that starts: what it says while it does, and when it is up. */
function start() {
  const said: string[] = [];
  const up = openPostgres(url, (text) => said.push(text)).then((store) => {
    stores.push(store);
    return new Ledger(store);
  });
  // Whoever waits for it hears of it.
  up.catch(() => undefined);
  const saying = (what: RegExp) => until(`it says ${what}`, () => said.find((text) => what.test(text)));
  return { said, saying, up };
}

/** A ledger in use, and how a call is paid from it. */
async function inUse() {
  const ledger = await start().up;
  const facts = await addKey(ledger, { cap: 1_000 });
  return () => {
    const input = reserveInput(facts, { price: fixed(1) });
    return ledger.hold((rows, now) => reserve(rows, now, input).kind);
  };
}

const DROPPED_COLUMN = 'ALTER TABLE keybrake.calls DROP COLUMN stuck_at';
const DROPPED_INDEX = 'DROP INDEX keybrake.calls_open';
const older = (sql: string) => query(`${sql}; UPDATE keybrake.meta SET value = '1' WHERE name = 'schema'`);

/** All of the schema that counts; an index that is not valid is none. */
async function shape(): Promise<readonly string[]> {
  const { rows } = await query(
    `SELECT table_name || '.' || column_name AS name FROM information_schema.columns WHERE table_schema = 'keybrake'
     UNION SELECT indexdef FROM pg_indexes JOIN pg_index ON indexrelid = format('keybrake.%I', indexname)::regclass
     WHERE schemaname = 'keybrake' AND indisvalid ORDER BY 1`,
  );
  return rows.map(({ name }) => name as string);
}

/** Whether a session waits with a statement that holds these words. */
async function waiting(words: string): Promise<boolean> {
  const sql = `SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%${words}%'`;
  return (await query(sql)).rows.length > 0;
}

/** As a backup does. */
const READ = 'BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1 FROM keybrake.calls';

test('a column: while its table is read for long, it is written to, and the new version waits and says so', async () => {
  const pay = await inUse();
  const before = await shape();
  await older(`${DROPPED_COLUMN}; ${DROPPED_INDEX}`);
  const reader = await connect(READ);
  const { saying, up } = start();
  await saying(/long transaction.*ADD COLUMN "stuck_at"/);
  // It tries again and again, and lets the version before through in between, which does not know the column.
  const writer = await connect('SET lock_timeout = 5000');
  for (let call = 0; call < 5; call += 1) {
    await writer.query('INSERT INTO keybrake.calls (call_id) VALUES ($1)', [`call_${call}`]);
    await until('it tries again', async () => (await waiting('ALTER TABLE')) || undefined);
  }
  await reader.query('COMMIT');
  await up;
  expect(await shape()).toEqual(before);
  expect(await pay()).toBe('held');
});

test('an index is made while calls are paid from its table, and read for long', async () => {
  const pay = await inUse();
  const before = await shape();
  await older(DROPPED_INDEX);
  const reader = await connect(READ);
  const { said, up } = start();
  await until('all but the reader is done', async () => (await waiting('CREATE INDEX')) || undefined);
  expect(await pay()).toBe('held');
  await reader.query('COMMIT');
  await up;
  expect(said).toEqual([expect.stringContaining('calls_open')]);
  expect(await shape()).toEqual(before);
});

test('of two that start at once on older tables, one waits for the other and says so; both come up', async () => {
  await inUse();
  const before = await shape();
  await older(`${DROPPED_COLUMN}; ${DROPPED_INDEX}`);
  const reader = await connect(READ);
  const first = start();
  await first.saying(/long transaction/);
  const second = start();
  await second.saying(/Another process/);
  await reader.query('COMMIT');
  await Promise.all([first.up, second.up]);
  expect(second.said).toHaveLength(1);
  expect(await shape()).toEqual(before);
});

test('an index whose making was interrupted is made anew', async () => {
  await inUse();
  const before = await shape();
  await query(DROPPED_INDEX);
  const reader = await connect(READ);
  const builder = await connect('SET search_path = keybrake; SET lock_timeout = 200');
  const [index] = TABLES.calls.indices.filter((sql) => sql.startsWith('calls_open '));
  await expect(builder.query(`CREATE INDEX CONCURRENTLY ${index}`)).rejects.toThrow('lock timeout');
  await reader.query('COMMIT');
  expect((await query('SELECT 1 FROM pg_index WHERE NOT indisvalid')).rows).toHaveLength(1);
  expect(await shape()).not.toEqual(before);
  await start().up;
  expect(await shape()).toEqual(before);
});

test('tables that are complete are only looked at: whoever reads them, or makes others, is not waited for', async () => {
  await inUse();
  const tables = (await query("SELECT tablename AS name FROM pg_tables WHERE schemaname = 'keybrake'")).rows;
  const reader = await connect(
    `BEGIN; ${tables.map(({ name }) => `LOCK TABLE keybrake.${name} IN ACCESS SHARE MODE`).join('; ')};
     SELECT pg_advisory_lock(7032114601)`,
  );
  const { said, up } = start();
  await up;
  expect(said).toEqual([]);
  await reader.query('COMMIT');
});
