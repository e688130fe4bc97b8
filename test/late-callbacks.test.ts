/** Twilio's status callbacks hasten the look for a price. They never say what a call costs. */
// oxlint-disable-next-line import/no-named-as-default
import twilio from 'twilio';
import { createReceiver } from '../proxy/late/callbacks';
import { createVendors } from '../proxy/vendors';
import { twilioCallbacks } from '../proxy/vendors/twilio-callback';
import { until } from './support/rig';
import { type LateRig, startLateRig } from './support/late';
import { ACCOUNT, API_KEY, FROM, SERVICE, TOKEN } from './sandbox-twilio-fixture';

const HOUR_MS = 3_600_000;
/** Nothing is looked for unless a callback asks for it. */
const PATIENT = { firstMs: HOUR_MS, longestMs: HOUR_MS, everyMs: 5 };
const text = (to = '+14155550100') => ({ to, from: FROM, body: 'x' });
const PATH = '/vault/callbacks/twilio';

let rig: LateRig;
let open: LateRig | undefined;
afterEach(async () => {
  await open?.close();
  open = undefined;
});

test('a text and a call are settled as soon as Twilio says that they have ended', async () => {
  rig = open = await startLateRig({ callbacks: true, late: PATIENT });
  const key = await rig.issue(1);
  const { sid } = await rig.sdk(key).messages.create(text());
  await rig.sdk(key).calls.create({ to: '+14155550002', from: FROM, twiml: '<Response/>', timeLimit: 60 });
  expect((await rig.spend(key)).settled_usd).toBe(0.04);
  const bodies = rig.sandbox.requests().map(({ body }) => new URLSearchParams(body).get('StatusCallback'));
  expect(bodies).toEqual(Array(2).fill(`${rig.wire.url}${PATH}`));

  await rig.sandbox.advance();
  await until('both are known', async () => (await rig.spend(key)).settled_usd === 0.0113);
  expect(rig.posted.every(({ answered, path }) => answered === 204 && path === PATH)).toBe(true);
  expect(rig.looks(sid)).toHaveLength(1);
});

test('a forged, a changed and an unsigned callback are refused, and nothing is looked for', async () => {
  rig = open = await startLateRig({ callbacks: true, late: PATIENT });
  const key = await rig.issue(1);
  const send = async (to: string) => (await rig.sdk(key).messages.create(text(to))).sid;
  const fieldsOf = (sid: string) => ({ AccountSid: ACCOUNT, MessageSid: sid, MessageStatus: 'delivered' });
  const sign = (sid: string) => twilio.getExpectedTwilioSignature(TOKEN, `${rig.wire.url}${PATH}`, fieldsOf(sid));
  const post = (sid: string, signature: string, more = '') =>
    rig.forward({ path: PATH, signature, body: new URLSearchParams(fieldsOf(sid)).toString() + more });

  const [forged, genuine] = [await send('+14155550100'), await send('+14155550101')];
  for (const signature of ['', 'undefined', sign(genuine), sign(forged).slice(0, -1), `${sign(forged)}=`]) {
    expect(await post(forged, signature)).toBe(403);
  }
  expect(await post(forged, sign(forged), '&More=1')).toBe(403);
  expect(await post(genuine, sign(genuine))).toBe(204);
  await until('the genuine one was looked for', () => rig.looks(genuine).length === 1 || undefined);
  expect(rig.looks(forged)).toEqual([]);
  expect((await rig.spend(key)).settled_usd).toBe(0.04);
});

test('a callback that says "canceled" lowers nothing: what counts is what Twilio shows', async () => {
  rig = open = await startLateRig({ callbacks: true, late: PATIENT });
  const key = await rig.issue(1);
  const { sid } = await rig.sdk(key).messages.create(text());
  const fields = { AccountSid: ACCOUNT, MessageSid: sid, MessageStatus: 'canceled' };
  const signature = twilio.getExpectedTwilioSignature(TOKEN, `${rig.wire.url}${PATH}`, fields);
  expect(await rig.forward({ path: PATH, signature, body: new URLSearchParams(fields).toString() })).toBe(204);
  await until('it was looked for', () => rig.looks(sid).length === 1 || undefined);
  for (let times = 0; times < 20; times += 1) {
    await rig.forward({ path: PATH, signature, body: new URLSearchParams(fields).toString() });
  }
  expect((await rig.spend(key)).settled_usd).toBe(0.02);
  // Ten seconds must pass before the next look, however often somebody posts.
  expect(rig.looks(sid)).toHaveLength(1);
});

test('with an API key nobody can tell who posts: then a callback is a hint, and the price comes from Twilio', async () => {
  rig = open = await startLateRig({ callbacks: true, apiKey: true, late: PATIENT });
  const key = await rig.issue(1);
  await rig.sdk(key).messages.create(text('+14155550001'));
  await rig.sandbox.advance();
  await until('it has failed', async () => (await rig.spend(key)).settled_usd === 0.001);
  expect(rig.posted.map(({ answered }) => answered)).toEqual([204]);
});

test('what is not known is ignored: other sids, other accounts, beginnings', async () => {
  rig = open = await startLateRig({ callbacks: true, apiKey: true, late: PATIENT });
  const key = await rig.issue(1);
  const { sid } = await rig.sdk(key).messages.create(text());
  const post = (fields: Record<string, string>, path = PATH) =>
    rig.forward({ path, signature: '', body: new URLSearchParams(fields).toString() });
  const known = { AccountSid: ACCOUNT, MessageSid: sid, MessageStatus: 'delivered' };
  expect(await post({ ...known, MessageSid: `SM${'9'.repeat(32)}` })).toBe(204);
  expect(await post({ ...known, AccountSid: `AC${'9'.repeat(32)}` })).toBe(204);
  expect(await post({ ...known, MessageStatus: 'queued' })).toBe(204);
  expect(await post({ ...known, MessageSid: '../Accounts' })).toBe(204);
  expect(await post({})).toBe(204);
  expect(await post(known, '/vault/callbacks/stripe')).toBe(404);
  expect(await rig.forward({ path: PATH, signature: '', body: `MessageSid=${sid}&MessageSid=${sid}` })).toBe(400);
  expect(rig.looks()).toEqual([]);
  expect(await post(known)).toBe(204);
  await until('it was looked for', () => rig.looks(sid).length === 1 || undefined);
});

test('without an address nothing is asked of Twilio, and nothing is listened to', async () => {
  rig = open = await startLateRig({ late: PATIENT });
  const key = await rig.issue(1);
  await rig.sdk(key).messages.create(text());
  expect(rig.sandbox.requests()[0]?.body).not.toContain('StatusCallback');
  expect(await rig.forward({ path: PATH, signature: '', body: 'MessageSid=SM11' })).toBe(404);
});

test("the client's own callback stays, also one that a service or application may have", async () => {
  rig = open = await startLateRig({ callbacks: true });
  const key = await rig.issue(1);
  const client = rig.sdk(key);
  const own = 'https://example.test/status';
  await client.messages.create({ ...text(), statusCallback: own });
  await client.messages.create({ to: '+14155550100', messagingServiceSid: SERVICE, body: 'x' });
  await client.messages.create({ ...text('+14155550101'), applicationSid: `AP${'0'.repeat(32)}` });
  // A service may be given as the sender: the stand-in knows no such number.
  await client.messages.create({ ...text('+14155550102'), from: SERVICE }).catch(() => undefined);
  const sent = () => rig.sandbox.requests().filter(({ method }) => method === 'POST');
  expect(sent().map(({ body }) => new URLSearchParams(body).get('StatusCallback'))).toEqual([own, null, null, null]);
  // Their prices come all the same: they are looked for.
  await rig.sandbox.advance();
  await until('all are known', async () => (await rig.spend(key)).settled_usd === 0.0339);
});

describe('alone', () => {
  const url = 'https://keybrake.example.com/vault/callbacks/twilio';
  const fields = { MessageStatus: 'delivered', AccountSid: ACCOUNT, MessageSid: `SM${'1'.repeat(32)}`, To: '+1 é&=' };
  const pairs = Object.entries(fields);
  const isGenuine = (signature: string | undefined, credential: object = {}, at = url) =>
    twilioCallbacks.isGenuine(
      { url: at, fields: pairs, header: (name) => (name === 'x-twilio-signature' ? signature : undefined) },
      { secret: TOKEN, accountId: ACCOUNT, ...credential },
    );
  test("a signature is right when Twilio's own library makes it so, with the port in the address or without", () => {
    const sign = (address: string) => twilio.getExpectedTwilioSignature(TOKEN, address, fields);
    expect(isGenuine(sign(url))).toBe(true);
    expect(isGenuine(sign(url.replace('.com/', '.com:443/')))).toBe(true);
    const withPort = url.replace('.com/', '.com:8443/');
    expect(isGenuine(sign(withPort), {}, withPort)).toBe(true);
    expect(isGenuine(sign(url), {}, withPort)).toBe(true);
    expect(isGenuine(sign(`${url}?x=1`))).toBe(false);
    expect(isGenuine(sign(url).toLowerCase())).toBe(false);
    expect(isGenuine(undefined)).toBe(false);
    expect(isGenuine(sign(url), { secret: 'another token' })).toBe(false);
    expect(isGenuine(sign(url), { secret: API_KEY.secret, user: API_KEY.sid })).toBeUndefined();
  });

  test('more callbacks than 200 in a second are not listened to', async () => {
    const hinted: string[] = [];
    const receive = createReceiver({
      accounts: { texts: { vendor: 'twilio', secret: API_KEY.secret, user: API_KEY.sid, accountId: ACCOUNT } },
      vendors: createVendors(),
      callbackUrl: 'https://keybrake.example.com',
      poller: { hint: async (ids) => void hinted.push(...ids) },
    });
    jest.useFakeTimers({ now: 1_000_000, doNotFake: ['setImmediate', 'nextTick', 'queueMicrotask'] });
    const post = () => receive({ vendor: 'twilio', body: new URLSearchParams(fields).toString(), header: () => '' });
    const answers = [];
    for (let times = 0; times < 210; times += 1) answers.push(await post());
    expect(answers.filter((status) => status === 204)).toHaveLength(200);
    expect(answers.slice(200)).toEqual(Array(10).fill(429));
    expect(new Set(hinted)).toEqual(new Set([`texts/${fields.MessageSid}`]));
    jest.setSystemTime(1_001_000);
    expect(await post()).toBe(204);
    jest.useRealTimers();
  });
});
