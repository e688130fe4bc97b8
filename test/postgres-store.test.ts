/** What only the Postgres store promises: several processes on one ledger, and a server that goes away. */
import { randomBytes } from 'node:crypto';
import pg from 'pg';
import { Ledger } from '../proxy/ledger/ledger';
import { finish } from '../proxy/ledger/finish';
import { reserve } from '../proxy/ledger/reserve';
import { unfitness } from '../proxy/stores/postgres/connect';
import { openPostgres, type SharedStore } from '../proxy/stores/postgres/postgres';
import { type Shared, StoreError } from '../proxy/stores/store';
import { SCHEMA_VERSION, TABLES } from '../proxy/stores/tables';
import { addKey, claimOf, endedAs, fixed, reserveInput, settledAt } from './support/ledger';
import { type Cluster, cluster, startCluster } from './support/postgres';
import { startWire, type Wire } from './support/wire';

const REPLICAS = 3;

let server: Cluster;
let url: string;
const stores: SharedStore[] = [];
const wires: Wire[] = [];
beforeEach(async () => {
  server = await cluster();
  url = await server.newDatabase();
});
afterEach(async () => {
  await Promise.all(wires.splice(0).map((wire) => wire.close()));
  await Promise.all(stores.splice(0).map((store) => store.close()));
});

async function open(at = url): Promise<Ledger> {
  const store = await openPostgres(at);
  stores.push(store);
  return new Ledger(store);
}

async function newWire(): Promise<Wire> {
  const wire = await startWire(server.port);
  wires.push(wire);
  return wire;
}

const database = () => new URL(url).pathname.slice(1);

describe('the tables', () => {
  test('processes that start at once on an empty database make the tables once', async () => {
    const ledgers = await Promise.all(Array.from({ length: 5 }, () => open()));
    const facts = await addKey(ledgers[0]!, { cap: 1 });
    expect(await ledgers[4]!.submit((rows) => rows.get('keys', facts.keyId)?.label)).toBe('test');
  });

  test('tables of an older version get what is missing, and keep what they hold', async () => {
    const facts = await addKey(await open(), { cap: 5 });
    const columns = async () => {
      const sql = "SELECT table_name || '.' || column_name AS name FROM information_schema.columns";
      const { rows } = await server.query(`${sql} WHERE table_schema = 'keybrake' ORDER BY 1`, database());
      return rows.map(({ name }) => name as string);
    };
    const before = await columns();
    await server.query(
      `ALTER TABLE keybrake.calls DROP COLUMN answer; DROP TABLE keybrake.refusals; DROP INDEX keybrake.calls_open;
       UPDATE keybrake.meta SET value = '1' WHERE name = 'schema'`,
      database(),
    );
    expect(await columns()).not.toEqual(before);
    const again = await open();
    expect(await columns()).toEqual(before);
    expect((await again.submit((rows) => rows.get('budgets', `key:${facts.keyId}`)))!.cap_micros).toBe(5);
    expect(before.length).toBeGreaterThan(Object.keys(TABLES.calls.mutable).length);
  });

  test('tables of a newer version are refused, and the complaint says what to do', async () => {
    await open();
    await server.query(`UPDATE keybrake.meta SET value = '${SCHEMA_VERSION + 1}' WHERE name = 'schema'`, database());
    await expect(openPostgres(url)).rejects.toThrow(/upgrade keybrake/);
  });

  test('a server that is too old, or a database that cannot keep every text, is refused', async () => {
    expect(unfitness({ version: '140012', encoding: 'UTF8', named: '14.12' })).toMatch(/15 or later; this is 14\.12/);
    expect(unfitness({ version: '150000', encoding: 'UTF8' })).toBeUndefined();
    await server.query("CREATE DATABASE ascii ENCODING 'SQL_ASCII' TEMPLATE template0");
    await expect(openPostgres(url.replace(database(), 'ascii'))).rejects.toThrow(
      /encoding UTF8; this one has SQL_ASCII/,
    );
  });
});

describe('several processes', () => {
  test('a commit of a process that was taken for dead goes through, in a new epoch', async () => {
    const [taken, other] = [await open(), await open()];
    const { epoch } = stores[0]!.shared;
    await stores[1]!.shared.declareDead(epoch);
    await taken.submit((rows) => rows.put('meta', { name: 'row', value: '1' }));
    expect(stores[0]!.shared.epoch).not.toBe(epoch);
    expect(await other.submit((rows) => rows.get('meta', 'row')?.value)).toBe('1');
  });

  test('together they never hold more than the cap, and hold all of it', async () => {
    const ledgers = await Promise.all(Array.from({ length: REPLICAS }, () => open()));
    for (let round = 0; round < 10; round += 1) {
      const facts = await addKey(ledgers[0]!, { cap: 50, onCap: 'refuse' });
      const answers = await Promise.all(
        Array.from({ length: 300 }, (_, index) => {
          const input = reserveInput(facts, { price: fixed(1) });
          return ledgers[index % REPLICAS]!.hold((rows, now) => reserve(rows, now, input).kind);
        }),
      );
      expect(answers.filter((kind) => kind === 'held')).toHaveLength(50);
      const budget = await ledgers[1]!.submit((rows) => rows.get('budgets', `key:${facts.keyId}`));
      expect(budget).toMatchObject({ held_micros: 50, n_held: 50 });
    }
  });

  test('of calls with one idempotency key at the same moment exactly one is held, also when their budgets differ', async () => {
    const ledgers = await Promise.all(Array.from({ length: REPLICAS }, () => open()));
    const keys = await Promise.all(ledgers.map((ledger) => addKey(ledger, { cap: 1_000 })));
    for (let round = 0; round < 30; round += 1) {
      const claim = claimOf(`same/${round}`);
      const answers = await Promise.all(
        ledgers.map((ledger, index) => {
          const input = reserveInput(keys[index]!, { price: fixed(1), claim });
          return ledger.hold((rows, now) => reserve(rows, now, input).kind);
        }),
      );
      expect(answers.toSorted()).toEqual(['held', 'in_progress', 'in_progress']);
    }
  });

  test('commits that need the same budgets in every order neither block each other for good nor fail', async () => {
    const ledgers = await Promise.all(Array.from({ length: REPLICAS }, () => open()));
    const keys = await Promise.all(Array.from({ length: 8 }, () => addKey(ledgers[0]!, { cap: null, daily: 1e9 })));
    const calls = await Promise.all(
      Array.from({ length: 600 }, async (_, index) => {
        const ledger = ledgers[index % REPLICAS]!;
        const input = reserveInput(keys[(index * 7) % keys.length]!, { price: fixed(1), claim: claimOf(`c${index}`) });
        await ledger.hold((rows, now) => reserve(rows, now, input));
        return ledger.record((rows, now) => finish(rows, now, input.call.callId, settledAt(1)));
      }),
    );
    expect(calls.filter(({ changed }) => changed)).toHaveLength(600);
    const totals = await ledgers[2]!.submit((rows) =>
      keys.map(({ keyId }) => rows.get('budgets', `key:${keyId}`)!.settled_micros),
    );
    expect(totals.reduce((sum, micros) => sum + micros, 0)).toBe(600);
  });

  test('what one process has changed, the next commit of every other sees: a revoked key, a raised cap', async () => {
    const [one, other] = [await open(), await open()];
    const facts = await addKey(one, { cap: 1 });
    const ask = (ledger: Ledger, micros: number) => {
      const input = reserveInput(facts, { price: fixed(micros) });
      return ledger.hold((rows, now) => reserve(rows, now, input).kind);
    };
    expect(await ask(other, 1)).toBe('held');
    expect(await ask(other, 1)).toBe('busy');
    const id = `key:${facts.keyId}`;
    await one.submit((rows) => rows.put('budgets', { ...rows.get('budgets', id)!, cap_micros: 2 }));
    expect(await ask(other, 1)).toBe('held');
    await one.submit((rows, now) => rows.put('keys', { ...rows.get('keys', facts.keyId)!, revoked_at: now }));
    expect(await ask(other, 0)).toBe('refused');
  });

  test('a commit that waited for another has the time at which it could go on, not that at which it began', async () => {
    const [one, other] = [await open(), await open()];
    await one.submit((rows) => rows.put('meta', { name: 'row', value: '1' }));
    const lock = new pg.Client(url);
    await lock.connect();
    await lock.query("BEGIN; SELECT 1 FROM keybrake.meta WHERE name = 'row' FOR UPDATE");
    const waited = other.submit((rows, now) => {
      rows.put('meta', { ...rows.get('meta', 'row')!, value: '2' });
      return now;
    });
    await untilWaiting();
    const { rows } = await lock.query('SELECT (extract(epoch FROM clock_timestamp()) * 1000)::float8 AS now');
    await lock.query('COMMIT');
    await lock.end();
    expect(await waited).toBeGreaterThanOrEqual(Math.floor(rows[0].now as number));
  });

  async function untilWaiting(): Promise<void> {
    for (;;) {
      const { rows } = await server.query("SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'");
      if (rows.length > 0) return;
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  }

  test('whoever revokes a key waits for a call that another process sends again with it, whosever the call was', async () => {
    const [first, second] = [await open(), await open()];
    const [here, there] = stores.map(({ shared }) => shared) as [Shared, Shared];
    const [former, next] = [await addKey(first, { cap: 10 }), await addKey(first, { cap: 10 })];
    const attempt = { price: fixed(1), claim: claimOf('again'), epoch: there.epoch };
    const sent = reserveInput(former, attempt);
    await second.hold((rows, now) => reserve(rows, now, sent));
    await second.record((rows, now) => finish(rows, now, sent.call.callId, endedAs('unknown')));
    const again = reserveInput({ ...next, account: former.account }, attempt);
    expect(await second.hold((rows, now) => reserve(rows, now, again).kind)).toBe('resend');
    expect(await here.leaving(next.keyId)).toEqual(new Map([[there.epoch, 1]]));
    expect(await there.leaving(next.keyId)).toEqual(new Map());
  });

  test('a process that stands still in the middle of a commit does not keep the others from the budget', async () => {
    const wire = await newWire();
    const [still, other] = [await open(wire.over(url)), await open()];
    const facts = await addKey(still, { cap: 10 });
    const hold = (ledger: Ledger) => {
      const input = reserveInput(facts, { price: fixed(1) });
      return ledger.hold((rows, now) => reserve(rows, now, input).kind);
    };
    const stalled = wire.stallAfterNextRead();
    const never = hold(still).catch((error: unknown) => error);
    await stalled;
    expect(await hold(other)).toBe('held');
    await wire.close();
    expect(await never).toBeInstanceOf(StoreError);
    expect(await other.submit((rows) => rows.get('budgets', `key:${facts.keyId}`)!.held_micros)).toBe(1);
  }, 30_000);
});

describe('a server that cannot be trusted with everything', () => {
  test('a heartbeat costs it next to nothing, whatever a plan is said to cost', async () => {
    await open();
    const { shared } = stores[0]!;
    const took: number[] = [];
    for (let round = 0; round < 5; round += 1) {
      const began = performance.now();
      await shared.orphans(30_000, 500);
      await shared.living();
      took.push(performance.now() - began);
    }
    // A server that compiles the statement takes half a second for it, every time.
    expect(Math.min(...took)).toBeLessThan(100);
  });

  test('a commit is on disk before it is told of, whatever the database says', async () => {
    await server.query(`ALTER DATABASE ${database()} SET synchronous_commit = off`);
    const ledger = await open();
    await server.query(
      `CREATE TABLE keybrake.seen (setting text);
       CREATE FUNCTION keybrake.see() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
         INSERT INTO keybrake.seen VALUES (current_setting('synchronous_commit')); RETURN NEW; END $$;
       CREATE TRIGGER see BEFORE INSERT ON keybrake.meta FOR EACH ROW EXECUTE FUNCTION keybrake.see()`,
      database(),
    );
    await ledger.submit((rows) => rows.put('meta', { name: 'durable', value: '1' }));
    const { rows } = await server.query('SELECT setting FROM keybrake.seen', database());
    expect(rows).toEqual([{ setting: 'on' }]);
  });

  test('heartbeats beside commits go through, whatever isolation the database has set', async () => {
    await server.query(`ALTER DATABASE ${database()} SET default_transaction_isolation = 'repeatable read'`);
    const ledger = await open();
    const { shared } = stores.at(-1)!;
    const beats = (async () => {
      for (let nth = 0; nth < 40; nth += 1) await shared.beat();
      return 'all went through';
    })();
    let ended = false;
    void beats.finally(() => (ended = true)).catch(() => undefined);
    for (let n = 0; n < 5_000; n += 1) {
      if (ended) break;
      await ledger.submit((rows) => rows.put('meta', { name: 'n', value: String(n) }));
    }
    expect(await beats).toBe('all went through');
  });

  test('what fits into no index fails alone: neither what came with it nor what comes after is kept waiting', async () => {
    const ledger = await open();
    const facts = await addKey(ledger, { cap: 100 });
    const hold = (scope: string) => {
      const input = reserveInput(facts, { price: fixed(1), claim: claimOf(scope) });
      return ledger.hold((rows, now) => reserve(rows, now, input).kind);
    };
    const fits = Array.from({ length: 20 }, (_, index) => hold(`fits ${index}`));
    // What Postgres cannot compress below the 2,704 bytes that its index takes.
    const unfit = randomBytes(6_000).toString('base64');
    const failed = [hold(unfit), ledger.record((rows) => rows.add('claims', { scope: unfit, call_id: 'none' }))];
    const after = Array.from({ length: 20 }, (_, index) => hold(`after ${index}`));
    expect(new Set(await Promise.all([...fits, ...after]))).toEqual(new Set(['held']));
    for (const one of failed) await expect(one).rejects.toMatchObject({ name: 'StoreError', unfit: true });
    expect(await hold('later')).toBe('held');
  });

  test('texts that Postgres cannot keep, NUL and half characters, neither fail nor are lost for the others', async () => {
    const ledger = await open();
    const facts = await addKey(ledger, { cap: 5 });
    const odd = reserveInput(facts, { price: fixed(1), recordId: 'a\0b\ud800c', context: '\\u0000 "quoted" \\' });
    const even = reserveInput(facts, { price: fixed(1), recordId: 'Zoë 🎈' });
    const held = [odd, even].map((input) => ledger.hold((rows, now) => reserve(rows, now, input).kind));
    expect(await Promise.all(held)).toEqual(['held', 'held']);
    const calls = await ledger.store.listCalls({ key_id: facts.keyId, order: 'oldest', limit: 5 });
    expect(calls.map(({ record_id: id, context }) => [id, context])).toEqual([
      ['a\uFFFDb\uFFFDc', '\\u0000 "quoted" \\'],
      ['Zoë 🎈', null],
    ]);
    expect(await ledger.submit((rows) => rows.get('budgets', 'job:a\0'))).toBeUndefined();
  });
});

describe('a server that goes away', () => {
  test.each(['restart', 'crash'] as const)(
    '%s: holds fail meanwhile, what has happened is recorded afterwards, nothing is lost',
    async (how) => {
      const own = await startCluster();
      const ledger = await open(await own.newDatabase());
      const facts = await addKey(ledger, { cap: 10 });
      const input = reserveInput(facts, { price: fixed(3) });
      await ledger.hold((rows, now) => reserve(rows, now, input));
      await own.stop(how === 'crash' ? 'crash' : undefined);
      const settled = ledger.record((rows, now) => finish(rows, now, input.call.callId, settledAt(2)));
      await expect(ledger.hold(() => 1)).rejects.toThrow(StoreError);
      await expect(ledger.store.ping()).rejects.toThrow(StoreError);
      await own.start();
      expect((await settled).call.state).toBe('settled');
      const budget = await ledger.submit((rows) => rows.get('budgets', `key:${facts.keyId}`));
      expect(budget).toMatchObject({ settled_micros: 2, held_micros: 0 });
      await own.stop();
    },
  );
});
