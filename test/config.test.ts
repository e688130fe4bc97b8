import { Writable } from 'node:stream';
import { clientOptionsFromEnv, logLevelFromEnv, secretsFromEnv, workerOptionsFromEnv } from '../src/config';
import { createLogger } from '../proxy/log';
import { API_KEY, complaints, file, GOOD, LIVE, proxyOptions, TEST } from './support/config';
import { CERTIFICATE, CERTIFICATE_KEY } from './support/tls';

const WORKER_KEY = 'kb_worker_0123456789abcdef';

test('the defaults are loopback, port 8787, a SQLite file, and the account stripe', () => {
  expect(proxyOptions(GOOD)).toEqual({
    host: '127.0.0.1',
    port: 8787,
    store: 'sqlite:./keybrake.db',
    apiKey: API_KEY,
    accounts: { stripe: { vendor: 'stripe', secret: TEST } },
    fxFloor: {},
  });
});

test('every variable is read', () => {
  const cert = file('cert.pem', CERTIFICATE);
  const key = file('key.pem', CERTIFICATE_KEY);
  const options = proxyOptions({
    ...GOOD,
    KEYBRAKE_HOST: '0.0.0.0',
    KEYBRAKE_PORT: '0',
    KEYBRAKE_URL: 'https://keybrake.internal/',
    KEYBRAKE_STORE: 'sqlite:/tmp/x.db',
    KEYBRAKE_WORKER_KEY: WORKER_KEY,
    KEYBRAKE_WORKER_MAX_USD: '99.50',
    KEYBRAKE_MASTER_KEY: `${'n'.repeat(32)}, ${'o'.repeat(40)}`,
    KEYBRAKE_STRIPE_UPSTREAM: 'http://127.0.0.1:12111',
    KEYBRAKE_STRIPE_MAX_RPS: '20',
    KEYBRAKE_TLS_CERT: cert,
    KEYBRAKE_TLS_KEY: key,
  });
  expect(options).toMatchObject({
    host: '0.0.0.0',
    port: 0,
    publicUrl: 'https://keybrake.internal',
    store: 'sqlite:/tmp/x.db',
    workerKey: WORKER_KEY,
    workerMaxMicros: 99_500_000,
    masterKeys: ['n'.repeat(32), 'o'.repeat(40)],
    accounts: { stripe: { secret: TEST, upstream: 'http://127.0.0.1:12111', maxRps: 20 } },
  });
  expect(options.tls?.cert).toContain('CERTIFICATE');
});

test('all complaints come at once', () => {
  const found = complaints({
    KEYBRAKE_PORT: '99999',
    KEYBRAKE_STORE: 'mysql://db/keybrake',
    KEYBRAKE_WORKER_MAX_USD: 'lots',
    KEYBRAKE_HOTS: '127.0.0.1',
    KEYBRAKE_LOG_LEVEL: 'loud',
    KEYBRAKE_RESEND_UPSTREAM: 'mail',
  });
  expect(found.map((text) => text.split(' ')[0])).toEqual([
    'KEYBRAKE_HOTS',
    'KEYBRAKE_LOG_LEVEL',
    'KEYBRAKE_PORT',
    'KEYBRAKE_STORE',
    'KEYBRAKE_API_KEY',
    'KEYBRAKE_WORKER_MAX_USD',
    'KEYBRAKE_RESEND_UPSTREAM',
    'STRIPE_SECRET_KEY',
  ]);
  const worker = complaints({ KEYBRAKE_LOG_LEVEL: 'loud', KEYBRAKE_PORT: 'abc' }, workerOptionsFromEnv);
  expect(worker.map((text) => text.split(' ')[0])).toEqual([
    'KEYBRAKE_LOG_LEVEL',
    'KEYBRAKE_PORT',
    'KEYBRAKE_WORKER_KEY',
  ]);
});

test.each<[string, Record<string, string>, string | RegExp]>([
  ['a mistyped variable', { KEYBRAKE_HOTS: '::' }, 'KEYBRAKE_HOTS is not a setting. Did you mean KEYBRAKE_HOST?'],
  [
    'Postgres without a master key',
    { KEYBRAKE_STORE: 'postgres://u:p@db/k' },
    /KEYBRAKE_MASTER_KEY is not set, and a ledger in Postgres needs it/,
  ],
  [
    'Postgres without a database',
    { KEYBRAKE_STORE: 'postgres://u:p@db', KEYBRAKE_MASTER_KEY: 'm'.repeat(32) },
    /KEYBRAKE_STORE names no database/,
  ],
  ['a spool beside SQLite', { KEYBRAKE_SPOOL: '/tmp/spool' }, /KEYBRAKE_SPOOL has no meaning for a SQLite ledger/],
  ['another store', { KEYBRAKE_STORE: 'keybrake.db' }, /sqlite:\.\/keybrake\.db/],
  ['a short role key', { KEYBRAKE_API_KEY: 'kb_short' }, /KEYBRAKE_API_KEY .* at least 20 /],
  ['one key for both roles', { KEYBRAKE_WORKER_KEY: API_KEY }, /same as KEYBRAKE_API_KEY/],
  ['a short master key', { KEYBRAKE_MASTER_KEY: `${'a'.repeat(32)},short` }, /below 32 characters/],
  ['no dollars', { KEYBRAKE_WORKER_MAX_USD: '0' }, /KEYBRAKE_WORKER_MAX_USD is not an amount/],
  ['dollars beyond six decimals', { KEYBRAKE_WORKER_MAX_USD: '1.1234567' }, /is not an amount/],
  ['listening beyond loopback', { KEYBRAKE_HOST: '0.0.0.0' }, /KEYBRAKE_HOST .* KEYBRAKE_ALLOW_PLAINTEXT=1/],
  ['a URL beyond loopback in plain text', { KEYBRAKE_URL: 'http://proxy:8787' }, /plain text beyond this machine/],
  ['a URL that is none', { KEYBRAKE_URL: 'proxy:8787' }, /is not an http\(s\) address/],
  ['half of TLS', { KEYBRAKE_TLS_CERT: '/nowhere' }, /KEYBRAKE_TLS_KEY is not set, but KEYBRAKE_TLS_CERT is/],
  ['plaintext by another word', { KEYBRAKE_ALLOW_PLAINTEXT: 'yes' }, /is neither 1 nor 0/],
  ['a pace of nothing', { KEYBRAKE_STRIPE_MAX_RPS: '0' }, /KEYBRAKE_STRIPE_MAX_RPS is not a number of calls a second/],
  ['a pace in words', { KEYBRAKE_STRIPE_MAX_RPS: 'fast' }, /Give one above 0 and up to 10000/],
  ['a publishable key', { STRIPE_SECRET_KEY: 'pk_test_51ABCDEFGH' }, /is a publishable key/],
  ['a key of something else', { STRIPE_SECRET_KEY: 'SG.abcdef' }, /does not look like a Stripe key/],
  ['an upstream with a path', { KEYBRAKE_STRIPE_UPSTREAM: 'http://127.0.0.1/v1' }, /is not an http\(s\) address/],
  ['a missing config file', { KEYBRAKE_CONFIG: '/nowhere.yaml' }, /cannot be read/],
])('stops the start: %s', (_name, env, expected) => {
  const found = complaints({ ...GOOD, ...env });
  expect(found.join('\n')).toMatch(expected instanceof RegExp ? expected : new RegExp(expected.replaceAll('.', '\\.')));
});

describe('a live secret', () => {
  test.each([
    ['Stripe itself', undefined, true],
    ['Stripe itself, named', 'https://api.stripe.com', true],
    ['loopback', 'http://127.0.0.1:1', true],
    ['loopback by name', 'http://localhost:1', true],
    ['loopback by IPv6', 'http://[::1]:1', true],
    ['another host', 'https://api.stripe.com.evil.test', false],
    ['another host in plain text', 'http://api.stripe.com', false],
    ['a name that begins like loopback', 'http://127.0.0.1.evil.test', false],
  ])('to %s', (_name, upstream, allowed) => {
    for (const secret of [LIVE, LIVE.replace('sk_', 'rk_'), LIVE.replace('sk_', 'sk_org_')]) {
      const env = { ...GOOD, STRIPE_SECRET_KEY: secret, ...(upstream && { KEYBRAKE_STRIPE_UPSTREAM: upstream }) };
      expect(complaints(env).length === 0).toBe(allowed);
    }
  });

  test('a test secret may go to a sandbox elsewhere', () => {
    expect(complaints({ ...GOOD, KEYBRAKE_STRIPE_UPSTREAM: 'http://sandbox:12111' })).toEqual([]);
  });
});

test('beyond loopback, plain text must be asked for', () => {
  expect(complaints({ ...GOOD, KEYBRAKE_HOST: '0.0.0.0', KEYBRAKE_ALLOW_PLAINTEXT: '1' })).toEqual([]);
});

describe('keybrake.yaml', () => {
  const EU = 'rk_live_51EUEUEUEUEUEUEU';

  test('names accounts, their secrets by variable, and FX floors', () => {
    const path = file(
      'good.yaml',
      'accounts:\n  stripe_eu: { vendor: stripe, secret: env:STRIPE_EU_KEY }\nfx_floors: { eur: 1.2 }\n',
    );
    const options = proxyOptions({ KEYBRAKE_API_KEY: API_KEY, KEYBRAKE_CONFIG: path, STRIPE_EU_KEY: EU });
    expect(options.accounts).toEqual({ stripe_eu: { vendor: 'stripe', secret: EU } });
    expect(options.fxFloor).toEqual({ eur: 1.2 });
  });

  test.each([
    [
      'a secret in the file',
      `accounts: { a: { vendor: stripe, secret: ${LIVE} } }`,
      /accounts\.a\.secret must be env:/,
    ],
    ['an unknown field', 'acounts: {}', /acounts is not a setting. Did you mean accounts\?/],
    [
      'a setting of another section',
      'vendors: { fax: { upstream: "https://a.test" } }',
      /vendors\.fax upstream is not a setting\. Known here are origin, auth, /,
    ],
    ['a missing setting', 'accounts: { a: { vendor: stripe } }', /accounts\.a\.secret is required\. Set it\./],
    ['another type', 'prices: 7', /prices must be of the type object, not number\. Correct it\./],
    ['an unknown vendor', 'accounts: { a: { vendor: paypal, secret: env:X } }', /accounts\.a\.vendor/],
    ['a floor of nothing', 'fx_floors: { eur: 0 }', /fx_floors\.eur must be above 0/],
    ['a currency that is none', 'fx_floors: { EURO: 1 }', /must be a lower-case currency code/],
    [
      'an unset variable',
      'accounts: { a: { vendor: stripe, secret: env:STRIPE_A_KEY } }',
      /STRIPE_A_KEY, which is not set/,
    ],
    ['no YAML', 'accounts: [', /is not YAML \(line \d+\)/],
    ['a list', '- a', /good2|expected/i],
  ])('stops the start: %s', (_name, text, expected) => {
    const found = complaints({ ...GOOD, KEYBRAKE_CONFIG: file('good2.yaml', text) });
    expect(found.join('\n')).toMatch(expected);
    expect(found.join('\n')).not.toContain(LIVE);
  });

  test('the account stripe is not defined twice', () => {
    const path = file('twice.yaml', 'accounts: { stripe: { vendor: stripe, secret: env:STRIPE_EU_KEY } }');
    expect(complaints({ ...GOOD, KEYBRAKE_CONFIG: path, STRIPE_EU_KEY: EU }).join()).toMatch(/both define the account/);
  });

  test('paces accounts, and says how long and how many calls may wait', () => {
    const text =
      'accounts: { a: { vendor: stripe, secret: env:STRIPE_EU_KEY, max_rps: 0.5 } }\npacing: { wait_ms: 3000, queue: 50 }';
    const env = { ...GOOD, KEYBRAKE_CONFIG: file('pace.yaml', text), STRIPE_EU_KEY: EU, KEYBRAKE_STRIPE_MAX_RPS: '60' };
    const { accounts, paceWaitMs, paceQueueMax } = proxyOptions(env);
    expect([accounts['a']?.maxRps, accounts['stripe']?.maxRps]).toEqual([0.5, 60]);
    expect({ paceWaitMs, paceQueueMax }).toEqual({ paceWaitMs: 3_000, paceQueueMax: 50 });
  });

  test('an account there that says no pace has that of its vendor’s variable', () => {
    const text = 'accounts: { a: { vendor: stripe, secret: env:STRIPE_EU_KEY } }';
    const env = {
      ...GOOD,
      KEYBRAKE_CONFIG: file('pace2.yaml', text),
      STRIPE_EU_KEY: EU,
      KEYBRAKE_STRIPE_MAX_RPS: '7.5',
    };
    expect(proxyOptions(env).accounts['a']?.maxRps).toBe(7.5);
  });

  test.each([
    ['accounts: { a: { vendor: stripe, secret: env:STRIPE_EU_KEY, max_rps: 0 } }', /max_rps must be above 0/],
    [
      'accounts: { a: { vendor: stripe, secret: env:STRIPE_EU_KEY, max_rps: "20" } }',
      /max_rps must be a number of calls/,
    ],
    ['accounts: { a: { vendor: stripe, secret: env:STRIPE_EU_KEY, max_rsp: 20 } }', /Did you mean max_rps\?/],
    ['pacing: { wait_ms: 60000 }', /pacing\.wait_ms must be below what SDKs wait/],
    ['pacing: { queue: -1 }', /pacing\.queue/],
  ])('stops the start: %s', (text, expected) => {
    const env = { ...GOOD, KEYBRAKE_CONFIG: file('pace3.yaml', text), STRIPE_EU_KEY: EU };
    expect(complaints(env).join('\n')).toMatch(expected);
  });

  test('a live secret to an upstream named there stops the start', () => {
    const text = 'accounts: { a: { vendor: stripe, secret: env:STRIPE_EU_KEY, upstream: "https://elsewhere.test" } }';
    const env = { ...GOOD, KEYBRAKE_CONFIG: file('live.yaml', text), STRIPE_EU_KEY: EU };
    expect(complaints(env).join()).toMatch(/STRIPE_EU_KEY is a live secret, and would be sent to https:\/\/elsewhere/);
  });
});

test('the CLI uses the admin key, and the worker key where that is all there is', () => {
  expect(clientOptionsFromEnv({ KEYBRAKE_API_KEY: API_KEY, KEYBRAKE_WORKER_KEY: WORKER_KEY })).toEqual({
    url: 'http://127.0.0.1:8787',
    apiKey: API_KEY,
    role: 'admin',
  });
  const worker = clientOptionsFromEnv({ KEYBRAKE_WORKER_KEY: WORKER_KEY, KEYBRAKE_URL: 'https://k.test:1/' });
  expect(worker).toEqual({ url: 'https://k.test:1', apiKey: WORKER_KEY, role: 'worker' });
  expect(complaints({}, clientOptionsFromEnv).join()).toMatch(/KEYBRAKE_API_KEY is not set/);
});

test('the worker never takes the admin key, and its folder must be there', () => {
  expect(workerOptionsFromEnv({ KEYBRAKE_WORKER_KEY: WORKER_KEY })).toMatchObject({ sourceDir: process.cwd() });
  const found = complaints({ KEYBRAKE_API_KEY: API_KEY, KEYBRAKE_SOURCE_DIR: '/nowhere' }, workerOptionsFromEnv);
  expect(found.join('\n')).toMatch(/KEYBRAKE_WORKER_KEY is not set/);
  expect(found.join('\n')).toMatch(/KEYBRAKE_SOURCE_DIR names \/nowhere, which is not a folder/);
});

function logged(write: (log: ReturnType<typeof createLogger>) => void, secrets: string[] = []): string {
  let text = '';
  const stream = new Writable({
    write(chunk, _encoding, done) {
      text += String(chunk);
      done();
    },
  });
  write(createLogger({ level: 'debug', secrets, stream }));
  return text;
}

describe('the log', () => {
  test('hides vault keys, vendor secrets and credentials wherever they stand, and stays JSON', () => {
    const vaultKey = `vk_${'a1B2'.repeat(8)}`;
    const text = logged(
      (log) => {
        log.child({ key: vaultKey }).info({ headers: { Authorization: `Basic ${btoa('a:b')}` } }, `used ${vaultKey}`);
        log.error(new Error(`refused ${LIVE} and "quoted"secret"`, { cause: new Error(`Bearer ${API_KEY}`) }));
        log.info({ cookie: 'session=1' }, 'hello');
      },
      ['quoted"secret'],
    );
    for (const secret of [vaultKey, LIVE, btoa('a:b'), API_KEY, 'quoted', 'session=1'])
      expect(text).not.toContain(secret);
    const lines = text
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as { msg: string });
    expect(lines.map(({ msg }) => msg)).toEqual(['used vk_[hidden]', expect.stringContaining('refused'), 'hello']);
  });

  test('knows every secret of the environment', () => {
    const env = { ...GOOD, KEYBRAKE_MASTER_KEY: 'first-master-key,second-master-key', PATH: '/bin' };
    expect(secretsFromEnv(env).toSorted()).toEqual([API_KEY, TEST, 'first-master-key', 'second-master-key'].toSorted());
  });

  test('a level that is none is refused', () => {
    expect(logLevelFromEnv({})).toBe('info');
    expect(() => logLevelFromEnv({ KEYBRAKE_LOG_LEVEL: 'loud' })).toThrow(/KEYBRAKE_LOG_LEVEL: is not a log level/);
  });
});
