/** The SQLite store: what was committed is there after a crash at any moment, and nothing that was not. */
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { basename, join } from 'node:path';
import * as fc from 'fast-check';
import { openSqlite, type Sizes } from '../proxy/stores/sqlite';
import { Applier } from '../proxy/stores/sqlite/apply';
import { decodeRecord, encodeRecord, recordAt } from '../proxy/stores/sqlite/record';
import { appliedIn, connect } from '../proxy/stores/sqlite/schema';
import { Unapplied } from '../proxy/stores/sqlite/unapplied';
import { StoreError } from '../proxy/stores/store';
import { crashed, newPath, put, valuesIn } from './support/ledgerFile';

/** Small, so that the files of the log take turns and the tables are synced all the time. */
const SMALL: Sizes = { logFileBytes: 900, syncBytes: 300, ownBytesMax: Infinity };
const IN_A_THREAD: Sizes = { ...SMALL, ownBytesMax: 0 };

/** The file of the log that has the last record, and where that record begins and ends. */
function lastRecord(path: string) {
  const records = [`${path}-log.0`, `${path}-log.1`].filter(existsSync).flatMap((file) => {
    const bytes = readFileSync(file);
    const found: { file: string; from: number; to: number; seq: number }[] = [];
    for (let at = 0, next = recordAt(bytes, 0); next !== undefined; next = recordAt(bytes, at)) {
      found.push({ file, from: at, to: at + next.record.length, seq: next.seq });
      at += next.record.length;
    }
    return found;
  });
  const last = records.toSorted((one, other) => other.seq - one.seq)[0];
  if (last === undefined) throw new Error('the log is empty');
  return last;
}

/** What is there after a crash that left a file of the log damaged. */
async function valuesAfter(path: string, file: string, damage: (bytes: Buffer) => void, names: readonly string[]) {
  const copy = crashed(path);
  const bytes = readFileSync(file);
  damage(bytes);
  writeFileSync(join(copy, '..', basename(file)), bytes);
  const again = openSqlite(copy);
  const values = await valuesIn(again, names);
  await again.close();
  return values;
}

test('a commit whose writing was cut short at any byte never happened, and all before it did', async () => {
  const path = newPath();
  const store = openSqlite(path);
  for (let index = 0; index < 5; index += 1) await put(store, `n${index}`, `value ${index}`);
  const { file, from, to } = lastRecord(path);
  expect(to - from).toBeGreaterThan(50);
  const names = ['n0', 'n1', 'n2', 'n3', 'n4'];
  for (let cut = from; cut < to; cut += 7) {
    expect(await valuesAfter(path, file, (bytes) => bytes.fill(0, cut, to), names)).toEqual({
      n0: 'value 0',
      n1: 'value 1',
      n2: 'value 2',
      n3: 'value 3',
      n4: undefined,
    });
  }
  const whole = openSqlite(crashed(path));
  expect(await valuesIn(whole, ['n4'])).toEqual({ n4: 'value 4' });
  await whole.close();
  await store.close();
});

test('a bit that fell over is not taken for a record', async () => {
  const path = newPath();
  const store = openSqlite(path);
  await put(store, 'a', 'before');
  await put(store, 'a', 'after');
  const { file, from, to } = lastRecord(path);
  for (let at = from; at < to; at += 5) {
    const flip = (bytes: Buffer) => bytes.writeUInt8(bytes.readUInt8(at) ^ 4, at);
    expect(await valuesAfter(path, file, flip, ['a'])).toEqual({ a: 'before' });
  }
  await store.close();
});

test('a log that is damaged before its end is refused where the tables lack what is lost, and read on where they do not', async () => {
  const path = newPath();
  const store = openSqlite(path);
  for (let index = 0; index < 3; index += 1) await put(store, `n${index}`, 'x'.repeat(100));
  const { file, from } = lastRecord(path);
  const early = crashed(path);
  await store.listKeys({ limit: 1 });
  const late = crashed(path);
  await put(store, 'n3', 'y');
  await put(store, 'n4', 'z');
  const bytes = readFileSync(file);
  bytes.fill(0xff, from + 30, from + 40);
  for (const copy of [early, late]) writeFileSync(join(copy, '..', basename(file)), bytes);
  expect(() => openSqlite(early)).toThrow(StoreError);
  expect(() => openSqlite(early)).toThrow(/ends at commit \d+, its log goes on at \d+.*the log is damaged/);
  const again = openSqlite(late);
  expect(await valuesIn(again, ['n2', 'n3', 'n4'])).toEqual({ n2: 'x'.repeat(100), n3: 'y', n4: 'z' });
  await again.close();
  await store.close();
});

test('a ledger beside a log of a later time is refused: what is between is missing', async () => {
  const path = newPath();
  const store = openSqlite(path);
  await put(store, 'a', '1');
  const early = crashed(path);
  await store.listKeys({ limit: 1 });
  for (let index = 0; index < 100; index += 1) await put(store, 'a', 'x'.repeat(500));
  // The log as it is later, begun anew meanwhile; the ledger as it was.
  const late = openSqlite(path.replace('ledger.db', 'other.db'), SMALL);
  for (let index = 0; index < 20; index += 1) {
    await put(late, 'a', 'x'.repeat(500));
    await late.listKeys({ limit: 1 });
  }
  for (const which of ['0', '1']) {
    copyFileSync(path.replace('ledger.db', `other.db-log.${which}`), `${early}-log.${which}`);
  }
  expect(() => openSqlite(early)).toThrow(StoreError);
  expect(() => openSqlite(early)).toThrow(/not copied together/);
  await late.close();
  await store.close();
});

test('a closed ledger has no log, and its file alone has everything', async () => {
  const path = newPath();
  for (const sizes of [SMALL, IN_A_THREAD]) {
    const store = openSqlite(path, sizes);
    for (let index = 0; index < 50; index += 1) await put(store, `n${index}`, `${sizes.ownBytesMax}`);
    await store.close();
    expect(readdirSync(join(path, '..')).toSorted()).toEqual(['ledger.db', 'ledger.db-lock']);
    const alone = newPath();
    copyFileSync(path, alone);
    const again = openSqlite(alone);
    expect(await valuesIn(again, ['n0', 'n49'])).toEqual({ n0: `${sizes.ownBytesMax}`, n49: `${sizes.ownBytesMax}` });
    await again.close();
  }
});

test('the log does not grow as long as the tables keep up', async () => {
  const path = newPath();
  const store = openSqlite(path, { logFileBytes: 64 * 1024, syncBytes: 32 * 1024, ownBytesMax: Infinity });
  for (let index = 0; index < 400; index += 1) {
    await put(store, `n${index % 7}`, 'x'.repeat(8_000));
    if (index % 4 === 0) await store.listKeys({ limit: 1 });
  }
  const sizes = ['0', '1'].map((which) => statSync(`${path}-log.${which}`).size);
  expect(Math.max(...sizes)).toBeLessThanOrEqual(1024 * 1024);
  await store.close();
});

test('another process is kept out as long as the ledger is open, and let in after it', async () => {
  const path = newPath();
  const store = openSqlite(path);
  expect(() => openSqlite(path)).toThrow(/open in another process/);
  await store.close();
  await openSqlite(path).close();
});

type Step =
  | { readonly kind: 'put' | 'remove'; readonly name: string; readonly size: number }
  | { readonly kind: 'list' | 'crash' | 'reopen' };

const name = fc.constantFrom('a', 'b', 'c', 'd');
const steps = fc.array(
  fc.oneof(
    {
      weight: 8,
      arbitrary: fc.record({ kind: fc.constant('put' as const), name, size: fc.integer({ min: 0, max: 900 }) }),
    },
    { weight: 3, arbitrary: fc.record({ kind: fc.constant('remove' as const), name, size: fc.constant(0) }) },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant('list' as const) }) },
    { weight: 1, arbitrary: fc.record({ kind: fc.constantFrom('crash' as const, 'reopen' as const) }) },
  ),
  { minLength: 5, maxLength: 60 },
);

test.each([
  ['in one thread', SMALL, 60],
  ['with a thread for the tables', IN_A_THREAD, 15],
])(
  'after any commits, crashes and restarts the rows and events are those that were committed, %s',
  async (_, sizes, numRuns) => {
    const run = async (taken: readonly Step[]) => {
      const model = new Map<string, string>();
      let path = newPath();
      let store = openSqlite(path, sizes);
      let count = 0;
      for (const step of taken) {
        if (step.kind === 'put') {
          const value = `${(count += 1)}${'x'.repeat(step.size)}`;
          await put(store, step.name, value);
          model.set(step.name, value);
        } else if (step.kind === 'remove') {
          await store.commit((rows) => rows.remove('meta', step.name));
          model.delete(step.name);
        } else if (step.kind === 'list') {
          await store.listKeys({ limit: 1 });
        } else {
          const before = { path, store };
          // A crash is one moment, the copy of the files is not: the thread must not be at work on them.
          if (sizes === IN_A_THREAD) await store.listKeys({ limit: 1 });
          if (step.kind === 'crash') path = crashed(path);
          else await store.close();
          store = openSqlite(path, sizes);
          if (before.path !== path) await before.store.close();
        }
        const names = ['a', 'b', 'c', 'd'];
        const expected = Object.fromEntries(names.map((each) => [each, model.get(each)]));
        expect(await valuesIn(store, names)).toEqual(expected);
      }
      await store.close();
    };
    await fc.assert(fc.asyncProperty(steps, run), { numRuns });
  },
);

test('records that the tables have already change nothing: a turn is taken again after it failed late', async () => {
  const path = newPath();
  await openSqlite(path).close();
  const db = connect(path);
  const applier = new Applier(db);
  const record = encodeRecord(appliedIn(db) + 1, 1, {
    changes: [{ table: 'meta', id: 'a', stored: false, row: { name: 'a', value: '1' } }],
    removals: [],
    forgotten: [],
    events: [{ kind: 'key.issued', actor: 'admin' }],
  });
  const once = applier.apply([record]);
  expect(applier.apply([record])).toBe(once);
  expect(db.prepare('SELECT count(*) AS events FROM events').get()).toEqual({ events: 1 });
  db.close();
});

test('a row that changed again while the tables took it is still the later one', () => {
  const unapplied = new Unapplied();
  const change = (value: string) => [{ table: 'meta', id: 'a', stored: true, row: { name: 'a', value } }] as const;
  unapplied.wrote(1, change('1'), []);
  unapplied.wrote(2, change('2'), []);
  unapplied.applied(1);
  expect(unapplied.get('meta', 'a')?.row).toEqual({ name: 'a', value: '2' });
  unapplied.wrote(3, [], [{ table: 'meta', id: 'a' }]);
  unapplied.applied(2);
  expect(unapplied.get('meta', 'a')).toMatchObject({ row: undefined });
  unapplied.applied(3);
  expect(unapplied.get('meta', 'a')).toBeUndefined();
});

test('a record tells every row, removal and event as they were', () => {
  const call = { table: 'calls', id: 'call_1', stored: true } as const;
  const row = { call_id: 'call_1', state: 'settled', answer: Buffer.from([0, 255, 1]), request: null, cost_micros: 5 };
  const record = encodeRecord(7, 1_795_500_000_000, {
    changes: [{ ...call, row: row as never }],
    removals: [{ table: 'claims', id: 'scope' }],
    forgotten: [3, 4],
    events: [{ kind: 'call.settled', actor: 'proxy', data: { micros: 5 } }],
  });
  const read = decodeRecord(record);
  expect(read).toMatchObject({
    seq: 7,
    now: 1_795_500_000_000,
    removals: [{ table: 'claims', id: 'scope' }],
    forgotten: [3, 4],
    events: [['call.settled', 'proxy', null, null, null, '{"micros":5}']],
  });
  const values = read.rows[0]?.values ?? [];
  expect(values.filter((value) => Buffer.isBuffer(value))).toEqual([Buffer.from([0, 255, 1])]);
  expect(values.at(-1)).toBe('call_1');
});

test('tables that cannot be written take no holds, lose nothing, and listings say why', async () => {
  const path = newPath();
  for (const sizes of [SMALL, IN_A_THREAD]) {
    const store = openSqlite(path, sizes);
    const other = connect(path);
    await put(store, 'a', 'before');
    await store.listKeys({ limit: 1 });
    // Another program that has the tables and does not let go.
    other.exec('BEGIN IMMEDIATE');
    await put(store, 'a', `after ${sizes.ownBytesMax}`);
    await expect(store.listKeys({ limit: 1 })).rejects.toThrow(/cannot be written/);
    expect(store.acceptsHolds()).toBe(false);
    await expect(store.ping()).rejects.toThrow(/cannot be written/);
    expect(await valuesIn(store, ['a'])).toEqual({ a: `after ${sizes.ownBytesMax}` });
    await store.close();
    other.exec('ROLLBACK');
    other.close();
    expect(existsSync(`${path}-log.0`)).toBe(true);
    const again = openSqlite(path, sizes);
    expect(await valuesIn(again, ['a'])).toEqual({ a: `after ${sizes.ownBytesMax}` });
    expect(again.acceptsHolds()).toBe(true);
    await again.close();
  }
});

test('a thread of the tables that has ended keeps no listing waiting, nor the end of the process', async () => {
  const folder = join(newPath(), '../ledger');
  mkdirSync(folder);
  const store = openSqlite(join(folder, 'ledger.db'), IN_A_THREAD);
  // The thread, which is started when it is needed first, cannot open what was moved away.
  renameSync(folder, `${folder}-away`);
  await put(store, 'a', 'b');
  // Some of these are before its end, the others after it.
  for (let times = 0; times < 20; times += 1) {
    await expect(store.listKeys({ limit: 1 })).rejects.toThrow(/cannot be written/);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  expect(store.acceptsHolds()).toBe(false);
  await store.close();
});
