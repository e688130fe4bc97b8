/** A native driver that an install left behind unusable is told with the way out, not as a fault of the ledger's file. */
import { execFileSync } from 'node:child_process';
import { cpSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { unbuilt } from '../proxy/stores/sqlite/driver';

const root = dirname(require.resolve('better-sqlite3/package.json'));
let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'keybrake-driver-'));
  const copy = join(folder, 'node_modules/better-sqlite3');
  cpSync(root, copy, { recursive: true, filter: (path) => !path.endsWith('/build') && !path.endsWith('/deps') });
  for (const name of ['bindings', 'file-uri-to-path']) {
    symlinkSync(dirname(require.resolve(`${name}/package.json`)), join(folder, 'node_modules', name));
  }
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

/** What opening a database throws there. */
function thrown(options = ''): Error {
  const script = `try { new (require('better-sqlite3'))(':memory:'${options}) }
    catch ({ message, code }) { console.log(JSON.stringify({ message, code })) }`;
  const { message, code } = JSON.parse(
    execFileSync(process.execPath, ['-e', script], { cwd: folder, encoding: 'utf8' }),
  );
  return Object.assign(new Error(message), { code });
}

test('a driver that npm was not let build is told as that, and how to build it', () => {
  expect(unbuilt(thrown())).toMatch(/was never built\. .*npm rebuild better-sqlite3.*Node 22/);
});

test('a driver that was built for another Node or machine is told as that', () => {
  writeFileSync(join(folder, 'other.node'), 'of another machine');
  const options = `, { nativeBinding: ${JSON.stringify(join(folder, 'other.node'))} }`;
  expect(unbuilt(thrown(options))).toMatch(/for another Node or machine\. .*npm rebuild better-sqlite3/);
});

test('a driver that npm left out, since it installed with an older Node, is told as that', () => {
  cpSync(join(__dirname, '../lib/proxy/stores/sqlite/driver.js'), join(folder, 'driver.js'));
  const script = `try { require('./driver.js').loadDriver('24.0.0') } catch ({ message }) { console.log(message) }`;
  const told = execFileSync(process.execPath, ['-e', script], { cwd: folder, encoding: 'utf8' });
  expect(told).toMatch(/better-sqlite3-napi is not installed\. Install again with the Node that is to run/);
});

test('any other error is none of the driver’s', () => {
  expect(unbuilt(Object.assign(new Error('disk I/O error'), { code: 'SQLITE_IOERR' }))).toBeUndefined();
});
