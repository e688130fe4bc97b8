/** What stops a start, or must not: said at the start, by the name of the setting. */
import { chdir, cwd } from 'node:process';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { workerOptionsFromEnv } from '../src/config';
import { complaints, file, GOOD, proxyOptions } from './support/config';
import { ANOTHER_KEY, CERTIFICATE, CERTIFICATE_KEY, ENCRYPTED_KEY } from './support/tls';

const before = cwd();
let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'keybrake-start-'));
  chdir(folder);
});
afterEach(() => {
  chdir(before);
  rmSync(folder, { recursive: true });
});

describe('a Service of Kubernetes that is called keybrake', () => {
  const links = (prefix: string, ip = '10.96.14.7', at = ip) => ({
    [`${prefix}_SERVICE_HOST`]: ip,
    [`${prefix}_SERVICE_PORT`]: '8787',
    [`${prefix}_SERVICE_PORT_HTTP`]: '8787',
    [`${prefix}_PORT`]: `tcp://${at}:8787`,
    [`${prefix}_PORT_8787_TCP`]: `tcp://${at}:8787`,
    [`${prefix}_PORT_8787_TCP_PROTO`]: 'tcp',
    [`${prefix}_PORT_8787_TCP_PORT`]: '8787',
    [`${prefix}_PORT_8787_TCP_ADDR`]: ip,
  });

  test.each([
    ['keybrake', links('KEYBRAKE')],
    ['keybrake-proxy', links('KEYBRAKE_PROXY')],
    ['one with IPv6', links('KEYBRAKE', 'fd00:10:96::a', '[fd00:10:96::a]')],
  ])('does not keep the pods of its namespace from starting: %s', (_, env) => {
    expect(proxyOptions({ ...GOOD, ...env }).port).toBe(8787);
  });

  test('does not hide a mistyped setting, nor a port that is none', () => {
    const found = complaints({
      ...GOOD,
      KEYBRAKE_SERVICE_HOST: 'keybrake.internal',
      KEYBRAKE_SERVICE_PORT: 'http',
      KEYBRAKE_PROXY_PORT: '8787',
      KEYBRAKE_PORT: 'tcp://here',
      KEYBRAKE_URL_PORT_8787_TCP_PROTO: 'http',
    });
    expect(new Set(found.map((text) => text.split(' ')[0]))).toEqual(
      new Set([
        'KEYBRAKE_PORT',
        'KEYBRAKE_PROXY_PORT',
        'KEYBRAKE_SERVICE_HOST',
        'KEYBRAKE_SERVICE_PORT',
        'KEYBRAKE_URL_PORT_8787_TCP_PROTO',
      ]),
    );
  });
});

describe('keybrake.yaml', () => {
  test('one that is there and cannot be read stops the start: its floors and prices would be gone', () => {
    mkdirSync('keybrake.yaml');
    expect(complaints(GOOD)).toEqual([
      'keybrake.yaml is there, but cannot be read (EISDIR). See who may read it, or take it away.',
    ]);
  });

  test.each(['KEYBRAKE_CONFIG', 'KEYBRAKE_TLS_CERT', 'KEYBRAKE_TLS_KEY'])('%s says why it cannot be read', (name) => {
    expect(complaints({ ...GOOD, [name]: folder })).toContainEqual(
      `${name} names ${folder}, which cannot be read (EISDIR). Correct the path, or who may read it.`,
    );
  });

  test('a section that is left empty is one that is not there', () => {
    writeFileSync('keybrake.yaml', 'accounts:\nfx_floors:\npacing:\nprices:\n  twilio:\n  resend:\nvendors:\n');
    expect(proxyOptions(GOOD)).toEqual({ ...proxyOptions({ ...GOOD, KEYBRAKE_CONFIG: file('none.yaml', '') }) });
    writeFileSync('keybrake.yaml', 'pacng:\n');
    expect(complaints(GOOD)).toEqual(['keybrake.yaml pacng is not a setting. Did you mean pacing?']);
  });

  test('a setting that is given twice is named', () => {
    writeFileSync('keybrake.yaml', 'pacing:\n  queue: 5\nfx_floors: { eur: 1.2 }\npacing:\n  queue: 6\n');
    expect(complaints(GOOD)).toEqual(['keybrake.yaml gives pacing twice (line 4). Keep one.']);
  });
});

test.each(['sqlite::memory:', 'sqlite:', 'sqlite: :memory:'])('%s is no ledger: it would forget', (store) => {
  expect(complaints({ ...GOOD, KEYBRAKE_STORE: store })).toEqual([
    expect.stringMatching(/^KEYBRAKE_STORE is not a file: .* Name one, like sqlite:/),
  ]);
});

test('an address in brackets is taken without them', () => {
  expect(proxyOptions({ ...GOOD, KEYBRAKE_HOST: '[::1]' }).host).toBe('::1');
});

test.each([
  ['one of another certificate', ANOTHER_KEY, /^KEYBRAKE_TLS_KEY is not the key of the certificate that .*_CERT names/],
  ['an encrypted one', ENCRYPTED_KEY, /^KEYBRAKE_TLS_KEY names a key that is encrypted\. Give the key in plain PEM/],
  ['a broken one', CERTIFICATE_KEY.replaceAll('M', '!'), /^KEYBRAKE_TLS_KEY names a file whose private key cannot be/],
])('a TLS key that cannot serve stops the start by its name: %s', (_, key, complaint) => {
  const env = { KEYBRAKE_TLS_CERT: file('pair.pem', CERTIFICATE), KEYBRAKE_TLS_KEY: file('pair-key.pem', key) };
  expect(complaints({ ...GOOD, ...env })).toEqual([expect.stringMatching(complaint)]);
});

test('a source folder that cannot be looked at is told beside all else that is wrong', () => {
  symlinkSync('loop', 'loop');
  const found = complaints({ KEYBRAKE_SOURCE_DIR: 'loop', KEYBRAKE_WORKER_KEY: 'short' }, workerOptionsFromEnv);
  expect(found).toEqual([
    expect.stringMatching(/^KEYBRAKE_WORKER_KEY/),
    'KEYBRAKE_SOURCE_DIR names loop, which cannot be searched (ELOOP). Correct it, or make it.',
  ]);
});
