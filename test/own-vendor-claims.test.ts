/** What the ledger takes for one call of a vendor of one's own: the header for idempotency keys, and the record id. */
import { startSandbox, type Sandbox } from '../src/testing';
import { startTestProxy } from './support/proxy';

let sandbox: Sandbox;
let proxy: Awaited<ReturnType<typeof startTestProxy>>;

beforeAll(async () => {
  sandbox = await startSandbox();
  proxy = await startTestProxy({
    upstream: sandbox.url,
    vendors: {
      mail: {
        origin: sandbox.url,
        auth: { kind: 'bearer' },
        idempotencyHeader: 'x-request-key',
        error: { message: '{message}' },
        routes: [{ method: 'POST', path: '/v1/mails', body: 'json', price: { micros: 10_000 } }],
      },
    },
    accounts: { mail: { vendor: 'mail', secret: 'mail-secret', upstream: sandbox.url } },
  });
});
afterAll(async () => {
  await proxy.close();
  await sandbox.stop();
});

test.each(['x-request-key', 'Idempotency-Key', 'Keybrake-Record-Id'])(
  'a vault key in %s is refused: two of them would be taken for one, and the second mail not be sent',
  async (name) => {
    const body = { vendor: 'mail', usd_cap: 1, allowed_endpoints: ['POST /v1/mails'], expires_in: '1h' };
    for (const n of [1, 2]) {
      const key = await proxy.client.issueKey({ ...body, agent_run_label: `run ${n}`, job_id: 'one job' });
      const headers = { authorization: `Bearer ${key.vault_key}`, 'content-type': 'application/json' };
      const init = { method: 'POST', headers: { ...headers, [name]: key.vault_key }, body: '{}' };
      const reply = await fetch(`${proxy.url}/mail/v1/mails`, init);
      const { message } = (await reply.json()) as { message: string };
      expect([reply.status, message]).toEqual([400, expect.stringContaining(`a vault key in the ${name}`)]);
    }
    expect(sandbox.requests()).toHaveLength(0);
  },
);
