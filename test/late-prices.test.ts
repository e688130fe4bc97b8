/** What Twilio charges is known hours after the call: the ledger comes to say the same, to the micro-dollar. */
import { until } from './support/rig';
import { DIAL, EAGER, type LateRig, SEND, startLateRig, UPDATE } from './support/late';
import { FROM, SERVICE } from './sandbox-twilio-fixture';

const HOUR_MS = 3_600_000;
const TWIML = '<Response><Say>hi</Say></Response>';
const text = (to: string, body = 'x') => ({ to, from: FROM, body });

let rig: LateRig;
afterEach(() => rig.close());

/** Everything that can become of a text or a call: delivered, sent, undelivered, failed, busy, not answered. */
async function sendAll(of: LateRig, key: Parameters<LateRig['sdk']>[0]): Promise<void> {
  const client = of.sdk(key);
  for (const end of ['0000', '0001', '0002', '0003']) {
    const to = `+1415555${end}`;
    await client.messages.create(text(to));
    await client.messages.create(text(to, 'ж'.repeat(71)));
    await client.messages.create({ ...text(to), mediaUrl: ['https://example.test/a.png'] });
    await client.calls.create({ to, from: FROM, twiml: TWIML, timeLimit: 300 });
  }
}

const equalsTwilio = async (of: LateRig, key: Parameters<LateRig['spend']>[0]) => {
  const { settled_usd: settled } = await of.spend(key);
  const { chargedUsd, openMicros } = of.sandbox.stats().twilio;
  return openMicros === 0 && settled === chargedUsd;
};

test('a call settles at its quote; once Twilio has told every price, the ledger has the total that Twilio charged', async () => {
  rig = await startLateRig();
  const key = await rig.issue(10);
  await sendAll(rig, key);
  // 4 × (1 + 2 segments at $0.02, a picture at $0.05, 5 minutes at $0.02).
  expect((await rig.spend(key)).settled_usd).toBe(0.84);
  expect(await rig.metric('keybrake_waiting_for_price_calls')).toBe(16);

  await rig.sandbox.advance({ price: false });
  await until('all ends are known, and no price but those', async () => {
    return (await rig.metric('keybrake_waiting_for_price_calls')) === 9;
  });
  await rig.sandbox.advance();
  await until('the ledger equals Twilio', () => equalsTwilio(rig, key));
  await until('nothing waits', async () => (await rig.metric('keybrake_waiting_for_price_calls')) === 0);
  expect(await rig.spend(key)).toMatchObject({ held_usd: 0, unknown_usd: 0, calls: { settled: 16 } });
  expect(await rig.metric('keybrake_adjusted_total{vendor="twilio",direction="down"}')).toBe(16);

  const { items } = await rig.proxy.client.listCalls({ key_id: key.key_id });
  const charged = new Map(rig.sandbox.messages().map((row) => [row.id, row.chargedMicros / 1e6]));
  for (const { vendor_id: id, cost_usd: cost } of items) expect(cost).toBe(charged.get(id!));
});

test('a text that failed costs $0.001, and the change is in the event log with its actor', async () => {
  rig = await startLateRig();
  const key = await rig.issue(1);
  await rig.sdk(key).messages.create(text('+14155550001'));
  await rig.sandbox.advance({ price: false });
  await until('it has failed', async () => (await rig.spend(key)).settled_usd === 0.001);
  expect(await rig.events('call.adjusted')).toMatchObject([{ actor: 'proxy', data: { from: 20_000, to: 1_000 } }]);
});

test('a scheduled text that is canceled through the proxy gives its money back at once, on its own row', async () => {
  rig = await startLateRig({ late: { ...EAGER, firstMs: HOUR_MS } });
  const key = await rig.issue(1, { allowed_endpoints: [SEND, UPDATE] });
  const sendAt = new Date(Date.now() + HOUR_MS);
  const client = rig.sdk(key);
  const to = { to: '+14155550100', messagingServiceSid: SERVICE, body: 'x' };
  const { sid } = await client.messages.create({ ...to, sendAt, scheduleType: 'fixed' });
  await client.messages(sid).update({ status: 'canceled' });
  expect((await rig.spend(key)).settled_usd).toBe(0);
  const { items } = await rig.proxy.client.listCalls({ key_id: key.key_id });
  expect(items.map(({ route, cost_usd: cost }) => [route, cost])).toEqual([
    [UPDATE, 0],
    [SEND, 0],
  ]);
  expect(await rig.events('call.adjusted')).toMatchObject([
    { actor: `key:${key.key_id}`, data: { from: 20_000, to: 0 } },
  ]);
});

test('a price above the quote is recorded, also above the cap, and what comes after it is refused', async () => {
  rig = await startLateRig({ prices: { twilio: { sms: { US: 10_000 } } } });
  const key = await rig.issue(0.02);
  const client = rig.sdk(key);
  await client.messages.create(text('+14155550100'));
  await client.messages.create(text('+14155550101'));
  await rig.sandbox.advance();
  await until('both prices are known', async () => (await rig.spend(key)).settled_usd === 0.0226);
  const refused = await client.messages.create(text('+14155550102')).catch((error: unknown) => error);
  expect(refused).toMatchObject({ status: 429, details: { keybrake_code: 'cap_exhausted' } });
  expect(rig.sandbox.stats().twilio.messages).toBe(2);
  expect(await rig.metric('keybrake_adjusted_total{vendor="twilio",direction="up"}')).toBe(2);
  const events = await rig.events('call.adjusted');
  expect(events.map(({ data }) => data)).toEqual([
    { from: 10_000, to: 11_300, above_cap: [`key:${key.key_id}`] },
    { from: 10_000, to: 11_300, above_cap: [`key:${key.key_id}`] },
  ]);
});

test('a price is found for a key that was revoked meanwhile, and by the process after a restart', async () => {
  rig = await startLateRig({ late: { ...EAGER, firstMs: 200 } });
  const key = await rig.issue(10);
  await sendAll(rig, key);
  await rig.proxy.client.revokeKey(key.key_id, 'test');
  await rig.restart(() => rig.sandbox.advance({ price: false }));
  await until('the failed ones are known', async () => (await rig.metric('keybrake_waiting_for_price_calls')) === 9);
  await rig.restart(() => rig.sandbox.advance());
  await until('the ledger equals Twilio', () => equalsTwilio(rig, key));
  expect((await rig.proxy.client.getKey(key.key_id)).state).toBe('revoked');
});

test('what Twilio never prices stays at its quote, is given up with a line in the log, and is not looked for again', async () => {
  rig = await startLateRig({ late: { ...EAGER, giveUpMs: 500 } });
  const key = await rig.issue(1);
  const { sid } = await rig.sdk(key).messages.create(text('+14155550100'));
  await rig.sandbox.advance({ price: false });
  await until('it is given up', async () => (await rig.metric('keybrake_waiting_for_price_calls')) === 0);
  expect((await rig.spend(key)).settled_usd).toBe(0.02);
  expect(rig.logged.filter((line) => line.includes('told no price') && line.includes(sid))).toHaveLength(1);
  expect(rig.looks(sid).length).toBeGreaterThan(1);
  const looks = rig.looks().length;
  await rig.sdk(key).messages.create(text('+14155550101'));
  await until('another was looked for', () => rig.looks().length > looks || undefined);
  expect(rig.looks(sid)).toHaveLength(looks);
});

test('an outage of Twilio is no reason to give up', async () => {
  rig = await startLateRig({ late: { ...EAGER, firstMs: 500, giveUpMs: 1 } });
  const key = await rig.issue(1, { allowed_endpoints: [SEND, DIAL] });
  const { sid } = await rig.sdk(key).messages.create(text('+14155550100'));
  rig.sandbox.setFaults({ error500Before: 1, all: true }, 'twilio');
  await until('it was looked for in vain', () => rig.looks(sid).length > 2 || undefined);
  await rig.sandbox.advance();
  expect((await rig.spend(key)).settled_usd).toBe(0.02);
  rig.sandbox.setFaults({}, 'twilio');
  await until('the ledger equals Twilio', () => equalsTwilio(rig, key));
});

test('looks are begun no faster than they may be', async () => {
  rig = await startLateRig({ late: { ...EAGER, firstMs: 300, longestMs: HOUR_MS, perSecond: 40 } });
  const key = await rig.issue(10);
  const client = rig.sdk(key);
  await Promise.all(Array.from({ length: 30 }, (_, n) => client.messages.create(text(`+1415555${1000 + n}`))));
  await rig.sandbox.advance();
  await until('all are known', async () => (await rig.metric('keybrake_waiting_for_price_calls')) === 0);
  const times = rig.looks().map(({ atMs }) => atMs);
  expect(times.length).toBeGreaterThanOrEqual(30);
  // Ten at a time, then 25 ms for each of them; 50 ms for what the way to Twilio may take once more and once less.
  expect(Math.max(...times) - Math.min(...times)).toBeGreaterThanOrEqual((times.length - 10) * 25 - 50);
});
