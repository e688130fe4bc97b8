/**
 * The tests of the proxy once more, with the ledger on Postgres. Which these are is nobody's to remember: every test
 * file that reaches test/support/store.ts, where the store is chosen, and is not excepted here. Whoever starts a proxy
 * does it by test/support/proxy.ts, so a new file is in; test/stores.test.ts looks after that.
 */
const fs = require('node:fs');
const path = require('node:path');
const base = require('./jest.config');

const TESTS = path.join(__dirname, 'test');
const CHOOSES = path.join(TESTS, 'support/store.ts');

/** Files that choose a store and run on SQLite only, or that run on Postgres anyway; each with the reason. */
const EXCEPTIONS = {
  'proxy-store.test.ts': 'the disk of the SQLite file is full; Postgres that goes away is in proxy-replicas',
  'proxy-store-moved.test.ts': 'the SQLite file was moved',
  'proxy-kill.test.ts': 'who opens the SQLite file knows that the last one is dead; on Postgres: proxy-replicas',
  'reconcile-kill.test.ts': 'who opens the SQLite file knows that the last one is dead; on Postgres: proxy-replicas',
  'postgres-doubt.test.ts': 'runs on Postgres anyway',
  'proxy-replicas.test.ts': 'runs on Postgres anyway',
  'proxy-replicas-pace.test.ts': 'runs on Postgres anyway',
  'proxy-replicas-objects.test.ts': 'runs on Postgres anyway',
  'replay.test.ts': 'replays histories; the proxy has no part in it',
  'plugin.test.ts': 'how a worker is set up',
  // Minutes of Temporal each, with the same calls to the proxy as those of workflow-records, -control, -kill, -reset,
  // -orphans, -pace, -run and -vault-key, which run on Postgres.
  'stop-words.test.ts': 'the clock is moved to the next day; on Postgres it is the server’s',
  'workflow-own-activity.test.ts': 'the SQLite file is taken away; Postgres that goes away is in proxy-replicas',
  'workflow-chaos.test.ts': 'proxy-chaos and workflow-kill',
  'workflow-kill-server.test.ts': 'workflow-kill',
  'workflow-kill-vendors.test.ts': 'workflow-kill',
  'workflow-shards.test.ts': 'workflow-records',
  'workflow-slow-control.test.ts': 'workflow-control',
  'workflow-vendors.test.ts': 'workflow-records, and vendors-http for the vendors',
};

function importsOf(file) {
  const names = [...fs.readFileSync(file, 'utf8').matchAll(/from '(\.[^']+)'/g)].map(([, name]) => name);
  return names.map((name) => path.resolve(path.dirname(file), `${name}.ts`)).filter((name) => fs.existsSync(name));
}

function reaches(file, seen = new Set()) {
  if (file === CHOOSES) return true;
  if (seen.has(file)) return false;
  seen.add(file);
  return importsOf(file).some((name) => name.startsWith(TESTS) && reaches(name, seen));
}

const files = fs.readdirSync(TESTS).filter((name) => name.endsWith('.test.ts') && reaches(path.join(TESTS, name)));
const stale = Object.keys(EXCEPTIONS).filter((name) => !files.includes(name));
if (stale.length > 0) throw new Error(`Excepted, but not there to be run on Postgres: ${stale.join(', ')}`);

/** @type {import('jest').Config} */
module.exports = {
  ...base,
  testMatch: files.filter((name) => !(name in EXCEPTIONS)).map((name) => `<rootDir>/test/${name}`),
  globalSetup: '<rootDir>/test/support/postgresSetup.ts',
  globalTeardown: '<rootDir>/test/support/postgresTeardown.ts',
};
