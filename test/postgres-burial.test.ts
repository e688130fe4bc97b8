/** Processes on one Postgres take over what a dead one has left, whatever the store has against a part of it. */
import { pino } from 'pino';
import { Ledger } from '../proxy/ledger/ledger';
import { reserve } from '../proxy/ledger/reserve';
import { Burial } from '../proxy/recover';
import { type Replicas, startReplicas } from '../proxy/replicas';
import { createSharedPace } from '../proxy/sharedPace';
import { openPostgres, type SharedStore } from '../proxy/stores/postgres/postgres';
import { addKey, fixed, reserveInput } from './support/ledger';
import { type Cluster, cluster } from './support/postgres';

const logger = pino({ level: 'silent' });
/** More than a commit is tried times: each of its calls is new to the process that marks them. */
const MANY = 100;

let server: Cluster;
let url: string;
const stores: SharedStore[] = [];
beforeEach(async () => {
  server = await cluster();
  url = await server.newDatabase();
});
let replicas: Replicas | undefined;
afterEach(async () => {
  await replicas?.close();
  replicas = undefined;
  await Promise.all(stores.splice(0).map((store) => store.close()));
});

async function open(): Promise<{ readonly ledger: Ledger; readonly store: SharedStore }> {
  const store = await openPostgres(url);
  stores.push(store);
  return { ledger: new Ledger(store), store };
}

/** Calls that a process holds. Their time to leave is over at once. */
async function hold({ ledger, store }: Awaited<ReturnType<typeof open>>, count: number): Promise<readonly string[]> {
  const facts = await addKey(ledger, { cap: count });
  const { epoch } = store.shared;
  const inputs = Array.from({ length: count }, () => reserveInput(facts, { price: fixed(1), epoch }));
  await Promise.all(inputs.map((input) => ledger.hold((rows, now) => reserve(rows, now, input))));
  await query('UPDATE keybrake.calls SET send_by = 0');
  return inputs.map(({ call }) => call.callId).toSorted();
}

const query = (sql: string) => server.query(sql, new URL(url).pathname.slice(1));

async function statesOf(ids: readonly string[]): Promise<readonly string[]> {
  const list = ids.map((id) => `'${id}'`).join(', ');
  const { rows } = await query(`SELECT state FROM keybrake.calls WHERE call_id IN (${list}) ORDER BY call_id`);
  return rows.map(({ state }) => state as string);
}

/** From now on the server takes no change of these calls. */
function refuse(...ids: readonly string[]): Promise<unknown> {
  return query(
    `CREATE FUNCTION keybrake.refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'not this one'; END $$;
     CREATE TRIGGER refuse BEFORE UPDATE ON keybrake.calls FOR EACH ROW WHEN (NEW.call_id IN ('${ids.join("', '")}'))
     EXECUTE FUNCTION keybrake.refuse()`,
  );
}

const burialOf = ({ ledger, store }: Awaited<ReturnType<typeof open>>) =>
  new Burial(ledger, logger, (after) => store.shared.orphans(0, 500, after));

test('many calls of a dead process become unknown in one round of one that knows none of them', async () => {
  const dead = await open();
  const ids = await hold(dead, MANY);
  const living = await open();
  await living.store.shared.declareDead(dead.store.shared.epoch);
  expect(await burialOf(living).round(0)).toBe(MANY);
  expect(new Set(await statesOf(ids))).toEqual(new Set(['unknown']));
});

test('a call that the server takes no change of keeps none of the others from becoming unknown', async () => {
  const dead = await open();
  const ids = await hold(dead, 3);
  await refuse(ids[1]!);
  const living = await open();
  await living.store.shared.declareDead(dead.store.shared.epoch);
  const burial = burialOf(living);
  await expect(burial.round(0)).rejects.toThrow('not this one');
  expect(await burial.round(1)).toBe(1);
  expect(await statesOf(ids)).toEqual(['unknown', 'held', 'unknown']);
});

test('while calls of one dead process cannot be marked, another one is taken for dead all the same', async () => {
  const [first, silent] = [await open(), await open()];
  // One fails each round, so that there is no round without a failure while this test looks.
  const ids = await hold(first, 30);
  await refuse(...ids);
  const { ledger, store } = await open();
  await store.shared.declareDead(first.store.shared.epoch);
  const declared = new Promise((resolve) => {
    const heard = (line: string) => {
      const { epoch } = JSON.parse(line) as { epoch?: string };
      if (epoch !== undefined) resolve(epoch);
    };
    const pace = createSharedPace({ shared: store.shared, pacers: new Map() });
    const logged = pino({ level: 'warn' }, { write: heard });
    replicas = startReplicas({ shared: store.shared, ledger, kill: () => 0, underWayMs: 0, pace, logger: logged });
  });
  expect(await declared).toBe(silent.store.shared.epoch);
}, 40_000);
