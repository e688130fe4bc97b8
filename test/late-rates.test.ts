/** A Twilio account that is billed in another currency: what a text costs is in the dollars of the key that sent it. */
import { pino } from 'pino';
import type { DriftLine } from '../proxy/drift/lines';
import type { IssuedKey } from '../proxy/contract';
import { startTestProxy } from './support/proxy';
import { callerOf, until } from './support/rig';
import { startVendorStub } from './support/vendorStub';

const ACCOUNT = `AC${'0a'.repeat(16)}`;
const TEXTS = `/2010-04-01/Accounts/${ACCOUNT}/Messages`;
const sid = `SM${'5'.repeat(32)}`;

const closes: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const close of closes.splice(0)) await close();
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

test('a price in a currency for which the key has no rate is told as such, in the log and by the comparison', async () => {
  const twilio = await startVendorStub();
  const logged: string[] = [];
  const account = { vendor: 'twilio', secret: 'twilio-secret', accountId: ACCOUNT, upstream: twilio.url };
  const proxy = await startTestProxy({
    upstream: twilio.url,
    accounts: { twilio: account },
    late: { firstMs: 5, everyMs: 5, giveUpMs: 1 },
    logger: pino({}, { write: (line: string) => void logged.push(line) }),
  });
  const caller = callerOf(proxy.url);
  closes.push(
    () => caller.close(),
    () => proxy.close(),
    () => twilio.stop(),
  );
  const allowed_endpoints = [`POST ${TEXTS.replace(ACCOUNT, ':id')}.json`];
  const terms = { usd_cap: 1, allowed_endpoints, expires_in: '1h', agent_run_label: 'test' };
  const key = await proxy.client.issueKey({ vendor: 'twilio', ...terms });
  const priced = { sid, status: 'delivered', price: '-0.01', price_unit: 'EUR' };
  twilio.answer(({ method }) =>
    method === 'POST' ? { status: 201, body: { ...priced, price: null } } : { status: 200, body: priced },
  );
  const headers = { authorization: `Basic ${btoa(`${ACCOUNT}:${key.vault_key}`)}` };
  const body = 'To=%2B14155550100&From=%2B15005550006&Body=x';
  expect((await caller.call(null, { path: `${TEXTS}.json`, body, headers })).status).toBe(201);
  const why = 'it is in eur, and the key has no fx rate for that';
  await until('it is given up', () => logged.some((line) => line.includes('stays at its quote') && line.includes(why)));
  const lines: DriftLine[] = [];
  for await (const line of proxy.client.drift({ key_id: key.key_id })) lines.push(line);
  expect(lines.find(({ type }) => type === 'total')).toMatchObject({
    state: 'unreadable',
    gaps: expect.arrayContaining([expect.objectContaining({ reason: why })]),
  });
});
