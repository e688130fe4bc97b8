import fc from 'fast-check';
import type twilio from 'twilio';
import type { Faults, Sandbox } from '../src/sandbox';
import { segmentsOf } from '../src/sandbox/twilio/segments';
import { START_MS } from './sandbox-fixture';
import { FROM, MESSAGES, TO, type TwilioFixture, errorOf, startTwilio } from './sandbox-twilio-fixture';

let fixture: TwilioFixture;
let sandbox: Sandbox;
let client: twilio.Twilio;

beforeAll(async () => {
  fixture = await startTwilio();
  ({ sandbox, client } = fixture);
});
beforeEach(() => {
  sandbox.reset();
  fixture.clock.nowMs = START_MS;
});
afterAll(() => fixture.close());

describe('segments', () => {
  test.each([
    ['nothing', '', 'GSM-7', 1],
    ['160 letters', 'x'.repeat(160), 'GSM-7', 1],
    ['161 letters', 'x'.repeat(161), 'GSM-7', 2],
    ['306 letters', 'x'.repeat(306), 'GSM-7', 2],
    ['307 letters', 'x'.repeat(307), 'GSM-7', 3],
    ['1600 letters', 'x'.repeat(1600), 'GSM-7', 11],
    ['80 of two septets', '€'.repeat(80), 'GSM-7', 1],
    ['a euro and 159 letters', `€${'x'.repeat(159)}`, 'GSM-7', 2],
    ['an escape that does not fit the end of a segment', `${'x'.repeat(152)}€${'x'.repeat(152)}`, 'GSM-7', 3],
    ['70 Cyrillic', 'ж'.repeat(70), 'UCS-2', 1],
    ['71 Cyrillic', 'ж'.repeat(71), 'UCS-2', 2],
    ['35 emoji', '😀'.repeat(35), 'UCS-2', 1],
    ['36 emoji', '😀'.repeat(36), 'UCS-2', 2],
    ['67 emoji: 33 to a segment, a pair is not torn', '😀'.repeat(67), 'UCS-2', 3],
    ['70 letters and one curly quote', `’${'x'.repeat(70)}`, 'UCS-2', 2],
    ['a backtick', `\`${'x'.repeat(70)}`, 'UCS-2', 2],
    ['all of GSM-7', '@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ¤¡ÄÖÑÜ§¿äöñüà', 'GSM-7', 1],
  ])('%s', (_name, body, encoding, segments) => {
    expect(segmentsOf(body)).toEqual({ encoding, segments });
  });

  test('smart encoding writes plain characters in place of typographic ones', async () => {
    const body = `“It’s” – …${'x'.repeat(100)}`;
    expect(segmentsOf(body)).toEqual({ encoding: 'UCS-2', segments: 2 });
    expect(segmentsOf(body, true)).toEqual({ encoding: 'GSM-7', segments: 1 });
    await client.messages.create({ to: TO, from: FROM, body });
    await client.messages.create({ to: TO, from: FROM, body, smartEncoded: true });
    expect(sandbox.messages().map(({ units }) => units)).toEqual([2, 1]);
  });

  test('a longer text never takes fewer', () => {
    fc.assert(
      fc.property(
        fc.string({ unit: 'binary', maxLength: 400 }),
        fc.string({ unit: 'binary', maxLength: 20 }),
        (a, b) => {
          expect(segmentsOf(a + b).segments).toBeGreaterThanOrEqual(segmentsOf(a).segments);
        },
      ),
    );
  });
});

describe('calls', () => {
  const CALL = { to: TO, from: FROM, url: 'https://example.com/twiml' };

  test('cost their started minutes once they have ended, and until then at most their limit', async () => {
    const call = await client.calls.create({ ...CALL, timeLimit: 90 });
    expect(call).toMatchObject({ status: 'queued', price: null, duration: null, sid: expect.stringMatching(/^CA/) });
    expect(sandbox.stats().twilio).toMatchObject({ calls: 1, chargedMicros: 0, openMicros: 28_000 });
    await sandbox.advance();
    expect(await client.calls(call.sid).fetch()).toMatchObject({
      status: 'completed',
      price: '-0.01400',
      duration: '30',
    });
    expect(sandbox.stats().twilio).toMatchObject({ chargedMicros: 14_000, openMicros: 0 });
  });

  test.each([
    ['+14155550002', 'busy', 0],
    ['+14155550003', 'no-answer', 0],
    ['+14155550004', 'completed', 240 * 14_000],
  ])('to %s end %s and cost %d', async (to, status, micros) => {
    const { sid } = await client.calls.create({ ...CALL, to });
    await sandbox.advance();
    expect((await client.calls(sid).fetch()).status).toBe(status);
    expect(sandbox.stats().twilio.chargedMicros).toBe(micros);
  });

  test('that do nothing are refused', async () => {
    expect(
      (await fixture.call('POST', MESSAGES.replace('Messages', 'Calls.json'), 'To=%2B14155550100')).json.code,
    ).toBe(21213);
    const { url: _url, ...silent } = CALL;
    expect(await errorOf(client.calls.create(silent))).toMatchObject({ code: 21205 });
    expect(sandbox.stats().twilio.calls).toBe(0);
  });
});

describe('verify and lookups', () => {
  const SERVICE = `VA${'0d'.repeat(16)}`;

  test('a second code for the same number has the same sid and costs again', async () => {
    const { verifications, verificationChecks } = client.verify.v2.services(SERVICE);
    const first = await verifications.create({ to: TO, channel: 'sms' });
    const again = await verifications.create({ to: TO, channel: 'sms' });
    expect(again).toMatchObject({ sid: first.sid, status: 'pending', sendCodeAttempts: { length: 2 } });
    expect(sandbox.stats().twilio).toMatchObject({ verificationAttempts: 2, chargedMicros: 22_600 });
    const code = sandbox.messages()[0]?.body ?? '';
    expect(await verificationChecks.create({ to: TO, code: 'no' })).toMatchObject({ status: 'pending', valid: false });
    expect(await verificationChecks.create({ to: TO, code })).toMatchObject({ status: 'approved', valid: true });
    expect(sandbox.stats().twilio.chargedMicros).toBe(72_600);
    expect(await errorOf(verificationChecks.create({ to: TO, code }))).toMatchObject({ status: 404, code: 20404 });
    expect((await verifications.create({ to: TO, channel: 'sms' })).sid).not.toBe(first.sid);
  });

  test('five codes are sent at most, until the verification is ten minutes old', async () => {
    const { verifications } = client.verify.v2.services(SERVICE);
    for (let sent = 0; sent < 5; sent += 1) {
      // oxlint-disable-next-line no-await-in-loop
      await verifications.create({ to: TO, channel: 'call' });
    }
    const refusal = await errorOf(verifications.create({ to: TO, channel: 'call' }));
    expect(refusal).toMatchObject({ status: 429, code: 60203 });
    fixture.clock.nowMs += 600_000;
    expect((await verifications.create({ to: TO, channel: 'call' })).sendCodeAttempts).toHaveLength(1);
    expect(sandbox.stats().twilio.chargedMicros).toBe(6 * 14_000);
  });

  test('a look-up is a read that costs by its fields', async () => {
    const number = client.lookups.v2.phoneNumbers(TO);
    expect(await number.fetch()).toMatchObject({ valid: true, phoneNumber: TO, lineTypeIntelligence: null });
    expect(sandbox.stats().twilio).toMatchObject({ lookups: 1, chargedMicros: 0 });
    const fields = 'line_type_intelligence,caller_name';
    expect(await number.fetch({ fields })).toMatchObject({ lineTypeIntelligence: { type: 'mobile' } });
    expect((await fixture.call('GET', '/v2/PhoneNumbers/%2B14155550100?Fields=sim_swap')).status).toBe(200);
    expect((await client.lookups.v2.phoneNumbers('12').fetch({ fields })).valid).toBe(false);
    expect((await fixture.call('GET', `/v2/PhoneNumbers/${TO}?Fields=colour`)).status).toBe(400);
    expect(sandbox.stats().twilio).toMatchObject({ lookups: 3, chargedMicros: 48_000 });
  });
});

describe('faults', () => {
  const FORM = 'To=%2B14155550100&From=%2B15005550006&Body=Hello';

  /** What a first request comes to, and how often two have been executed: nothing tells Twilio that it is a retry. */
  test.each<[keyof Faults, number | 'cut', number, number]>([
    ['dropBefore', 'cut', 0, 1],
    ['dropAfter', 'cut', 1, 2],
    ['error500Before', 500, 0, 1],
    ['error500After', 500, 1, 2],
    ['rate429', 429, 0, 1],
    ['decline', 201, 1, 2],
  ])('%s: executed or not, and a retry sends again', async (name, firstStatus, executed, executedByRetry) => {
    sandbox.setFaults({ [name]: { first: 1 } }, 'twilio');
    const first = await fixture.call('POST', `${MESSAGES}.json`, FORM).catch(() => ({ status: 'cut' }));
    expect(first.status).toBe(firstStatus);
    expect(sandbox.stats().twilio).toMatchObject({ executedMessages: executed, injected: { [name]: 1 } });
    expect((await fixture.call('POST', `${MESSAGES}.json`, FORM)).status).toBe(201);
    expect(sandbox.stats().twilio.executedMessages).toBe(executedByRetry);
    await sandbox.advance();
    expect(sandbox.stats().twilio.failed).toBe(name === 'decline' ? 1 : 0);
  });

  test('strike what costs money, above the limit per second too, and one vendor alone', async () => {
    sandbox.setFaults({ limitPerSecond: 1 }, 'twilio');
    const send = async () => (await fixture.call('POST', `${MESSAGES}.json`, FORM)).status;
    expect([await send(), await send()]).toEqual([201, 429]);
    expect((await fixture.call('GET', `${MESSAGES}.json`)).status).toBe(200);
    expect((await fixture.call('GET', `/v2/PhoneNumbers/${TO}`)).json).toMatchObject({ code: 20429, status: 429 });
    fixture.clock.nowMs += 1000;
    expect(await send()).toBe(201);
    expect(sandbox.stats().twilio).toMatchObject({ requests: 5, priced: 4, executedMessages: 2 });
    expect(sandbox.stats().stripe.requests).toBe(0);
  });

  test('the log and the admin endpoints tell it all over HTTP', async () => {
    await fixture.call('POST', `${MESSAGES}.json`, FORM);
    expect(sandbox.requests()).toMatchObject([{ vendor: 'twilio', path: `${MESSAGES}.json`, body: FORM, status: 201 }]);
    const advanced = await fixture.call('POST', '/_sandbox/twilio/advance', '{"status":"undelivered"}');
    expect(advanced.json).toMatchObject([{ status: 'undelivered', price: '-0.01130' }]);
    expect((await fixture.call('POST', '/_sandbox/twilio/advance', '{"state":"x"}')).status).toBe(400);
    expect((await fixture.call('GET', '/_sandbox/messages')).json).toEqual(sandbox.messages());
    expect((await fixture.call('GET', '/_sandbox/stats')).json.twilio).toEqual(sandbox.stats().twilio);
    expect((await fixture.call('POST', '/_sandbox/faults?vendor=nobody', '{}')).status).toBe(400);
    expect((await fixture.call('POST', '/_sandbox/faults?vendor=resend', '{"rate429":1}')).status).toBe(200);
    expect((await fixture.call('POST', `${MESSAGES}.json`, FORM)).status).toBe(201);
  });
});
