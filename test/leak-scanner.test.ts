import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import * as fc from 'fast-check';
import { scanFile, scanHistory, scanText } from '../src/testing/scan';
import { loadDriver } from '../proxy/stores/sqlite/driver';

const Database = loadDriver();

const VAULT_KEY = `vk_${'Zk3'.repeat(14)}`;
const SECRET = 'sk_test_51ScannerScanner+/&"é';
const secrets = [SECRET];

const folder = mkdtempSync(join(tmpdir(), 'keybrake-scan-'));

function payload(value: unknown) {
  return {
    metadata: { encoding: Buffer.from('json/plain').toString('base64') },
    data: Buffer.from(JSON.stringify(value)).toString('base64'),
  };
}

function bytesPayload(value: unknown) {
  return { metadata: { encoding: Buffer.from('json/plain') }, data: Buffer.from(JSON.stringify(value)) };
}

/** A history of one event with these attributes. */
function event(attributes: object) {
  return { events: [{ eventId: '7', eventType: 'EVENT_TYPE_ACTIVITY_TASK_FAILED', attributes }] };
}

test.each<[string, object]>([
  ['a payload', { input: { payloads: [payload({ a: [{ key: VAULT_KEY }] })] } }],
  ['a payload in memory', { input: { payloads: [bytesPayload([VAULT_KEY])] } }],
  ['bytes that became an object', { input: Object.assign({}, Buffer.from(JSON.stringify({ VAULT_KEY }))) }],
  ['a payload inside a payload', { result: payload(payload({ key: VAULT_KEY })) }],
  ['a payload in memory inside a payload', { result: bytesPayload({ inner: payload(VAULT_KEY) }) }],
  ['a failure message', { failure: { cause: { message: `call with ${VAULT_KEY} failed` } } }],
  ['a stack trace', { failure: { stackTrace: `at f (${VAULT_KEY})` } }],
  ['failure details', { failure: { applicationFailureInfo: { details: { payloads: [payload({ k: VAULT_KEY })] } } } }],
  ['a header', { header: { fields: { 'keybrake-vault': payload({ keyId: 'key_1', token: VAULT_KEY }) } } }],
  ["a header's name", { header: { fields: { [VAULT_KEY]: payload(1) } } }],
  ['memo', { memo: { fields: { note: payload(VAULT_KEY) } } }],
  ['a search attribute', { searchAttributes: { indexedFields: { CustomKeyword: payload([VAULT_KEY]) } } }],
  ['heartbeat details', { details: { payloads: [payload({ cursor: 1, auth: `Bearer ${VAULT_KEY}` })] } }],
  ['an activity id', { activityId: VAULT_KEY }],
  ['a summary', { userMetadata: { summary: payload(`with ${VAULT_KEY}`) } }],
  ['Basic credentials', { input: payload({ authorization: `Basic ${btoa(`${VAULT_KEY}:`)}` }) }],
  ['base64url in a URL', { input: payload(`/x?t=${Buffer.from(`k=${VAULT_KEY}`).toString('base64url')}`) }],
  ['JSON text in JSON', { input: payload({ body: JSON.stringify({ body: JSON.stringify({ VAULT_KEY }) }) }) }],
])('a vault key is found in %s', (_name, attributes) => {
  for (const history of [event(attributes), JSON.stringify(event(attributes))]) {
    const findings = scanHistory(history);
    expect(findings).toContainEqual(expect.objectContaining({ what: 'vault key', eventId: '7' }));
    expect(JSON.stringify(findings)).toContain('events[0].attributes');
  }
});

test('a clean history has no findings: key ids, run ids and ordinary base64 are none', () => {
  const attributes = {
    input: { payloads: [payload({ keyId: 'key_01HZX', jobId: 'billing', id: 'vk_short', run: crypto.randomUUID() })] },
    taskToken: Buffer.from(crypto.getRandomValues(new Uint8Array(96))).toString('base64'),
  };
  expect(scanHistory(event(attributes), { secrets, patterns: [/@example\.com/g] })).toEqual([]);
});

test('given secrets and patterns are found, and named without being quoted', () => {
  const findings = scanHistory(event({ input: payload({ SECRET, mail: 'a@example.com' }) }), {
    secrets: ['another-secret', SECRET],
    patterns: [/\w+@example\.com/g],
  });
  expect(new Set(findings.map(({ what }) => what))).toEqual(new Set(['secret 2', '\\w+@example\\.com']));
  expect(JSON.stringify(findings)).not.toContain('ScannerScanner');
});

test('a vault key in a name is not quoted by the path of what stands below it', () => {
  const findings = scanHistory(event({ fields: { [VAULT_KEY]: { note: SECRET } } }), { secrets });
  expect(findings).toHaveLength(2);
  expect(JSON.stringify(findings)).not.toContain(VAULT_KEY);
});

test('wherever a secret stands in a payload, and whatever surrounds it, it is found', () => {
  fc.assert(
    fc.property(fc.string(), fc.string(), fc.integer({ min: 0, max: 3 }), (before, after, depth) => {
      let value: unknown = { text: before + SECRET + after };
      for (let i = 0; i <= depth; i += 1) value = payload(value);
      expect(scanHistory(event({ value }), { secrets })).not.toEqual([]);
    }),
    { numRuns: 300 },
  );
});

test.each<[string, (text: string) => string | Buffer]>([
  ['UTF-8', (text) => text],
  ['UTF-16', (text) => Buffer.from(text, 'utf16le')],
  ['JSON', (text) => JSON.stringify({ text })],
  ['percent-encoding', (text) => encodeURIComponent(text)],
  ['hex', (text) => Buffer.from(text).toString('hex')],
  ['base64', (text) => Buffer.from(text).toString('base64')],
  ['base64url', (text) => Buffer.from(text).toString('base64url')],
])('a secret in text is found in %s, at each alignment', (_name, encode) => {
  for (const before of ['', 'x', 'xy', 'xyz']) {
    for (const after of ['', 'x', 'xy']) {
      expect(scanText(encode(before + SECRET + after), { secrets })).not.toEqual([]);
      expect(scanText(encode(`${before}innocent${after}`), { secrets })).toEqual([]);
    }
  }
});

test('a vault key in Basic credentials is found in text and in a file, at each alignment', async () => {
  for (const before of ['', 'x', 'xy', 'AC0123456789abcdef:']) {
    const log = `authorization: Basic ${btoa(`${before}${VAULT_KEY}:`)}\n`;
    expect(scanText(log)).toMatchObject([{ what: 'vault key' }]);
    const glued = `${'q'.repeat(before.length)}${btoa(`${before}${VAULT_KEY}`)}`;
    expect(scanText(glued)).toMatchObject([{ what: 'vault key' }]);
    const path = join(folder, 'proxy.log');
    writeFileSync(path, `${'.'.repeat((1 << 20) - 40)}${log}`);
    expect(await scanFile(path)).toMatchObject([{ what: 'vault key' }]);
    expect(scanText(btoa(`${before}${'innocent '.repeat(20)}`))).toEqual([]);
  }
});

test('a file of any size is searched in pieces, and what spans two pieces is found once', async () => {
  const path = join(folder, 'large.log');
  const size = 1 << 20;
  const bytes = Buffer.alloc(3 * size, 0xff);
  bytes.write(SECRET, size - 5);
  bytes.write(VAULT_KEY, 2 * size - 20);
  writeFileSync(path, bytes);
  expect((await scanFile(path, { secrets })).toSorted((a, b) => a.what.localeCompare(b.what))).toEqual([
    { what: 'secret 1', path: `byte ${size - 5}`, eventId: null },
    { what: 'vault key', path: `byte ${2 * size - 20}`, eventId: null },
  ]);
});

test('a database and its WAL are searched as they are on disk', async () => {
  const path = join(folder, 'ledger.db');
  const db = new Database(path);
  db.pragma('journal_mode = WAL');
  db.exec('CREATE TABLE calls (id TEXT, body BLOB)');
  expect(await scanFile(`${path}-wal`, { secrets })).toEqual([]);
  db.prepare('INSERT INTO calls VALUES (?, ?)').run('1', Buffer.from(`{"auth":${JSON.stringify(SECRET)}}`));
  expect(await scanFile(`${path}-wal`, { secrets })).not.toEqual([]);
  db.close();
  expect(await scanFile(path, { secrets })).not.toEqual([]);
});

test('a vault key in UTF-16 or in hex is found like any secret', async () => {
  for (const encoding of ['utf16le', 'hex'] as const) {
    const text = Buffer.from(`before ${VAULT_KEY} after`, encoding === 'hex' ? 'utf8' : encoding);
    const bytes = encoding === 'hex' ? Buffer.from(text.toString('hex')) : text;
    expect(scanText(bytes).map(({ what }) => what)).toEqual(['vault key']);
    expect(scanHistory(event({ details: bytes })).map(({ what }) => what)).toContain('vault key');
  }
});

test('what was compressed is searched: a payload, and a log that was rotated', async () => {
  const packed = gzipSync(`{"key":"${VAULT_KEY}","secret":${JSON.stringify(SECRET)}}`);
  const encoded = { metadata: { encoding: Buffer.from('binary/gzip') }, data: packed };
  const inJson = { metadata: {}, data: packed.toString('base64') };
  for (const found of [encoded, inJson]) {
    const whats = scanHistory(event({ input: found }), { secrets }).map(({ what }) => what);
    expect(new Set(whats)).toEqual(new Set(['vault key', 'secret 1']));
  }
  expect(scanText(packed).map(({ what }) => what)).toEqual(['vault key']);
  const path = join(folder, 'worker.log.gz');
  writeFileSync(path, gzipSync(`${'x'.repeat(3 << 20)} ${VAULT_KEY}\n`));
  expect((await scanFile(path)).map(({ what }) => what)).toEqual(['vault key']);
});

test('what is nested deeper than is looked is a finding, not clean', () => {
  let nested: unknown = { key: VAULT_KEY };
  for (let depth = 0; depth < 40; depth += 1) nested = { nested };
  expect(scanHistory(event({ nested })).map(({ what }) => what)).toEqual(['too deep to be searched']);
  let packed = Buffer.from(VAULT_KEY);
  for (let depth = 0; depth < 40; depth += 1) packed = gzipSync(packed);
  expect(scanHistory(event({ packed })).map(({ what }) => what)).toEqual(['too deep to be searched']);
});

test('a pattern is searched everywhere, whatever its flags', () => {
  expect(scanText('cus_1 and cus_2', { patterns: [/cus_\d/] })).toHaveLength(2);
});
