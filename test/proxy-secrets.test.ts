/** Promise 4, never leaked: after every kind of call, neither the vendor's secret nor a vault key is written anywhere. */
import { secretForms, withoutSecret } from '../proxy/answers';
import { createVendors } from '../proxy/vendors';
import { scanText } from '../src/testing';
import { type Rig, startRig } from './support/rig';
import { intent, startVendorStub, stripeError, type VendorStub } from './support/vendorStub';

const SECRET = 'sk_test_51SecretOfTheVendor0123456789';

let stub: VendorStub;
let rig: Rig;
const vaultKeys: string[] = [];
beforeAll(async () => {
  stub = await startVendorStub();
  rig = await startRig({ proxy: { upstream: stub.url, secret: SECRET, upstreamTimeoutMs: 300 } });
  await everyKindOfCall();
});
afterAll(async () => {
  await rig.close();
  await stub.stop();
});

/** Paid, replayed, refused, declined, unknown, unauthorised and revoked; the vendor echoes the secret where it can. */
async function everyKindOfCall(): Promise<void> {
  const key = await rig.issue({ usd_cap: 50, metadata: { team: 'billing' } }).then((issued) => {
    vaultKeys.push(issued.vault_key);
    return issued;
  });
  const echo = `Invalid API Key provided: ${SECRET}`;
  stub.script(
    { status: 401, body: { error: { type: 'invalid_request_error', code: SECRET, message: echo } } },
    stripeError(500, 'api_error', { doc_url: `https://x/?key=${SECRET}` }),
    { status: 200, body: intent(500, 'echoes', { description: echo }), headers: { 'request-id': SECRET } },
    { status: 200, body: `${SECRET} is no JSON` },
    'cut',
    'no answer',
  );
  for (let call = 0; call < 6; call += 1) await rig.call(key.vault_key, { key: `k${call}` });
  await rig.call(key.vault_key, { key: 'k2' });
  await rig.call(key.vault_key, { body: 'amount=-1' });
  await rig.call(key.vault_key, { path: '/stripe/v1/ephemeral_keys' });
  await rig.call(key.vault_key, { path: `/stripe/v1/${key.vault_key}` });
  await rig.call(key.vault_key, { key: `run of ${key.vault_key}` });
  await rig.call(key.vault_key, {
    headers: { 'keybrake-context': key.vault_key, 'keybrake-record-id': key.vault_key },
  });
  await rig.call(SECRET);
  const { vault_key: child } = await rig.issue({ parent_key_id: key.key_id });
  vaultKeys.push(child, (await rig.client.tokenFor(key.key_id)).vault_key);
  await rig.call(child, { headers: { 'keybrake-context': 'nothing secret' } });
  await rig.client.revokeKey(key.key_id, 'stop');
  await rig.call(key.vault_key, { key: 'k1' });
}

const hidden = () => ({ secrets: [SECRET, ...vaultKeys] });

test('the vendor was really given the secret, and never a vault key', () => {
  expect(stub.seen.length).toBeGreaterThanOrEqual(6);
  for (const { headers } of stub.seen) expect(headers.authorization).toBe(`Bearer ${SECRET}`);
  expect(scanText(JSON.stringify(stub.seen), { secrets: vaultKeys })).toEqual([]);
});

test('no answer to a caller holds the secret, though the vendor echoed it in errors, objects and headers', () => {
  expect(rig.heard.length).toBeGreaterThan(20);
  expect(scanText(rig.heard.join('\n'), { secrets: [SECRET] })).toEqual([]);
});

test('no audit row, key, summary or metric holds the secret or a vault key', async () => {
  const texts: string[] = [];
  for await (const row of rig.client.streamCalls({})) texts.push(JSON.stringify(row));
  expect(texts.length).toBeGreaterThan(10);
  for await (const chunk of await rig.client.exportCalls({}, 'text/csv')) texts.push(String(chunk));
  texts.push(JSON.stringify(await rig.client.listKeys()), JSON.stringify(await rig.client.summary('test')));
  texts.push(await (await fetch(`${rig.proxy.url}/metrics`)).text());
  expect(scanText(texts.join('\n'), hidden())).toEqual([]);
});

test('no byte of the ledger, its WAL and its log, and no row of it, is of the secret or a vault key', async () => {
  const texts = await rig.proxy.ledgerTexts();
  const files = ['keybrake.db', 'keybrake.db-wal', 'keybrake.db-log.0'];
  const parts = texts.has('calls') ? ['calls', 'claims', 'keys', 'events'] : files;
  expect([...texts.keys()]).toEqual(expect.arrayContaining(parts));
  for (const [name, text] of texts) expect({ name, found: scanText(text, hidden()) }).toEqual({ name, found: [] });
});

test('no line of the log, down to trace, holds the secret or a vault key', () => {
  expect(rig.logged.length).toBeGreaterThan(0);
  expect(scanText(rig.logged.join(''), hidden())).toEqual([]);
});

test.each(['twilio', 'resend', 'stripe'])('what %s echoes of the credentials that it was sent is not shown', (id) => {
  const vendor = createVendors().get(id)!;
  const credential = { secret: SECRET, accountId: 'AC0123456789' };
  const account = { secretForms: secretForms(vendor, credential) };
  const header = Object.values(vendor.authorization(credential)).join();
  const echo = `bad ${header} or ${header.replace(/=+$/, '')} or ${SECRET}`;
  const sent = withoutSecret({ kind: 'answered', status: 400, headers: { x: echo }, body: Buffer.from(echo) }, account);
  const shown = sent.kind === 'answered' ? [sent.body.toString(), String(sent.headers['x'])] : [];
  for (const text of shown)
    expect(text).toMatch(/^bad (?:Basic|Bearer) \[secret\]=* or (?:Basic|Bearer) \[secret\] or \[secret\]$/);
});
