/** What a worker must know of the vendors to call them: their routes, their accounts, and in whose words it is refused. */
import { KeybrakeClient } from '../proxy/client';
import type { IssuedKey } from '../proxy/contract';
import type { CustomVendor } from '../proxy/vendors/custom';
import { type TestProxy } from '../src/testing';
import { startTestProxy } from './support/proxy';

const AC = `AC${'0'.repeat(32)}`;
const SEND = 'POST /2010-04-01/Accounts/:AccountSid/Messages.json';
const upstream = 'http://127.0.0.1:9';
const FAX: CustomVendor = {
  origin: 'https://api.fax.example',
  auth: { kind: 'bearer' },
  error: { error: { code: '{code}', message: '{message}' } },
  routes: [{ method: 'POST', path: '/v1/letters', body: 'json', price: { micros: 10_000 } }],
};

let proxy: TestProxy;
beforeAll(async () => {
  proxy = await startTestProxy({
    upstream,
    vendors: { fax: FAX },
    accounts: {
      twilio: { vendor: 'twilio', secret: 'twilio-secret', accountId: AC, upstream },
      fax: { vendor: 'fax', secret: 'fax-secret', upstream },
    },
  });
});
afterAll(() => proxy.close());

function issue(vendor: string, endpoint: string): Promise<IssuedKey> {
  const rest = { usd_cap: 1, expires_in: '1h', agent_run_label: 'test' };
  return proxy.client.issueKey({ vendor, allowed_endpoints: [endpoint], ...rest });
}

test('a worker is told every vendor with its accounts and routes', async () => {
  const worker = new KeybrakeClient({ url: proxy.url, apiKey: proxy.workerKey });
  const listed = new Map((await worker.listVendors()).map((view) => [view.vendor, view]));
  await worker.close();
  expect([...listed.keys()]).toEqual(['stripe', 'twilio', 'resend', 'fax']);
  expect(listed.get('stripe')).toMatchObject({ accounts: [] });
  expect(listed.get('fax')).toEqual({
    vendor: 'fax',
    accounts: ['fax'],
    routes: [{ endpoint: 'POST /v1/letters', body: 'json' }],
  });
  const lookup = 'GET /lookups/v2/PhoneNumbers/:PhoneNumber';
  expect(listed.get('twilio')?.routes).toContainEqual({ endpoint: lookup, body: 'flat' });
  expect(listed.get('resend')?.routes).toContainEqual({ endpoint: 'PATCH /emails/:id', body: 'json' });
});

test("a key of Twilio's names the account that its paths carry", async () => {
  const key = await issue('twilio', SEND);
  expect(key.account_id).toBe(AC);
  expect(await proxy.client.tokenFor(key.key_id)).toMatchObject({ account_id: AC });
  expect(await issue('fax', 'POST /v1/letters')).toMatchObject({ account_id: null });
});

test.each([
  ['stripe', { error: { code: 'account_not_allowed', type: 'invalid_request_error' } }],
  ['resend', { name: 'account_not_allowed' }],
  ['fax', { error: { code: 'account_not_allowed' } }],
])('a call to %s with the key of another vendor is refused in the shape that its SDK reads', async (prefix, body) => {
  const { vault_key: vaultKey } = await issue('twilio', SEND);
  const headers = { authorization: `Bearer ${vaultKey}` };
  const reply = await fetch(`${proxy.url}/${prefix}/v1/anything`, { method: 'POST', headers });
  expect(reply.status).toBe(403);
  expect(reply.headers.get('keybrake-code')).toBe('account_not_allowed');
  expect(await reply.json()).toMatchObject(body);
});
