/** A Twilio account that is billed in another currency: what a text costs is in the dollars of the key that sent it. */
import type { IssuedKey } from '../proxy/contract';
import { startTestProxy } from './support/proxy';
import { callerOf } from './support/rig';
import { startVendorStub } from './support/vendorStub';

const ACCOUNT = `AC${'0a'.repeat(16)}`;
const TEXTS = `/2010-04-01/Accounts/${ACCOUNT}/Messages`;
const sid = `SM${'5'.repeat(32)}`;

const closes: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const close of closes) await close();
});

test('a key with a lower rate that reads a text does not lower what the key that sent it pays', async () => {
  const twilio = await startVendorStub();
  const account = { vendor: 'twilio', secret: 'twilio-secret', accountId: ACCOUNT, upstream: twilio.url };
  // Nobody looks for the price.
  const late = { everyMs: 3_600_000 };
  const proxy = await startTestProxy({ upstream: twilio.url, accounts: { twilio: account }, late });
  const caller = callerOf(proxy.url);
  const { call } = caller;
  closes.push(
    () => caller.close(),
    () => proxy.close(),
    () => twilio.stop(),
  );
  const issue = (eur: number) =>
    proxy.client.issueKey({
      vendor: 'twilio',
      usd_cap: 1,
      fx: { eur },
      allowed_endpoints: ['', '/:Sid'].map(
        (end) => `${end ? 'GET' : 'POST'} ${TEXTS.replace(ACCOUNT, ':id')}${end}.json`,
      ),
      expires_in: '1h',
      agent_run_label: 'test',
    });
  const [payer, reader] = [await issue(1.2), await issue(0.01)];
  const basic = (key: IssuedKey) => ({ authorization: `Basic ${btoa(`${ACCOUNT}:${key.vault_key}`)}` });

  twilio.script({ status: 201, body: { sid, status: 'queued', price: null } });
  const body = 'To=%2B14155550100&From=%2B15005550006&Body=x';
  expect((await call(null, { path: `${TEXTS}.json`, body, headers: basic(payer) })).status).toBe(201);
  twilio.script({ status: 200, body: { sid, status: 'delivered', price: '-0.01', price_unit: 'EUR' } });
  const read = { method: 'GET', path: `${TEXTS}/${sid}.json`, headers: basic(reader) } as const;
  expect((await call(null, read)).status).toBe(200);
  expect((await proxy.client.getKey(payer.key_id)).spend.settled_usd).toBe(0.02);
});
