/** The SQLite store among other programs, and on a disk that fails: it loses nothing, and takes nothing that it could lose. */
import { rmSync, statSync, truncateSync } from 'node:fs';
import { openSqlite } from '../proxy/stores/sqlite';
import { encodeRecord } from '../proxy/stores/sqlite/record';
import { appliedIn, connect } from '../proxy/stores/sqlite/schema';
import { TableWorker } from '../proxy/stores/sqlite/turn';
import { crashed, newPath, put, valuesIn } from './support/ledgerFile';
import { until } from './support/until';

const MIB = 1024 * 1024;

test.each([
  ['in one thread', Infinity],
  ['with a thread for the tables', 0],
])('a log that a reader of the tables has made long is cut once it has left, %s', async (_, ownBytesMax) => {
  const path = newPath();
  const store = openSqlite(path, { logFileBytes: MIB, syncBytes: MIB / 4, ownBytesMax });
  const lengths = () => ['-log.0', '-log.1'].map((name) => statSync(`${path}${name}`).size);
  await put(store, 'n0', 'x');
  await store.listKeys({ limit: 1 });
  const reader = connect(path);
  reader.exec('BEGIN');
  reader.prepare('SELECT count(*) FROM meta').get();
  for (let index = 0; index < 12; index += 1) {
    await put(store, `n${index}`, 'x'.repeat(MIB));
    await store.listKeys({ limit: 1 });
  }
  expect(Math.max(...lengths())).toBeGreaterThan(8 * MIB);
  const copy = crashed(path);
  reader.exec('COMMIT');
  reader.close();
  // No further record is needed: a disk that is full of the log takes none.
  await until('it is cut', () => Math.max(...lengths()) <= 4 * MIB || undefined);
  await put(store, 'after', 'y');
  expect(await valuesIn(store, ['n11', 'after'])).toEqual({ n11: 'x'.repeat(MIB), after: 'y' });
  await store.close();

  const again = openSqlite(copy);
  expect(await valuesIn(again, ['n11'])).toEqual({ n11: 'x'.repeat(MIB) });
  await again.close();
});

test('a log that is longer than any file can be read at once is read', async () => {
  const path = newPath();
  const store = openSqlite(path);
  await put(store, 'a', 'b');
  const copy = crashed(path);
  await store.close();
  truncateSync(`${copy}-log.0`, 3 * 1024 * MIB);
  const again = openSqlite(copy);
  expect(await valuesIn(again, ['a'])).toEqual({ a: 'b' });
  await again.close();
});

test('after a sync that failed nothing counts as synced, whatever the next one says: the log is kept', async () => {
  const path = newPath();
  await openSqlite(path).close();
  const db = connect(path);
  let broken = true;
  // What SQLite says when the disk does (SQLITE_IOERR_FSYNC); no disk here can be made to.
  const failing = new Proxy(db, {
    get(of, name) {
      const value = Reflect.get(of, name, of) as unknown;
      if (name !== 'pragma') return typeof value === 'function' ? value.bind(of) : value;
      return (text: string) => {
        if (!broken) return db.pragma(text);
        broken = false;
        throw Object.assign(new Error('disk I/O error'), { name: 'SqliteError', code: 'SQLITE_IOERR_FSYNC' });
      };
    },
  });
  const worker = new TableWorker(failing, 1);
  const seq = appliedIn(db) + 1;
  const changes = [{ table: 'meta', id: 'a', stored: false, row: { name: 'a', value: '1' } }] as const;
  const record = encodeRecord(seq, 1, { changes, removals: [], forgotten: [], events: [] });
  expect(() => worker.turn([record])).toThrow('disk I/O error');
  expect(worker.turn([record])).toEqual({ applied: seq });
  expect(worker.sync()).toBe(false);
  db.close();
});

test('without the file of its lock a ledger takes no more holds', async () => {
  const path = newPath();
  const store = openSqlite(path);
  expect(store.acceptsHolds()).toBe(true);
  rmSync(`${path}-lock`);
  await until('the store has noticed', () => !store.acceptsHolds() || undefined);
  await expect(store.ping()).rejects.toThrow(/was moved/);
  await store.close();
});
