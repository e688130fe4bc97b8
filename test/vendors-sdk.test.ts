/** The official SDKs of Twilio and Resend, unmodified, through the proxy to stand-ins that keep their own books. */
import { Resend } from 'resend';
// oxlint-disable-next-line import/no-named-as-default
import twilio from 'twilio';
import type { IssuedKey } from '../proxy/contract';
import type { Sandbox } from '../src/sandbox';
import { startSandbox } from '../src/sandbox';
import { type TestProxy } from '../src/testing';
import { ACCOUNT, API_KEY, errorOf, FROM, TO, TOKEN } from './sandbox-twilio-fixture';
import { startTestProxy } from './support/proxy';

const TEAM_KEY = 're_team_0123456789';
let sandbox: Sandbox;
let proxy: TestProxy;

beforeAll(async () => {
  sandbox = await startSandbox({
    twilio: { accountSid: ACCOUNT, authToken: TOKEN, apiKey: API_KEY },
    resend: { apiKey: TEAM_KEY },
  });
  const upstream = sandbox.url;
  proxy = await startTestProxy({
    upstream,
    prices: { twilio: { verify: { sms: 70_000 }, verify_check: 0, lookups: { caller_name: 10_000 } } },
    accounts: {
      twilio: { vendor: 'twilio', secret: API_KEY.secret, user: API_KEY.sid, accountId: ACCOUNT, upstream },
      resend: { vendor: 'resend', secret: TEAM_KEY, upstream },
    },
  });
});
afterAll(async () => {
  await proxy.close();
  await sandbox.stop();
});
beforeEach(() => sandbox.reset());

function issue(vendor: string, usd_cap: number, ...allowed_endpoints: string[]): Promise<IssuedKey> {
  return proxy.client.issueKey({ vendor, usd_cap, allowed_endpoints, expires_in: '1h', agent_run_label: 'test' });
}

const spendOf = async ({ key_id: id }: IssuedKey) => (await proxy.client.getKey(id)).spend;

const SEND = 'POST /2010-04-01/Accounts/:AccountSid/Messages.json';
const FETCH = 'GET /2010-04-01/Accounts/:AccountSid/Messages/:Sid.json';
const CANCEL = 'POST /2010-04-01/Accounts/:AccountSid/Messages/:Sid.json';

function twilioOf(key: IssuedKey, prefix = '/twilio'): twilio.Twilio {
  const client = twilio(ACCOUNT, key.vault_key);
  client.api.baseUrl = `${proxy.url}${prefix}`;
  client.verify.baseUrl = `${proxy.url}${prefix}/verify`;
  client.lookups.baseUrl = `${proxy.url}${prefix}/lookups`;
  return client;
}

describe('twilio-node', () => {
  test.each(['/twilio', ''])('texts are sent up to the cap and no further (at %s/)', async (prefix) => {
    const key = await issue('twilio', 0.1, SEND);
    const client = twilioOf(key, prefix);
    const body = 'ж'.repeat(71);
    for (let sent = 0; sent < 2; sent += 1) await client.messages.create({ to: TO, from: FROM, body });
    const error = await errorOf(client.messages.create({ to: TO, from: FROM, body }));
    expect(error).toMatchObject({
      status: 429,
      code: 99_429,
      details: { keybrake_code: 'cap_exhausted', needed_usd: 0.04 },
    });
    expect(error.message).toMatch(/^cap_exhausted: needs \$0\.04, \$0\.02 left of \$0\.10/);
    expect(sandbox.stats().twilio).toMatchObject({ executedMessages: 2, segments: 4 });
    expect(await spendOf(key)).toMatchObject({ settled_usd: 0.08, held_usd: 0, unknown_usd: 0 });
  });

  test('the quote is never below the bill, and a look at the message settles what it really cost', async () => {
    const key = await issue('twilio', 1, SEND, FETCH);
    const client = twilioOf(key);
    const { sid } = await client.messages.create({ to: TO, from: FROM, body: 'x'.repeat(161) });
    expect(await spendOf(key)).toMatchObject({ settled_usd: 0.04 });
    await client.messages(sid).fetch();
    expect(await spendOf(key)).toMatchObject({ settled_usd: 0.04 });
    await sandbox.advance();
    expect(await client.messages(sid).fetch()).toMatchObject({ price: '-0.02260' });
    expect(await spendOf(key)).toMatchObject({ settled_usd: 0.0226 });
    expect(sandbox.stats().twilio.chargedMicros).toBe(22_600);
  });

  test('a failed text costs its fee, a canceled one nothing', async () => {
    const key = await issue('twilio', 1, SEND, FETCH, CANCEL);
    const client = twilioOf(key);
    const { sid } = await client.messages.create({ to: '+14155550001', from: FROM, body: 'hi' });
    await sandbox.advance();
    await client.messages(sid).fetch();
    expect(await spendOf(key)).toMatchObject({ settled_usd: 0.001 });
    const scheduled = await client.messages.create({
      to: TO,
      messagingServiceSid: `MG${'0c'.repeat(16)}`,
      body: 'x'.repeat(161),
      scheduleType: 'fixed',
      sendAt: new Date(Date.now() + 3_600_000),
    });
    expect(await spendOf(key)).toMatchObject({ settled_usd: 0.041 });
    await client.messages(scheduled.sid).update({ status: 'canceled' });
    expect(await spendOf(key)).toMatchObject({ settled_usd: 0.001 });
  });

  test("Twilio's refusal of a text reaches the caller as it is, and holds nothing", async () => {
    const key = await issue('twilio', 1, SEND);
    const error = await errorOf(twilioOf(key).messages.create({ to: TO, from: FROM, body: 'x'.repeat(1_601) }));
    expect(error).toMatchObject({ status: 400, code: 21_617 });
    expect(await spendOf(key)).toMatchObject({ settled_usd: 0, held_usd: 0, unknown_usd: 0 });
  });

  test('Verify and Lookup are reached on their own paths', async () => {
    const key = await issue(
      'twilio',
      1,
      'POST /verify/v2/Services/:ServiceSid/Verifications',
      'GET /lookups/v2/PhoneNumbers/:PhoneNumber',
    );
    const client = twilioOf(key);
    await client.verify.v2.services(`VA${'0d'.repeat(16)}`).verifications.create({ to: TO, channel: 'sms' });
    expect(await spendOf(key)).toMatchObject({ settled_usd: 0.07 });
    await client.lookups.v2.phoneNumbers(TO).fetch({ fields: 'caller_name' });
    expect(await spendOf(key)).toMatchObject({ settled_usd: 0.08 });
  });
});

describe('resend-node', () => {
  const mail = { from: 'a@b.test', to: ['c@d.test', 'e@f.test'], subject: 's', text: 't' };
  const resendOf = (key: IssuedKey) => new Resend(key.vault_key, { baseUrl: `${proxy.url}/resend` });

  test('e-mails are sent up to the cap and no further', async () => {
    const key = await issue('resend', 0.004, 'POST /emails');
    const client = resendOf(key);
    expect((await client.emails.send({ ...mail, subject: '1' })).error).toBeNull();
    expect((await client.emails.send({ ...mail, subject: '2' })).error).toBeNull();
    const { data, error } = await client.emails.send({ ...mail, subject: '3' });
    expect(data).toBeNull();
    expect(error).toMatchObject({ statusCode: 429, name: 'cap_exhausted' });
    expect(sandbox.emails()).toHaveLength(2);
    expect(await spendOf(key)).toMatchObject({ settled_usd: 0.0036, held_usd: 0, unknown_usd: 0 });
  });

  test('a batch in permissive mode costs what was sent', async () => {
    const key = await issue('resend', 1, 'POST /emails/batch');
    const bad = { ...mail, from: '' };
    const { data } = await resendOf(key).batch.send([mail, bad], { batchValidation: 'permissive' });
    expect(data).toMatchObject({ errors: [{ index: 1 }] });
    expect(await spendOf(key)).toMatchObject({ settled_usd: 0.0018 });
  });

  test('the same key sends once, and canceling gives the money back', async () => {
    const key = await issue('resend', 1, 'POST /emails', 'POST /emails/:id/cancel');
    const client = resendOf(key);
    const later = { ...mail, scheduledAt: new Date(Date.now() + 3_600_000).toISOString() };
    const first = await client.emails.send(later, { idempotencyKey: 'order-1' });
    const again = await client.emails.send(later, { idempotencyKey: 'order-1' });
    expect(again.data).toEqual(first.data);
    expect(sandbox.emails()).toHaveLength(1);
    expect(await spendOf(key)).toMatchObject({ settled_usd: 0.0018 });
    await client.emails.cancel(first.data?.id ?? '');
    expect(await spendOf(key)).toMatchObject({ settled_usd: 0 });
  });

  test('an answer that is lost is found by repeating the call', async () => {
    const key = await issue('resend', 1, 'POST /emails');
    const client = resendOf(key);
    sandbox.setFaults({ dropAfter: { every: 1 } }, 'resend');
    const lost = await client.emails.send(mail, { idempotencyKey: 'order-2' });
    expect(lost.error).toMatchObject({ name: 'outcome_unknown', statusCode: 504 });
    sandbox.setFaults({}, 'resend');
    expect((await client.emails.send(mail, { idempotencyKey: 'order-2' })).error).toBeNull();
    expect(sandbox.emails()).toHaveLength(1);
    expect(await spendOf(key)).toMatchObject({ settled_usd: 0.0018, unknown_usd: 0 });
  });
});
