// oxlint-disable-next-line import/no-named-as-default
import twilio from 'twilio';
import type { Sandbox } from '../src/sandbox';
import {
  ACCOUNT,
  API_KEY,
  FROM,
  MESSAGES,
  SERVICE,
  TO,
  TOKEN,
  type TwilioFixture,
  clientOf,
  errorOf,
  startTwilio,
} from './sandbox-twilio-fixture';
import { START_MS } from './sandbox-fixture';

let fixture: TwilioFixture;
let sandbox: Sandbox;
let client: twilio.Twilio;

const HELLO = { to: TO, from: FROM, body: 'Hello' };
const HELLO_FORM = `To=%2B14155550100&From=%2B15005550006&Body=Hello`;

beforeAll(async () => {
  fixture = await startTwilio();
  ({ sandbox, client } = fixture);
});
beforeEach(() => {
  sandbox.reset();
  fixture.received.length = 0;
  fixture.clock.nowMs = START_MS;
});
afterAll(() => fixture.close());

describe('a message', () => {
  test('is queued without a price, and gets it as a negative decimal when it is delivered', async () => {
    const message = await client.messages.create(HELLO);
    expect(message).toMatchObject({ status: 'queued', price: null, priceUnit: 'USD', numSegments: '1', body: 'Hello' });
    expect(message).toMatchObject({ direction: 'outbound-api', numMedia: '0', from: FROM, to: TO, errorCode: null });
    expect(message.sid).toMatch(/^SM[0-9a-f]{32}$/);
    expect(message.dateCreated).toEqual(new Date(START_MS));
    expect(sandbox.stats().twilio).toMatchObject({ executedMessages: 1, chargedMicros: 11_300, pricedMicros: 0 });
    expect(await sandbox.advance({ steps: 1 })).toMatchObject([{ status: 'sent', price: null }]);
    expect(await sandbox.advance({ price: false })).toMatchObject([{ status: 'delivered', price: null }]);
    expect(await sandbox.advance()).toMatchObject([{ status: 'delivered', price: '-0.01130' }]);
    expect(await sandbox.advance()).toEqual([]);
    const later = await client.messages(message.sid).fetch();
    expect(later).toMatchObject({ status: 'delivered', price: '-0.01130', dateSent: new Date(START_MS) });
    expect(sandbox.stats().twilio).toMatchObject({ chargedMicros: 11_300, pricedMicros: 11_300, chargedUsd: 0.0113 });
  });

  test('of a Messaging Service tells 0 segments and no sender until it leaves, and is billed for all', async () => {
    const { sid, ...message } = await client.messages.create({
      to: TO,
      messagingServiceSid: SERVICE,
      body: 'x'.repeat(161),
    });
    expect(message).toMatchObject({ status: 'accepted', numSegments: '0', from: null, messagingServiceSid: SERVICE });
    expect(sandbox.stats().twilio).toMatchObject({ segments: 2, chargedMicros: 22_600 });
    await sandbox.advance();
    expect(await client.messages(sid).fetch()).toMatchObject({ numSegments: '2', price: '-0.02260', from: FROM });
  });

  test.each([
    ['+14155550001', 'failed', '-0.00100', 1_000, 30008],
    ['+14155550002', 'undelivered', '-0.02260', 22_600, 30003],
    ['+14155550003', 'sent', '-0.02260', 22_600, null],
  ])('to %s ends %s and costs %s', async (to, status, price, micros, errorCode) => {
    const { sid } = await client.messages.create({ ...HELLO, to, body: 'x'.repeat(200) });
    await sandbox.advance();
    expect(await client.messages(sid).fetch()).toMatchObject({ status, price, errorCode });
    expect(sandbox.stats().twilio).toMatchObject({ chargedMicros: micros, pricedMicros: micros });
  });

  test('with media is an MMS: one price, whatever its text', async () => {
    const mediaUrl = ['https://example.com/a.png', 'https://example.com/b.png'];
    const message = await client.messages.create({ ...HELLO, body: 'x'.repeat(500), mediaUrl });
    expect(message).toMatchObject({ numMedia: '2', numSegments: '1', sid: expect.stringMatching(/^MM/) });
    expect(await client.messages.create({ ...HELLO, sendAsMms: true })).toMatchObject({ numMedia: '0' });
    expect(sandbox.stats().twilio.chargedMicros).toBe(2 * 27_000);
    expect(sandbox.messages().map(({ kind }) => kind)).toEqual(['mms', 'mms']);
  });

  test('scheduled costs nothing before its time or after a cancel; sent, it cannot be canceled', async () => {
    const sendAt = new Date(START_MS + 3_600_000);
    const schedule = { to: TO, messagingServiceSid: SERVICE, body: 'Hello', scheduleType: 'fixed', sendAt } as const;
    const [kept, dropped] = [await client.messages.create(schedule), await client.messages.create(schedule)];
    expect(kept.status).toBe('scheduled');
    expect(sandbox.stats().twilio).toMatchObject({ executedMessages: 0, chargedMicros: 0, openMicros: 22_600 });
    expect(await client.messages(dropped.sid).update({ status: 'canceled' })).toMatchObject({ status: 'canceled' });
    expect(await sandbox.advance()).toEqual([]);
    fixture.clock.nowMs += 3_600_000;
    expect(await sandbox.advance()).toMatchObject([{ sid: kept.sid, status: 'delivered' }]);
    const refusal = await errorOf(client.messages(kept.sid).update({ status: 'canceled' }));
    expect(refusal).toMatchObject({ status: 400, code: 30409 });
    expect(sandbox.stats().twilio).toMatchObject({ executedMessages: 1, chargedMicros: 11_300, openMicros: 0 });
    const soon = { ...schedule, sendAt: new Date(fixture.clock.nowMs + 60_000) };
    expect(await errorOf(client.messages.create(soon))).toMatchObject({ code: 35114 });
    expect(await client.messages.create({ ...HELLO, scheduleType: 'fixed', sendAt })).toMatchObject({
      status: 'queued',
    });
  });

  test('redacted is gone from Twilio, not from the witness', async () => {
    const { sid } = await client.messages.create(HELLO);
    expect(await errorOf(client.messages(sid).update({ body: '' }))).toMatchObject({ code: 20009 });
    await sandbox.advance();
    expect(await client.messages(sid).update({ body: '' })).toMatchObject({ body: '' });
    expect(sandbox.messages()[0]).toMatchObject({ id: sid, body: 'Hello' });
  });

  test('sent twice is sent twice, and shows', async () => {
    const headers = await Promise.all([1, 2].map(() => fixture.call('POST', `${MESSAGES}.json`, HELLO_FORM)));
    expect(headers.map(({ status }) => status)).toEqual([201, 201]);
    await client.messages.create({ ...HELLO, body: 'Hello!' });
    const { duplicates, executedMessages } = sandbox.stats().twilio;
    expect(executedMessages).toBe(3);
    expect(duplicates.sends).toEqual([
      { of: expect.stringContaining('Hello'), ids: headers.map((one) => one.json.sid) },
    ]);
  });
});

describe('prices that come by themselves', () => {
  test('come when they are due, not before', async () => {
    const late = await startTwilio(60_000);
    const { sid } = await late.client.messages.create(HELLO);
    late.clock.nowMs += 59_999;
    expect((await late.client.messages(sid).fetch()).price).toBeNull();
    late.clock.nowMs += 1;
    expect(await late.client.messages(sid).fetch()).toMatchObject({ status: 'delivered', price: '-0.01130' });
    await late.close();
  });
});

describe('status callbacks', () => {
  test('name every state in order, signed as the SDK checks it', async () => {
    const statusCallback = fixture.callbackUrl;
    const { sid } = await client.messages.create({ ...HELLO, to: '+14155550002', statusCallback });
    const [advanced] = await sandbox.advance();
    expect(advanced?.callbacks.map(({ status, answered }) => [status, answered])).toEqual([
      ['sent', 204],
      ['undelivered', 204],
    ]);
    expect(fixture.received.map(({ fields }) => fields['MessageStatus'])).toEqual(['sent', 'undelivered']);
    expect(fixture.received[1]?.fields).toMatchObject({ MessageSid: sid, AccountSid: ACCOUNT, ErrorCode: '30003' });
    for (const { signature, fields } of fixture.received) {
      expect(twilio.validateRequest(TOKEN, signature, statusCallback, { ...fields })).toBe(true);
      expect(twilio.validateRequest('other', signature, statusCallback, { ...fields })).toBe(false);
    }
  });

  test('go to loopback only', async () => {
    await client.messages.create({ ...HELLO, statusCallback: 'http://192.0.2.1/status' });
    const [advanced] = await sandbox.advance({ steps: 1 });
    expect(advanced?.callbacks).toEqual([{ status: 'sent', url: 'http://192.0.2.1/status', answered: null }]);
  });
});

describe('lists', () => {
  test('filter, and page from new to old without losing or repeating one', async () => {
    const sids: string[] = [];
    for (let sent = 0; sent < 7; sent += 1) {
      // oxlint-disable-next-line no-await-in-loop
      sids.push((await client.messages.create({ ...HELLO, body: `n${sent}` })).sid);
    }
    await client.messages.create({ ...HELLO, to: '+14155550199' });
    const listed = await client.messages.list({ to: TO, from: FROM, pageSize: 3 });
    expect(listed.map(({ sid }) => sid)).toEqual(sids.toReversed());
    const first = await fixture.call('GET', `${MESSAGES}.json?To=%2B14155550100&PageSize=3`);
    await client.messages.create(HELLO);
    const second = await fixture.call('GET', first.json.next_page_uri);
    expect(second.json.messages.map(({ body }: { body: string }) => body)).toEqual(['n3', 'n2', 'n1']);
    expect(second.json).toMatchObject({ page: 1, page_size: 3 });
  });

  test('by date of sending leave out what waits to be sent', async () => {
    const { sid } = await client.messages.create(HELLO);
    await sandbox.advance();
    await client.messages.create(HELLO);
    const day = new Date(START_MS).toISOString().slice(0, 10);
    const found = await fixture.call('GET', `${MESSAGES}.json?DateSent=${day}`);
    expect(found.json.messages.map((message: { sid: string }) => message.sid)).toEqual([sid]);
    const dateSentAfter = new Date(START_MS - 1000);
    expect(await client.messages.list({ dateSentAfter })).toHaveLength(1);
    expect(await client.messages.list({ dateSentBefore: dateSentAfter })).toHaveLength(0);
  });
});

describe('refusals in the shape of Twilio', () => {
  test.each([
    ['From=%2B15005550006&Body=x', 21604],
    ['To=%2B14155550100&Body=x', 21603],
    ['To=%2B14155550100&From=%2B15005550006', 21602],
    [`To=%2B14155550100&From=%2B15005550006&Body=${'x'.repeat(1601)}`, 21617],
    ['To=14155550100&From=%2B15005550006&Body=x', 21211],
    ['To=%2B15005550009&From=%2B15005550006&Body=x', 21614],
    ['To=%2B14155550100&From=%2B15005550007&Body=x', 21606],
    ['To=%2B14155550100&From=%2B14155550100&Body=x', 21266],
    ['To=%2B8005550100&From=%2B15005550006&Body=x', 21408],
    ['To=%2B14155550100&MessagingServiceSid=MGx&Body=x', 21701],
  ])('%s is a 400 with its code, and costs nothing', async (form, code) => {
    const { status, json } = await fixture.call('POST', `${MESSAGES}.json`, form);
    expect([status, json]).toEqual([
      400,
      { code, message: expect.any(String), more_info: `https://www.twilio.com/docs/errors/${code}`, status: 400 },
    ]);
    expect(sandbox.stats().twilio).toMatchObject({ messages: 0, chargedMicros: 0 });
  });

  test('a wrong secret is 401 with 20003, another account or path 404 with 20404', async () => {
    expect(await errorOf(clientOf(sandbox, 'wrong').messages.create(HELLO))).toMatchObject({
      status: 401,
      code: 20003,
    });
    expect(await clientOf(sandbox, API_KEY.secret, API_KEY.sid).messages.create(HELLO)).toMatchObject({
      accountSid: ACCOUNT,
    });
    const other = await fixture.call('POST', `/2010-04-01/Accounts/AC${'f'.repeat(32)}/Messages.json`, HELLO_FORM);
    expect(other).toMatchObject({ status: 404, json: { code: 20404 } });
    expect(await errorOf(client.messages('SM1').fetch())).toMatchObject({ status: 404, code: 20404 });
    expect((await fixture.call('GET', '/v2/Nothing')).json).toMatchObject({ code: 20404 });
    expect(sandbox.stats().twilio.messages).toBe(1);
  });

  test('without .json the answer is XML, and the message is sent all the same', async () => {
    const sent = await fixture.call('POST', MESSAGES, HELLO_FORM.replace('Hello', 'a%26b'));
    expect(sent).toMatchObject({ status: 201, headers: { 'content-type': 'application/xml' } });
    expect(sent.json).toMatch(/<TwilioResponse><Message>.*<Body>a&amp;b<\/Body>.*<Price\/>.*<\/Message>/s);
    expect((await fixture.call('POST', MESSAGES, '')).json).toContain('<RestException><Code>21604</Code>');
    expect(sandbox.stats().twilio.executedMessages).toBe(1);
  });

  test('the account tells its token: a secret that a proxy must not let through', async () => {
    const account = await fixture.call('GET', `/2010-04-01/Accounts/${ACCOUNT}.json`);
    expect(account.json).toMatchObject({ sid: ACCOUNT, auth_token: TOKEN });
  });
});
