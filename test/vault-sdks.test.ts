/** `vault()`: the unmodified SDKs of all three vendors, bound to the key, the record and its idempotency key. */
import { vault } from '../activities';
import { FAILURES } from '../activities/codes';
import { withSdk } from '../activities/sdk';
import { KeybrakeClient } from '../proxy/client';
import type { IssuedKey } from '../proxy/contract';
import { type Sandbox, startSandbox, type TestProxy } from '../src/testing';
import { startTestProxy } from './support/proxy';
import { activitiesAt, type InActivity } from './support/activity';
import { until } from './support/rig';

const FROM = '+15005550006';
const TO = '+14155550100';
const TEXT = 'POST /2010-04-01/Accounts/{AccountSid}/Messages.json';
const CHARGE = 'POST /v1/payment_intents';

let sandbox: Sandbox;
let proxy: TestProxy;
let worker: KeybrakeClient;
let at: ReturnType<typeof activitiesAt>;
const inActivity: InActivity = (key, work) => at.inActivity(key, work);

beforeAll(async () => {
  sandbox = await startSandbox();
  proxy = await startTestProxy({
    upstream: sandbox.url,
    prices: { twilio: { verify: { sms: 70_000 }, verify_check: 0, lookups: { caller_name: 10_000 } } },
  });
  worker = new KeybrakeClient({ url: proxy.url, apiKey: proxy.workerKey });
  at = activitiesAt(proxy);
});
afterAll(async () => {
  await at.close();
  await worker.close();
  await proxy.close();
  await sandbox.stop();
});
beforeEach(() => sandbox.reset());

let jobs = 0;
function issue(vendor: string, allowed_endpoints: string[], more: object = {}): Promise<IssuedKey> {
  const job_id = `job-${(jobs += 1)}`;
  const terms = { usd_cap: 100, expires_in: '1h', agent_run_label: 'test', job_id };
  return worker.issueKey({ vendor, allowed_endpoints, ...terms, ...more });
}

const callsOf = async ({ key_id: id }: IssuedKey) => (await worker.listCalls({ key_id: id })).items;
type Pay = (id: string, suffix?: string) => Promise<unknown>;
const textTo: Pay = (id, suffix) => vault(id, suffix).twilio.messages.create({ to: TO, from: FROM, body: `hi ${id}` });
const mailTo: Pay = (id, suffix) =>
  vault(id, suffix).resend.emails.send({ from: 'a@b.test', to: [`${id}@d.test`], subject: 's', text: 't' });
const charge: Pay = (id, suffix) =>
  vault(id, suffix).stripe.paymentIntents.create({ amount: 500, currency: 'usd', customer: id, confirm: true });
const executed = () => {
  const { stripe, twilio, resend } = sandbox.stats();
  return [stripe.executedCharges, twilio.executedMessages, resend.emails];
};

// prettier-ignore
const VENDORS = [
  { vendor: 'stripe', endpoint: CHARGE,         call: charge, counts: [1, 0, 0] },
  { vendor: 'twilio', endpoint: TEXT,           call: textTo, counts: [0, 1, 0] },
  { vendor: 'resend', endpoint: 'POST /emails', call: mailTo, counts: [0, 0, 1] },
] as const;

describe.each(VENDORS)('$vendor', ({ vendor, endpoint, call, counts }) => {
  test('a call has the record, its idempotency key and its caller in the audit log', async () => {
    const key = await issue(vendor, [endpoint]);
    await inActivity(key, () => call('cus_1'));
    const [row] = await callsOf(key);
    expect(row).toMatchObject({ state: 'settled', record_id: 'cus_1', workflow_id: 'test', attempt: 1 });
    expect(row).toMatchObject({ idempotency_key: `${key.job_id}:cus_1`, vendor_id: expect.stringMatching(/\w/) });
  });

  test('the same record is executed once, and with a suffix once more', async () => {
    const key = await issue(vendor, [endpoint]);
    await inActivity(key, () => call('cus_1'));
    await inActivity(key, () => call('cus_1'));
    expect(executed()).toEqual(counts);
    await inActivity(key, () => call('cus_1', 'second'));
    expect(executed()).toEqual(counts.map((count) => count * 2));
    expect((await callsOf(key)).map(({ state }) => state).toSorted()).toEqual(['replayed', 'settled', 'settled']);
  });

  test.each(VENDORS.filter((other) => other.vendor !== vendor))(
    'the SDK of $vendor with a key for it fails, naming both',
    async ({ call: wrong, vendor: other }) => {
      const key = await issue(vendor, [endpoint]);
      const error: unknown = await inActivity(key, () => wrong('cus_1')).catch((thrown: unknown) => thrown);
      expect(String(error)).toContain(`the path is ${other}'s and the vault key is for ${vendor}`);
      expect(executed()).toEqual([0, 0, 0]);
    },
  );
});

describe('a lease that lapsed while the guard was dead', () => {
  const LAPSED = [
    ...VENDORS,
    {
      vendor: 'stripe',
      endpoint: CHARGE,
      call: async (id: string) => {
        const body = new URLSearchParams({ amount: '500', currency: 'usd', customer: id, confirm: 'true' });
        const reply = await vault(id).fetch('/v1/payment_intents', { method: 'POST', body });
        expect(reply.status).toBe(200);
      },
    },
  ];

  test('is renewed, and the call sent once more', async () => {
    const keys = await Promise.all(LAPSED.map(({ vendor, endpoint }) => issue(vendor, [endpoint], { lease: '10s' })));
    const calls = (id: string) => LAPSED.map(({ call }, index) => inActivity(keys[index]!, async () => call(id)));
    // The vault keys are known to the worker by then.
    await Promise.all(calls('before'));
    const isLapsed = async ({ key_id: id }: IssuedKey) => (await worker.getKey(id)).state === 'expired';
    for (const key of keys) await until('the lease lapses', async () => (await isLapsed(key)) || undefined);
    await Promise.all(calls('after'));
    expect(executed()).toEqual([4, 2, 2]);
    for (const key of keys) {
      const rows = await callsOf(key);
      expect(rows.filter(({ code }) => code === 'key_expired')).toHaveLength(1);
      expect(rows.filter(({ state }) => state === 'settled')).toHaveLength(2);
    }
  }, 40_000);

  test('is not renewed where the key was revoked', async () => {
    const key = await issue('twilio', [TEXT]);
    await inActivity(key, () => textTo('before'));
    await worker.revokeKey(key.key_id, 'test');
    await expect(inActivity(key, () => textTo('after'))).rejects.toThrow(/^key_revoked/);
    expect(executed()).toEqual([0, 1, 0]);
  });
});

describe('twilio', () => {
  const SERVICE = `VA${'0d'.repeat(16)}`;

  test('reaches every product, pages through lists, and nobody needs to know the account', async () => {
    const key = await issue('twilio', [
      TEXT,
      TEXT.replace('POST', 'GET'),
      'POST /verify/v2/Services/:ServiceSid/Verifications',
      'GET /lookups/v2/PhoneNumbers/:PhoneNumber',
    ]);
    await inActivity(key, async () => {
      for (const id of ['a', 'b', 'c']) await textTo(id);
      const { twilio } = vault('list');
      expect(await twilio.messages.list({ pageSize: 1 })).toHaveLength(3);
      await twilio.verify.v2.services(SERVICE).verifications.create({ to: TO, channel: 'sms' });
      const { twilio: lookups } = vault('look');
      await lookups.lookups.v2.phoneNumbers(TO).fetch({ fields: 'caller_name' });
      await lookups.lookups.v2.phoneNumbers(TO).fetch({ fields: 'caller_name' });
    });
    expect(sandbox.stats().twilio).toMatchObject({ executedMessages: 3, verificationAttempts: 1, lookups: 1 });
    expect((await worker.getKey(key.key_id)).spend).toMatchObject({ settled_usd: 0.14, unknown_usd: 0 });
  });

  test("takes the key's own account by name, and no other", async () => {
    const key = await issue('twilio', [TEXT]);
    const account = key.account_id ?? '';
    const send = (sid: string) => () =>
      vault('cus_1').twilio.api.v2010.accounts(sid).messages.create({ to: TO, from: FROM, body: 'hi' });
    await inActivity(key, send(account));
    await expect(inActivity(key, send(`AC${'9'.repeat(32)}`))).rejects.toThrow(/^account_not_allowed/);
    expect(executed()).toEqual([0, 1, 0]);
  });

  test('fetch takes the account from the key, and the addresses of all products', async () => {
    const key = await issue('twilio', [TEXT, 'GET /lookups/v2/PhoneNumbers/:PhoneNumber']);
    const body = new URLSearchParams({ To: TO, From: FROM, Body: 'hi' });
    const path = '/2010-04-01/Accounts/{AccountSid}/Messages.json';
    const statuses = await inActivity(key, async () => {
      const { fetch } = vault('cus_1');
      const first = await fetch(path, { method: 'POST', body });
      const again = await fetch(`https://api.twilio.com${path}`, { method: 'POST', body });
      const looked = await fetch(`https://lookups.twilio.com/v2/PhoneNumbers/${TO}?Fields=caller_name`);
      expect(again.headers.get('idempotent-replayed')).toBe('true');
      await expect(fetch('https://evil.example/x')).rejects.toThrow(/a path of the vendor's/);
      return [first.status, looked.status];
    });
    expect(statuses).toEqual([201, 200]);
    expect(executed()).toEqual([0, 1, 0]);
  });
});

describe('resend', () => {
  test("a refusal is thrown, since the SDK's own error could be overlooked; Resend's own is returned", async () => {
    const key = await issue('resend', ['POST /emails'], { usd_cap: 0.001 });
    const bad = await inActivity(key, () =>
      vault('bad').resend.emails.send({ from: '', to: ['x@d.test'], subject: 's', text: 't' }),
    );
    expect(bad.error).toMatchObject({ name: 'invalid_from_address' });
    expect(await inActivity(key, () => mailTo('one'))).toMatchObject({ error: null });
    await expect(inActivity(key, () => mailTo('two'))).rejects.toMatchObject({
      type: 'keybrake.cap_exhausted',
      nonRetryable: true,
    });
    sandbox.setFaults({ dropAfter: { every: 1 } }, 'resend');
    const other = await issue('resend', ['POST /emails']);
    await expect(inActivity(other, () => mailTo('three'))).rejects.toMatchObject({
      type: 'keybrake.outcome_unknown',
      nonRetryable: false,
    });
    sandbox.setFaults({}, 'resend');
    expect(await inActivity(other, () => mailTo('three'))).toMatchObject({ error: null });
    expect(sandbox.emails()).toHaveLength(2);
  });

  test('a proxy that does not answer is a failure that is tried again', async () => {
    const short = await startTestProxy({ upstream: sandbox.url });
    const away = activitiesAt(short);
    const terms = { usd_cap: 1, expires_in: '1h', agent_run_label: 'test' };
    const client = new KeybrakeClient({ url: short.url, apiKey: short.workerKey });
    const key = await client.issueKey({ vendor: 'resend', allowed_endpoints: ['POST /emails'], ...terms });
    await away.inActivity(key, () => mailTo('one'));
    await client.close();
    await short.close();
    await expect(away.inActivity(key, () => mailTo('two'))).rejects.toMatchObject({
      type: 'keybrake.unreachable',
      nonRetryable: false,
    });
    await away.close();
  });
});

test('a package that is not installed is told when it is used, not when it is named', () => {
  const absent = withSdk('twilio-absent', '6 or later', () => require('twilio-absent') as { messages: unknown });
  expect(() => absent.messages).toThrow(
    expect.objectContaining({
      type: FAILURES.noContext,
      nonRetryable: true,
      message: expect.stringContaining('npm install twilio-absent (6 or later)'),
    }),
  );
});
