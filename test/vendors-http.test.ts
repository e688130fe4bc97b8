/** Twilio, Resend and a vendor of one's own through the real proxy: what leaves it, and what is counted. */
import { createServer, type IncomingHttpHeaders } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import type { IssuedKey } from '../proxy/contract';
import type { CustomVendor } from '../proxy/vendors/custom';
import { readConfigFile } from '../src/config/file';
import { Complaints } from '../src/config/complaints';
import { vendorSettings } from '../src/config/prices';
import { type TestProxy } from '../src/testing';
import { startTestProxy } from './support/proxy';

const AC = `AC${'0'.repeat(32)}`;
const SM = `SM${'1'.repeat(32)}`;
const EXAMPLE = join(__dirname, '../examples/own-vendor/keybrake.yaml');

const MAIL: CustomVendor = {
  origin: 'https://api.mail.example',
  auth: { kind: 'basic' },
  idempotencyHeader: 'x-request-key',
  error: { message: '{message}' },
  routes: [{ method: 'POST', path: '/v1/mails', body: 'json', price: { micros: 10_000 } }],
};

interface Seen {
  readonly method: string | undefined;
  readonly url: string | undefined;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

const seen: Seen[] = [];
let answer: { status: number; body: unknown } = { status: 200, body: {} };
const stub = createServer((request, response) => {
  const chunks: Buffer[] = [];
  request.on('data', (chunk: Buffer) => chunks.push(chunk));
  request.on('end', () => {
    const { method, url, headers } = request;
    seen.push({ method, url, headers, body: Buffer.concat(chunks).toString() });
    response.writeHead(answer.status, { 'content-type': 'application/json' }).end(JSON.stringify(answer.body));
  });
});
let proxy: TestProxy;

beforeAll(async () => {
  await new Promise<void>((resolve) => stub.listen(0, '127.0.0.1', resolve));
  const upstream = `http://127.0.0.1:${(stub.address() as AddressInfo).port}`;
  const complaints = new Complaints();
  const { prices, vendors } = readConfigFile({ KEYBRAKE_CONFIG: EXAMPLE }, complaints).file;
  complaints.check();
  const settings = vendorSettings(prices, vendors);
  proxy = await startTestProxy({
    upstream,
    prices: settings.prices ?? {},
    vendors: { ...settings.vendors, mail: MAIL },
    // Prices that come later are test/late-prices' subject: here what is sent is counted.
    late: { everyMs: 3_600_000 },
    accounts: {
      twilio: { vendor: 'twilio', secret: 'twilio-secret', user: `SK${'2'.repeat(32)}`, accountId: AC, upstream },
      resend: { vendor: 'resend', secret: 're_secret', upstream },
      fax: { vendor: 'fax', secret: 'fax-secret', upstream },
      mail: { vendor: 'mail', secret: 'mail-secret', user: 'me', upstream },
    },
  });
});
afterAll(async () => {
  await proxy.close();
  stub.closeAllConnections();
  stub.close();
});
beforeEach(() => void seen.splice(0));

function issue(vendor: string, allowed_endpoints: string[], usd_cap = 1): Promise<IssuedKey> {
  return proxy.client.issueKey({ vendor, usd_cap, allowed_endpoints, expires_in: '1h', agent_run_label: 'test' });
}

async function call(path: string, init: RequestInit & { readonly headers: Record<string, string> }) {
  const reply = await fetch(proxy.url + path, { method: 'POST', ...init });
  // oxlint-disable-next-line typescript/no-explicit-any -- a test reads what it needs
  return { status: reply.status, headers: reply.headers, json: (await reply.json()) as any };
}

const settled = async ({ key_id: id }: IssuedKey) => (await proxy.client.getKey(id)).spend.settled_usd;

describe('Twilio', () => {
  const SEND = 'POST /2010-04-01/Accounts/:AccountSid/Messages.json';
  const UPDATE = 'POST /2010-04-01/Accounts/:AccountSid/Messages/:Sid.json';
  const path = `/2010-04-01/Accounts/${AC}/Messages.json`;
  const basic = (key: IssuedKey) => ({ authorization: `Basic ${btoa(`${AC}:${key.vault_key}`)}` });
  const text = (body: string) => new URLSearchParams({ To: '+14155550100', From: '+15005550006', Body: body });

  test.each(['/twilio', ''])(
    'a text is sent with the real credential, and settles at its quote (%s)',
    async (prefix) => {
      const key = await issue('twilio', [SEND, UPDATE]);
      const sid = `SM${prefix.length}${'1'.repeat(31)}`;
      answer = { status: 201, body: { sid, status: 'queued', num_segments: '0', price: null, price_unit: 'USD' } };
      const reply = await call(prefix + path, { headers: basic(key), body: text('x'.repeat(161)) });
      expect(reply.status).toBe(201);
      expect(seen[0]).toMatchObject({
        method: 'POST',
        url: path,
        body: `To=%2B14155550100&From=%2B15005550006&Body=${'x'.repeat(161)}`,
      });
      expect(seen[0]?.headers.authorization).toBe(`Basic ${btoa(`SK${'2'.repeat(32)}:twilio-secret`)}`);
      expect(seen[0]?.headers['idempotency-key']).toBeUndefined();
      expect(await settled(key)).toBe(0.04);
    },
  );

  test('canceling a scheduled text gives its money back', async () => {
    const key = await issue('twilio', [SEND, UPDATE]);
    const sid = `SM${'3'.repeat(32)}`;
    answer = { status: 201, body: { sid, status: 'scheduled', price: null } };
    await call(`/twilio${path}`, { headers: basic(key), body: text('x') });
    expect(await settled(key)).toBe(0.02);
    answer = { status: 200, body: { sid, status: 'canceled', price: null } };
    const url = `/twilio/2010-04-01/Accounts/${AC}/Messages/${sid}.json`;
    await call(url, { headers: basic(key), body: new URLSearchParams({ Status: 'canceled' }) });
    expect(await settled(key)).toBe(0);
  });

  test('a record is texted once, though Twilio knows no idempotency keys', async () => {
    const key = await issue('twilio', [SEND]);
    const headers = { ...basic(key), 'keybrake-record-id': 'rec-1' };
    answer = { status: 201, body: { sid: SM, status: 'queued', price: null } };
    await call(`/twilio${path}`, { headers, body: text('x') });
    const again = await call(`/twilio${path}`, { headers, body: text('x') });
    expect(again.headers.get('idempotent-replayed')).toBe('true');
    const other = await call(`/twilio${path}`, { headers, body: text('y') });
    expect(other).toMatchObject({
      status: 409,
      json: { code: 99_409, details: { keybrake_code: 'idempotency_mismatch' } },
    });
    expect(seen).toHaveLength(1);
  });

  test('an unclear answer is never followed by a second send', async () => {
    const key = await issue('twilio', [SEND]);
    const headers = { ...basic(key), 'idempotency-key': 'k-1' };
    answer = { status: 500, body: {} };
    const unknown = await call(`/twilio${path}`, { headers, body: text('x') });
    expect(unknown).toMatchObject({ status: 504, json: { details: { keybrake_code: 'outcome_unknown' } } });
    expect(unknown.json.message).toMatch(/look it up there, do not repeat it/);
    expect(unknown.headers.get('stripe-should-retry')).toBe('false');
    await call(`/twilio${path}`, { headers, body: text('x') });
    expect(seen.filter(({ method }) => method === 'POST')).toHaveLength(1);
    expect((await proxy.client.getKey(key.key_id)).spend.unknown_usd).toBe(0.02);
  });

  test('a call without a limit gets one', async () => {
    const key = await issue('twilio', ['POST /2010-04-01/Accounts/:AccountSid/Calls.json']);
    answer = { status: 201, body: { sid: `CA${'4'.repeat(32)}`, status: 'queued', price: null } };
    const fields = { To: '+14155550100', From: '+15005550006', Twiml: '<Response><Say>hi</Say></Response>' };
    const url = `/twilio/2010-04-01/Accounts/${AC}/Calls.json`;
    await call(url, { headers: basic(key), body: new URLSearchParams(fields) });
    expect(seen[0]?.body).toMatch(/&TimeLimit=300$/);
    expect(await settled(key)).toBe(0.1);
  });

  test('a look-up is a read that costs', async () => {
    const key = await issue('twilio', ['GET /lookups/v2/PhoneNumbers/:PhoneNumber']);
    answer = { status: 200, body: { phone_number: '+14155550100' } };
    const url = '/twilio/lookups/v2/PhoneNumbers/+14155550100?Fields=line_type_intelligence';
    await call(url, { method: 'GET', headers: basic(key) });
    expect(seen[0]?.url).toBe('/v2/PhoneNumbers/+14155550100?Fields=line_type_intelligence');
    expect(await settled(key)).toBe(0.008);
  });

  test.each([
    ['another account', `/twilio/2010-04-01/Accounts/AC${'9'.repeat(32)}/Messages.json`, 403, 'account_not_allowed'],
    ["another vendor's prefix", `/stripe${path}`, 403, 'account_not_allowed'],
    ["one's own vendor's prefix", `/fax${path}`, 403, 'account_not_allowed'],
    ['XML', `/twilio${path.replace('.json', '')}`, 403, 'endpoint_unpriced'],
    ['the account itself', `/twilio/2010-04-01/Accounts/${AC}.json`, 403, 'endpoint_forbidden'],
  ])('%s is refused, and nothing leaves', async (_what, url, status, code) => {
    const key = await issue('twilio', [SEND]);
    const reply = await call(url, { headers: basic(key), body: text('x') });
    expect(reply).toMatchObject({ status, json: { code: 99_000 + status, status, details: { keybrake_code: code } } });
    expect(seen).toEqual([]);
  });

  test('before the key is known, a refusal has the shape of the vendor that the path is of', async () => {
    for (const url of [`/twilio${path}`, path]) {
      expect(await call(url, { headers: {} })).toMatchObject({ status: 401, json: { code: 99_401 } });
    }
    expect(await call('/emails', { headers: {} })).toMatchObject({ json: { name: 'key_invalid' } });
    expect(await call('/fax/v1/faxes', { headers: {} })).toMatchObject({ json: { error: { code: 'key_invalid' } } });
    expect(await call('/v1/x', { headers: {} })).toMatchObject({ json: { error: { type: 'invalid_request_error' } } });
  });
});

describe('Resend', () => {
  const json = (key: IssuedKey) => ({ authorization: `Bearer ${key.vault_key}`, 'content-type': 'application/json' });
  const mail = { to: ['a@b.test', 'c@d.test'], from: 'x@y.test', subject: 's', text: 't' };

  test('an e-mail leaves in canonical JSON with a minted key, and its money comes back when it is canceled', async () => {
    const key = await issue('resend', ['POST /emails', 'POST /emails/:id/cancel']);
    answer = { status: 200, body: { id: '49a3999c-0ce1' } };
    const reply = await call('/resend/emails', { headers: json(key), body: JSON.stringify(mail) });
    expect(reply.json).toEqual(answer.body);
    expect(seen[0]?.body).toBe('{"from":"x@y.test","subject":"s","text":"t","to":["a@b.test","c@d.test"]}');
    expect(seen[0]?.headers).toMatchObject({ authorization: 'Bearer re_secret', 'content-type': 'application/json' });
    expect(seen[0]?.headers['idempotency-key']).toMatch(/^kb1_[0-9a-f]{64}$/);
    expect(await settled(key)).toBe(0.0018);
    await call('/resend/emails/49a3999c-0ce1/cancel', { headers: json(key) });
    expect(seen[1]).toMatchObject({ url: '/emails/49a3999c-0ce1/cancel', body: '' });
    expect(await settled(key)).toBe(0);
  });

  test("the minted key of a record is the same in every attempt, and the client's own is passed on", async () => {
    const key = await issue('resend', ['POST /emails']);
    answer = { status: 500, body: { statusCode: 500, name: 'application_error', message: 'x' } };
    const headers = { ...json(key), 'keybrake-record-id': 'r' };
    for (let tries = 0; tries < 2; tries += 1) await call('/emails', { headers, body: JSON.stringify(mail) });
    expect(seen).toHaveLength(2);
    expect(seen[1]?.headers['idempotency-key']).toBe(seen[0]?.headers['idempotency-key']);
    expect(seen[1]?.body).toBe(seen[0]?.body);
    const own = { ...json(key), 'idempotency-key': 'mine' };
    await call('/emails', { headers: own, body: JSON.stringify(mail) });
    expect(seen[2]?.headers['idempotency-key']).toBe('mine');
  });

  test.each([
    [422, 'missing_required_field', 0],
    [409, 'invalid_idempotent_request', 0],
    [409, 'concurrent_idempotent_requests', 0.0018],
  ])('%d %s leaves this much unknown: %d', async (status, name, unknown) => {
    const key = await issue('resend', ['POST /emails']);
    answer = { status, body: { statusCode: status, name, message: 'x' } };
    await call('/emails', { headers: json(key), body: JSON.stringify(mail) });
    expect((await proxy.client.getKey(key.key_id)).spend).toMatchObject({
      settled_usd: 0,
      held_usd: 0,
      unknown_usd: unknown,
    });
  });

  test('a name given twice is refused, and nothing leaves', async () => {
    const key = await issue('resend', ['POST /emails']);
    const body = '{"from":"x@y.test","to":"a@b.test","t\\u006f":["a@b.test","c@d.test"]}';
    const reply = await call('/resend/emails', { headers: json(key), body });
    expect(reply).toMatchObject({ status: 400, json: { name: 'request_unpriceable', keybrake: { field: 'to' } } });
    expect(seen).toEqual([]);
  });
});

describe("a vendor of one's own, from examples/own-vendor", () => {
  const headersOf = (key: IssuedKey) => ({
    authorization: `Bearer ${key.vault_key}`,
    'content-type': 'application/json',
  });

  test.each([
    ['/v1/faxes', '{"pages":3,"to":"+1"}', { fax: { id: 'fx_1' } }, 0.21],
    ['/v1/letters', '{"letters":[{"sheets":2},{"sheets":1}]}', { batch: 7 }, 2.85],
  ])('POST %s %s', async (path, body, answered, usd) => {
    const key = await issue('fax', [`POST ${path}`], 5);
    answer = { status: 200, body: answered };
    const reply = await call(`/fax${path}`, { headers: headersOf(key), body });
    expect(reply.status).toBe(200);
    expect(seen[0]).toMatchObject({ url: path, body });
    expect(seen[0]?.headers).toMatchObject({
      'x-api-key': 'fax-secret',
      'idempotency-key': expect.any(String) as string,
    });
    expect(seen[0]?.headers.authorization).toBeUndefined();
    expect(await settled(key)).toBe(usd);
  });

  test('its own header for idempotency keys is the claim, and a second call is a replay', async () => {
    const key = await issue('mail', ['POST /v1/mails']);
    const headers = { ...headersOf(key), 'x-request-key': 'order-1' };
    answer = { status: 200, body: {} };
    await call('/mail/v1/mails', { headers, body: '{}' });
    const again = await call('/mail/v1/mails', { headers, body: '{}' });
    expect(again.headers.get('idempotent-replayed')).toBe('true');
    expect(seen).toHaveLength(1);
    expect(seen[0]?.headers['x-request-key']).toBe('order-1');
    expect(await settled(key)).toBe(0.01);
  });

  test('a form route has a fixed price', async () => {
    const key = await issue('fax', ['POST /v1/numbers'], 20);
    answer = { status: 200, body: {} };
    const headers = { authorization: `Bearer ${key.vault_key}`, 'content-type': 'application/x-www-form-urlencoded' };
    await call('/fax/v1/numbers', { headers, body: 'area=415' });
    expect(await settled(key)).toBe(12.5);
  });

  test.each([
    ['a price above the cap', '{"pages":30}', 429, 'cap_exhausted'],
    ['no pages', '{}', 400, 'request_unpriceable'],
    ['half a page', '{"pages":0.5}', 400, 'request_unpriceable'],
    ['pages as text', '{"pages":"1"}', 400, 'request_unpriceable'],
    ['pages twice', '{"pages":1,"pages":2}', 400, 'request_unpriceable'],
  ])('%s is refused in its error shape', async (_what, body, status, code) => {
    const key = await issue('fax', ['POST /v1/faxes']);
    const reply = await call('/fax/v1/faxes', { headers: headersOf(key), body });
    expect(reply).toMatchObject({
      status,
      json: { error: { code, text: expect.stringMatching(`^${code}: `) as string } },
    });
    expect(seen).toEqual([]);
  });

  test.each([
    ['402 in its error shape: not executed', 402, { error: { code: 'no_credit', text: 'x' } }, 0],
    ['422 in its error shape: not executed', 422, { error: { code: 12, text: 'x' } }, 0],
    ['422 in another shape', 422, { message: 'x' }, 0.07],
    ['409', 409, { error: { code: 'busy', text: 'x' } }, 0.07],
    ['200 without the id', 200, { fax: {} }, 0.07],
  ])('%s', async (_what, status, body, unknown) => {
    const key = await issue('fax', ['POST /v1/faxes']);
    answer = { status, body };
    await call('/fax/v1/faxes', { headers: headersOf(key), body: '{"pages":1}' });
    expect((await proxy.client.getKey(key.key_id)).spend).toMatchObject({ settled_usd: 0, unknown_usd: unknown });
  });

  test('a key for a route or a vendor that is not described is not issued', async () => {
    const issues = (message: string) => ({ issues: [{ message: expect.stringContaining(message) as string }] });
    await expect(issue('fax', ['POST /v1/fax'])).rejects.toMatchObject(issues('"POST /v1/faxes"'));
    await expect(issue('paypal', ['POST /v1/x'])).rejects.toMatchObject(issues('stripe, twilio, resend, fax'));
  });
});
