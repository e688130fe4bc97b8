/** An independent judge for Twilio and Resend: `emulate`, by Vercel, behind the real proxy. */
import { Resend } from 'resend';
// oxlint-disable-next-line import/no-named-as-default
import twilio from 'twilio';
import type { IssuedKey } from '../proxy/contract';
import { type TestProxy } from '../src/testing';
import { startTestProxy } from './support/proxy';
import { type Judge, startEmulate } from './support/judges';

const ACCOUNT = `AC${'0'.repeat(32)}`;
const TOKEN = 'twilio_test_auth_token';
const FROM = '+15551234567';
const TO = '+14155550100';

let judge: Judge;
let proxies: TestProxy[];

/** Two proxies before the same vendor account, each with a ledger of its own: what one has done the other must ask. */
async function start(vendor: 'twilio' | 'resend'): Promise<void> {
  judge = await startEmulate(vendor);
  const secret = vendor === 'twilio' ? TOKEN : 're_judged_0123456789';
  const account = { vendor, secret, upstream: judge.url, ...(vendor === 'twilio' && { accountId: ACCOUNT }) };
  const options = { upstream: judge.url, accounts: { [vendor]: account } };
  proxies = [await startTestProxy(options), await startTestProxy(options)];
}

afterEach(async () => {
  await Promise.all(proxies.map((proxy) => proxy.close()));
  await judge.close();
});

async function issue(proxy: TestProxy, vendor: string, ...allowed_endpoints: string[]): Promise<IssuedKey> {
  return proxy.client.issueKey({ vendor, usd_cap: 1, allowed_endpoints, expires_in: '1h', agent_run_label: 'test' });
}

const spendOf = async (proxy: TestProxy, { key_id: id }: IssuedKey) => (await proxy.client.getKey(id)).spend;

describe('Twilio, as emulate understands it', () => {
  beforeEach(() => start('twilio'));
  const MESSAGES = '/2010-04-01/Accounts/:AccountSid/Messages.json';

  test('takes what is forwarded, and lists it once however often its caller repeats it', async () => {
    const [proxy] = proxies as [TestProxy];
    const key = await issue(proxy, 'twilio', `POST ${MESSAGES}`, `GET ${MESSAGES}`);
    const client = twilio(ACCOUNT, key.vault_key);
    client.api.baseUrl = `${proxy.url}/twilio`;
    const sent = await client.messages.create({ to: TO, from: FROM, body: 'x'.repeat(161) });
    expect(sent).toMatchObject({ numSegments: '2', price: null, from: FROM });
    expect(await spendOf(proxy, key)).toMatchObject({ settled_usd: 0.04, held_usd: 0, unknown_usd: 0 });

    const text = (body: string) =>
      fetch(`${proxy.url}/twilio${MESSAGES.replace(':AccountSid', ACCOUNT)}`, {
        method: 'POST',
        headers: {
          authorization: `Basic ${Buffer.from(`${ACCOUNT}:${key.vault_key}`).toString('base64')}`,
          'content-type': 'application/x-www-form-urlencoded',
          'idempotency-key': 'order-1',
        },
        body: new URLSearchParams({ To: TO, From: FROM, Body: body }).toString(),
      });
    const [first, again, other] = [await text('hi'), await text('hi'), await text('ho')];
    expect([first.status, again.status, other.status]).toEqual([201, 201, 409]);
    expect(again.headers.get('idempotent-replayed')).toBe('true');
    const { sid } = (await first.json()) as { sid: string };
    expect(await again.json()).toMatchObject({ sid });
    expect(await other.json()).toMatchObject({ details: { keybrake_code: 'idempotency_mismatch' } });
    expect((await client.messages.list()).map((message) => message.sid).toSorted()).toEqual([sent.sid, sid].toSorted());
    expect(await spendOf(proxy, key)).toMatchObject({ settled_usd: 0.06 });
  });

  test('refuses what it does not take, and nothing is held for it', async () => {
    const [proxy] = proxies as [TestProxy];
    const key = await issue(proxy, 'twilio', `POST ${MESSAGES}`);
    const client = twilio(ACCOUNT, key.vault_key);
    client.api.baseUrl = `${proxy.url}/twilio`;
    const foreign = { to: TO, from: '+15550001111', body: 'hi' };
    await expect(client.messages.create(foreign)).rejects.toMatchObject({ status: 400, code: 21_606 });
    expect(await spendOf(proxy, key)).toMatchObject({ settled_usd: 0, held_usd: 0, unknown_usd: 0 });
  });
});

describe('Resend, as emulate understands it', () => {
  beforeEach(() => start('resend'));
  const mail = { from: 'Acme <a@b.test>', to: ['c@d.test', 'e@f.test'], cc: 'g@h.test', subject: 's', text: 't' };

  test('sends once under one idempotency key, from whichever ledger it is asked, and refuses another e-mail', async () => {
    const [proxy, other] = proxies as [TestProxy, TestProxy];
    const clients = [];
    for (const each of [proxy, other]) {
      const key = await issue(each, 'resend', 'POST /emails', 'GET /emails');
      clients.push({ key, client: new Resend(key.vault_key, { baseUrl: `${each.url}/resend` }) });
    }
    const [{ key, client }, { key: second, client: stranger }] = clients as [(typeof clients)[0], (typeof clients)[0]];
    const sent = await client.emails.send(mail, { idempotencyKey: 'order-1' });
    expect(sent.error).toBeNull();
    const again = await client.emails.send(mail, { idempotencyKey: 'order-1' });
    // This ledger has never seen the key: it is the vendor that recognises it.
    const vendors = await stranger.emails.send(mail, { idempotencyKey: 'order-1' });
    expect([again.data?.id, vendors.data?.id]).toEqual([sent.data?.id, sent.data?.id]);
    const mismatch = { ...mail, subject: 'other' };
    const [ours, theirs] = [
      await client.emails.send(mismatch, { idempotencyKey: 'order-1' }),
      await stranger.emails.send(mismatch, { idempotencyKey: 'order-1' }),
    ];
    expect(ours.error).toMatchObject({ name: 'idempotency_mismatch', statusCode: 409 });
    expect(theirs.error).toMatchObject({ statusCode: 409 });
    const listed = await client.emails.list();
    expect(listed.data?.data.map(({ id }) => id)).toEqual([sent.data?.id]);
    expect(await spendOf(proxy, key)).toMatchObject({ settled_usd: 0.0027, held_usd: 0, unknown_usd: 0 });
    // A replay is not told apart from a sending: in doubt the money is counted.
    expect(await spendOf(other, second)).toMatchObject({ settled_usd: 0.0027 });
  });

  test('takes a batch of 100', async () => {
    const [proxy] = proxies as [TestProxy];
    const key = await issue(proxy, 'resend', 'POST /emails/batch', 'GET /emails');
    const client = new Resend(key.vault_key, { baseUrl: `${proxy.url}/resend` });
    const batch = Array.from({ length: 100 }, () => mail);
    expect((await client.batch.send(batch)).data?.data).toHaveLength(100);
    expect(await spendOf(proxy, key)).toMatchObject({ settled_usd: 0.27, held_usd: 0, unknown_usd: 0 });
  });
});
