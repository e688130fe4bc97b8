/** What does not start says which setting it is about, and leaves nothing behind that stops the next start. */
import { chmodSync, existsSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { startProxy } from '../proxy';
import { liveOptions } from '../src/cli/dev';
import { listening } from '../src/cli/lifetime';

const logger = pino({ level: 'silent' });
const folder = mkdtempSync(join(tmpdir(), 'keybrake-start-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const OPTIONS = {
  apiKey: 'admin-key-0123456789abcdef0123456789',
  workerKey: 'worker-key-0123456789abcdef012345678',
  accounts: { stripe: { vendor: 'stripe', secret: 'sk_test_start_0123456789' } },
  logger,
};

test('a first start that could not write its master key, as on a full disk, does not stop the next one', async () => {
  const ledger = join(folder, 'first.db');
  writeFileSync(`${ledger}.keys`, '');
  const proxy = await startProxy({ ...OPTIONS, store: `sqlite:${ledger}` });
  await proxy.close();
  const again = await startProxy({ ...OPTIONS, store: `sqlite:${ledger}` });
  await again.close();
  // Of a ledger that has been used an empty file is a lost key: a new one would open nothing.
  writeFileSync(`${ledger}.keys`, '');
  await expect(startProxy({ ...OPTIONS, store: `sqlite:${ledger}` })).rejects.toThrow(/\.keys is empty: restore it/);
  expect(existsSync(`${ledger}.keys`)).toBe(true);
});

test('the master key of a ledger is found by every name of it', async () => {
  const [ledger, link] = [join(folder, 'named.db'), join(folder, 'link.db')];
  symlinkSync(ledger, link);
  for (const name of [link, ledger, link]) await (await startProxy({ ...OPTIONS, store: `sqlite:${name}` })).close();
  // As an earlier version made it.
  renameSync(`${ledger}.keys`, `${link}.keys`);
  await (await startProxy({ ...OPTIONS, store: `sqlite:${link}` })).close();
  expect(existsSync(`${ledger}.keys`)).toBe(false);
});

test('a master key file that everybody may read is warned of at each start, and one that its group may read is not', async () => {
  const store = `sqlite:${join(folder, 'open.db')}`;
  const lines: string[] = [];
  const warned = pino({ level: 'warn' }, { write: (line: string) => void lines.push(line) });
  for (const mode of [0o600, 0o640, 0o644]) {
    await (await startProxy({ ...OPTIONS, store, logger: warned })).close();
    chmodSync(join(folder, 'open.db.keys'), mode);
  }
  expect(lines).toEqual([]);
  await (await startProxy({ ...OPTIONS, store, logger: warned })).close();
  expect(lines).toEqual([expect.stringMatching(/everybody on this machine may open .*open\.db\.keys: chmod 600/)]);
}, 20_000);

test('a Postgres that does not answer is named with its setting, and without its password', async () => {
  const store = 'postgres://someone:secret-word@127.0.0.1:1/ledger';
  const started = startProxy({ ...OPTIONS, store, masterKeys: ['m'.repeat(40)], spool: join(folder, 'spool') });
  const error = await started.then(String, (cause: unknown) => String(cause));
  expect(error).toMatch(/The ledger at 127\.0\.0\.1:1\/ledger cannot be opened: .*ECONNREFUSED.*KEYBRAKE_STORE/);
  expect(error).not.toContain('secret-word');
});

test('a host that is not of this machine is named with its setting', async () => {
  const store = `sqlite:${join(folder, 'host.db')}`;
  // TEST-NET-3 of RFC 5737: nobody's.
  const started = startProxy({ ...OPTIONS, store, host: '203.0.113.7', port: 0 });
  await expect(listening(started, '')).rejects.toThrow(
    'The host 203.0.113.7 is no address of this machine: correct KEYBRAKE_HOST.',
  );
});

test('dev with real accounts keeps to the bounds that are set for them', () => {
  const config = join(folder, 'keybrake.yaml');
  writeFileSync(config, 'pacing: { wait_ms: 1234, queue: 7 }\n');
  const options = liveOptions({
    KEYBRAKE_API_KEY: OPTIONS.apiKey,
    KEYBRAKE_WORKER_KEY: OPTIONS.workerKey,
    KEYBRAKE_CONFIG: config,
    KEYBRAKE_WORKER_MAX_USD: '25',
    KEYBRAKE_CALLBACK_URL: 'https://keybrake.example',
    KEYBRAKE_MASTER_KEY: 'm'.repeat(40),
    STRIPE_SECRET_KEY: 'sk_test_start_0123456789',
  });
  expect(options).toMatchObject({
    workerMaxMicros: 25_000_000,
    paceWaitMs: 1_234,
    paceQueueMax: 7,
    callbackUrl: 'https://keybrake.example',
  });
  // Dev's ledger has keys of its own.
  expect(options).not.toHaveProperty('masterKeys');
});
