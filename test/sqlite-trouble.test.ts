/** The SQLite store among other programs, and on a disk that fails: it loses nothing, and takes nothing that it could lose. */
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
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

test('a disk that is full of the log takes records again once the reader that made it long has left', async () => {
  const path = newPath();
  const script = join(__dirname, 'support', 'fullLog.mjs');
  // A process of its own: the limit is on all that a process writes.
  const limited = ['-c', 'ulimit -f 24576; exec "$@"', 'sh', process.execPath, script, path];
  const said = execFileSync('/bin/sh', limited, { encoding: 'utf8', timeout: 60_000 });
  expect(said.split('\n')).toEqual(["The ledger's log cannot be written: EFBIG", 'taken', '']);
  const store = openSqlite(path);
  expect(await valuesIn(store, ['more'])).toEqual({ more: 'y'.repeat(2 * MIB) });
  await store.close();
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
  // Nor for the thread that takes over from it.
  expect(new TableWorker(db, 1, worker.distrusted).turn([record])).toEqual({ applied: seq });
  db.close();
});

/** The kernel's locks that this process has on a file. */
function locksOn(path: string): string[] {
  const { ino } = statSync(path);
  const lines = readFileSync('/proc/locks', 'utf8').split('\n');
  const mine = lines.map((line) => line.split(/\s+/)).filter(([, , , , pid]) => pid === String(process.pid));
  return mine.filter((words) => words[5]?.endsWith(`:${ino}`)).map((words) => words.slice(3).join(' '));
}

/** Only Linux tells which locks there are. */
const describeOnLinux = existsSync('/proc/locks') ? describe : describe.skip;

describeOnLinux('the locks on a ledger', () => {
  test('stay whatever else the process opens: another program would take the files from under it', async () => {
    const path = newPath();
    const store = openSqlite(path, { logFileBytes: MIB, syncBytes: MIB, ownBytesMax: 0 });
    const before = [locksOn(path), locksOn(`${path}-lock`)];
    expect(before.map((locks) => locks.length > 0)).toEqual([true, true]);
    // A thread for the tables starts, with a connection of its own.
    await put(store, 'a', 'b');
    await store.listKeys({ limit: 1 });
    expect(locksOn(path)).toEqual(before[0]);
    expect(() => openSqlite(path)).toThrow(/open in another process/);
    expect([locksOn(path), locksOn(`${path}-lock`)]).toEqual(before);
    await store.close();
  });
});

test('a ledger that was not closed does not open without its log: what was spent last is in that', async () => {
  const path = newPath();
  const store = openSqlite(path);
  await put(store, 'a', 'b');
  const copy = crashed(path);
  for (const log of ['-log.0', '-log.1']) renameSync(`${copy}${log}`, `${copy}${log}.away`);
  expect(() => openSqlite(copy)).toThrow(/was not closed, and its log is missing.*Bring them/);
  for (const log of ['-log.0', '-log.1']) renameSync(`${copy}${log}.away`, `${copy}${log}`);
  const again = openSqlite(copy);
  expect(await valuesIn(again, ['a'])).toEqual({ a: 'b' });
  const lost = crashed(copy);
  await again.close();
  // As the message says, where it is lost for good.
  for (const log of ['-log.0', '-log.1']) rmSync(`${lost}${log}`);
  writeFileSync(`${lost}-log.0`, '');
  await openSqlite(lost).close();
  await openSqlite(lost).close();
  await store.close();
});

test('a start that ended before the log was there leaves a ledger that opens: nothing was spent yet', async () => {
  const path = newPath();
  // Links to nowhere: the files cannot be made.
  for (const log of ['-log.0', '-log.1']) symlinkSync(join(path, 'nowhere'), `${path}${log}`);
  expect(() => openSqlite(path)).toThrow(/ENOENT|ENOTDIR/);
  for (const log of ['-log.0', '-log.1']) rmSync(`${path}${log}`);
  const store = openSqlite(path);
  await put(store, 'a', 'b');
  await store.close();
});

test('a closed ledger takes nothing more, and its last commit is whole', async () => {
  const path = newPath();
  const store = openSqlite(path);
  const last = put(store, 'a', 'b');
  const closing = store.close();
  await expect(put(store, 'c', 'd')).rejects.toThrow('The ledger is closed.');
  await Promise.all([last, closing]);
  const again = openSqlite(path);
  expect(await valuesIn(again, ['a', 'c'])).toEqual({ a: 'b', c: undefined });
  await again.close();
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

test('a link to a ledger is the same ledger: one lock, one log, and nothing more once it names another', async () => {
  const path = newPath();
  const folder = join(path, '..');
  const link = join(folder, 'link.db');
  // To a file that is not there yet.
  symlinkSync('ledger.db', link);
  const store = openSqlite(link);
  expect(() => openSqlite(path)).toThrow(/open in another process/);
  await put(store, 'a', 'b');
  expect(readdirSync(folder).filter((name) => name.startsWith('link'))).toEqual(['link.db']);
  expect(store.acceptsHolds()).toBe(true);
  rmSync(link);
  symlinkSync('other.db', link);
  await until('the store has noticed', () => !store.acceptsHolds() || undefined);
  await store.close();
  const again = openSqlite(path);
  expect(await valuesIn(again, ['a'])).toEqual({ a: 'b' });
  await again.close();
});

test('a log beside a link to a ledger, of an earlier version that died, is not passed over', async () => {
  const path = newPath();
  const store = openSqlite(path);
  await put(store, 'a', 'b');
  const copy = crashed(path);
  await store.close();
  const link = join(copy, '../link.db');
  symlinkSync(copy, link);
  for (const log of ['-log.0', '-log.1']) renameSync(`${copy}${log}`, `${link}${log}`);
  expect(() => openSqlite(link)).toThrow(/its log stands beside the link: move/);
  for (const log of ['-log.0', '-log.1']) renameSync(`${link}${log}`, `${copy}${log}`);
  const again = openSqlite(link);
  expect(await valuesIn(again, ['a'])).toEqual({ a: 'b' });
  await again.close();
});

test('nobody else may read a new ledger, its log or its lock; the mode of one that is there is left', async () => {
  const path = newPath();
  const store = openSqlite(path);
  await put(store, 'a', 'b');
  await store.listKeys({ limit: 1 });
  const files = readdirSync(join(path, '..'));
  expect(files).toEqual(expect.arrayContaining(['ledger.db', 'ledger.db-wal', 'ledger.db-lock', 'ledger.db-log.0']));
  for (const name of files) expect([name, statSync(join(path, '..', name)).mode & 0o777]).toEqual([name, 0o600]);
  await store.close();
  chmodSync(path, 0o640);
  await openSqlite(path).close();
  expect(statSync(path).mode & 0o777).toBe(0o640);
});
