/** A vendor of one's own whose paid calls are not all POST: each may be sent again, so each bears its key. */
import type { CustomVendor } from '../proxy/vendors/custom';
import type { TestProxy } from '../src/testing';
import { startTestProxy } from './support/proxy';
import { startVendorStub, type VendorStub } from './support/vendorStub';

const METHODS = ['POST', 'PUT', 'PATCH', 'DELETE'] as const;
const MAIL: CustomVendor = {
  origin: 'https://api.mail.example',
  auth: { kind: 'bearer' },
  idempotencyHeader: 'x-request-key',
  error: { message: '{message}' },
  routes: METHODS.map((method) => ({ method, path: '/v1/mails/:id', body: 'json', price: { micros: 10_000 } })),
};

let stub: VendorStub;
let proxy: TestProxy;
beforeAll(async () => {
  stub = await startVendorStub();
  const accounts = { mail: { vendor: 'mail', secret: 'mail-secret', upstream: stub.url } };
  proxy = await startTestProxy({ upstream: stub.url, vendors: { mail: MAIL }, accounts });
});
afterAll(async () => {
  await proxy.close();
  await stub.stop();
});

test.each(METHODS)('a paid %s bears the same idempotency key whenever it is sent', async (method) => {
  stub.script({ status: 500, body: {} }, { status: 500, body: {} });
  const key = await proxy.client.issueKey({
    vendor: 'mail',
    usd_cap: 1,
    allowed_endpoints: [`${method} /v1/mails/:id`],
    expires_in: '1h',
    agent_run_label: 'test',
  });
  const headers = {
    authorization: `Bearer ${key.vault_key}`,
    'content-type': 'application/json',
    'keybrake-record-id': 'rec-1',
  };
  for (let tries = 0; tries < 2; tries += 1) {
    await fetch(`${proxy.url}/mail/v1/mails/m1`, { method, headers, body: '{}' });
  }
  const [first, second] = stub.seen.map((one) => one.headers['x-request-key']);
  expect(first).toMatch(/^kb1_[0-9a-f]{64}$/);
  expect(second).toBe(first);
});
