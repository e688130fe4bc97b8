/** A proxy that stops does not read on at the vendor: what it does not find now is looked for after the next start. */
import { startTestProxy } from './support/proxy';
import { until } from './support/rig';
import { startVendorStub, type VendorStub } from './support/vendorStub';

let stub: VendorStub;
beforeEach(async () => void (stub = await startVendorStub()));
afterEach(() => stub.stop());

const event = (id: string) => ({ id, object: 'event', request: { idempotency_key: 'another' }, data: { object: {} } });

test('a search of many pages ends when the proxy stops', async () => {
  stub.answer(({ method }) => {
    if (method === 'POST') return { status: 500, body: {} };
    return { status: 200, body: { object: 'list', has_more: true, data: [event('evt_1')] } };
  });
  const proxy = await startTestProxy({
    upstream: stub.url,
    accounts: { stripe: { vendor: 'stripe', secret: 'sk_test_stop_0123456789', upstream: stub.url, maxRps: 2 } },
    upstreamTimeoutMs: 400,
    reconcile: { everyMs: 50, marginMs: 100, firstWaitMs: 100, lookForMs: 60_000 },
  });
  const key = await proxy.client.issueKey({
    vendor: 'stripe',
    usd_cap: 10,
    allowed_endpoints: ['POST /v1/payment_intents'],
    expires_in: '1h',
    agent_run_label: 'test',
  });
  const headers = {
    authorization: `Bearer ${key.vault_key}`,
    'content-type': 'application/x-www-form-urlencoded',
    'idempotency-key': 'k',
  };
  const url = `${proxy.url}/v1/payment_intents`;
  const reply = await fetch(url, { method: 'POST', headers, body: 'amount=500&currency=usd' });
  expect(reply.status).toBe(504);
  await proxy.client.revokeKey(key.key_id, 'test');
  await until('it is looked up', () => (stub.seen.some(({ method }) => method === 'GET') ? true : undefined));
  const read = stub.seen.length;
  await proxy.close();
  expect(stub.seen.length - read).toBeLessThanOrEqual(1);
});
