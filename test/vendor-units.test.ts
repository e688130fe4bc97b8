/** What a call counts, from outside: segments of a text, recipients of a batch, and what a vendor's odd figure cannot do. */
import { Resend } from 'resend';
// oxlint-disable-next-line import/no-named-as-default
import twilio from 'twilio';
import { startVendorRig, TWILIO_ACCOUNT, type VendorRig } from './support/vendorRig';

const SEND = 'POST /2010-04-01/Accounts/:AccountSid/Messages.json';
const TO = '+14155550100';
const FROM = '+15005550006';
/** Of one segment. */
const SMS_USD = 0.02;

let rig: VendorRig;
beforeAll(async () => {
  rig = await startVendorRig();
});
afterAll(() => rig.close());
beforeEach(() => rig.sandbox.reset());

const spendOf = async (keyId: string) => (await rig.proxy.client.getKey(keyId)).spend;

async function texter() {
  const key = await rig.issue({ vendor: 'twilio', allowed_endpoints: [SEND] });
  const client = twilio(TWILIO_ACCOUNT, key.vault_key);
  client.api.baseUrl = `${rig.proxy.url}/twilio`;
  return { key, client };
}

test.each([
  ['160 GSM-7 characters', 'x'.repeat(160), 1],
  ['161 GSM-7 characters', 'x'.repeat(161), 2],
  ['70 Cyrillic characters', 'ж'.repeat(70), 1],
  ['71 Cyrillic characters', 'ж'.repeat(71), 2],
])('%s are as many segments to the ledger as to the vendor', async (_what, body, segments) => {
  const { key, client } = await texter();
  await client.messages.create({ to: TO, from: FROM, body });
  expect(rig.sandbox.stats().twilio.segments).toBe(segments);
  expect(await spendOf(key.key_id)).toMatchObject({ settled_usd: segments * SMS_USD, held_usd: 0, unknown_usd: 0 });
});

test('num_segments "0", as of a Messaging Service, is not nothing', async () => {
  const { key, client } = await texter();
  const service = { to: TO, messagingServiceSid: `MG${'0c'.repeat(16)}`, body: 'x'.repeat(161) };
  expect((await client.messages.create(service)).numSegments).toBe('0');
  expect(await spendOf(key.key_id)).toMatchObject({ settled_usd: 2 * SMS_USD, held_usd: 0, unknown_usd: 0 });
});

test('a batch of 100 e-mails with three recipients each counts 300, and one cent less is not enough for it', async () => {
  const mail = { from: 'a@b.test', to: 'c@d.test', cc: 'e@f.test', bcc: ['g@h.test'], subject: 's', text: 't' };
  const batch = Array.from({ length: 100 }, () => mail);
  const allowed_endpoints = ['POST /emails/batch'];
  const [enough, short] = [
    await rig.issue({ vendor: 'resend', allowed_endpoints, usd_cap: 0.27 }),
    await rig.issue({ vendor: 'resend', allowed_endpoints, usd_cap: 0.26 }),
  ];
  const send = (key: string) => new Resend(key, { baseUrl: `${rig.proxy.url}/resend` }).batch.send(batch);
  expect((await send(short.vault_key)).error).toMatchObject({ name: 'cap_exhausted' });
  expect((await send(enough.vault_key)).data?.data).toHaveLength(100);
  expect(rig.sandbox.stats().resend).toMatchObject({ recipients: 300, chargedMicros: 270_000 });
  expect(await spendOf(enough.key_id)).toMatchObject({ settled_usd: 0.27, held_usd: 0, unknown_usd: 0 });
  expect(await spendOf(short.key_id)).toMatchObject({ settled_usd: 0, held_usd: 0, unknown_usd: 0 });
});
