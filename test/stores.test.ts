/** Every test of the proxy runs on SQLite and on Postgres, also the one that is written tomorrow. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { atEnd } from './support/atEnd';

/** Files whose subject is the proxy, or the vendors through it, by their names. */
const OF_THE_PROXY =
  /^(proxy|control|vendors|late|judge|sdks|drift|stripe-model|workflow-(records|control|kill|reset|orphans|pace))\b/;

const CONFIG = join(__dirname, '../jest.postgres.config.js');
const { testMatch } = jest.requireActual<{ readonly testMatch: readonly string[] }>(CONFIG);
const files = readdirSync(__dirname, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.ts'));

test('whoever starts a proxy for a test does it where the store is chosen', () => {
  const own = files.filter((name) => /startProxyForTests\(/.test(readFileSync(join(__dirname, name), 'utf8')));
  // The second is about such functions themselves.
  expect(own.toSorted()).toEqual(['support/proxy.ts', 'testing-helpers.test.ts']);
});

test('the tests of the proxy run on Postgres too, but for those that say why not', () => {
  const onPostgres = testMatch.map((path) => path.replace('<rootDir>/test/', ''));
  const missing = files.filter((name) => OF_THE_PROXY.test(name) && !onPostgres.includes(name));
  expect(missing.toSorted()).toEqual([
    'proxy-kill.test.ts',
    'proxy-replicas-objects.test.ts',
    'proxy-replicas-pace.test.ts',
    'proxy-replicas.test.ts',
    'proxy-store-moved.test.ts',
    'proxy-store.test.ts',
    'workflow-kill-server.test.ts',
    'workflow-kill-vendors.test.ts',
  ]);
});

describe('what a test file runs on', () => {
  // Made first, so that it would run first if it were a hook.
  let stopped = false;
  atEnd(() => {
    if (!stopped) throw new Error('What the tests ran on went away before they had stopped what runs on it.');
  });
  afterAll(() => {
    stopped = true;
  });

  test('stays until its own hooks have ended', () => expect(stopped).toBe(false));
});
