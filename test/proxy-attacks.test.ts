/** Ways around the cap by being read in two ways: what the proxy does not understand for certain never reaches the vendor. */
import { connect } from 'node:net';
import type { IssuedKey } from '../proxy/contract';
import { type Call, type Rig, startRig } from './support/rig';

/** A generous key: only how a request is written may refuse it. */
const ALLOWED = [
  'POST /v1/payment_intents',
  'POST /v1/payment_intents/:id',
  'POST /v1/payment_intents/:id/confirm',
  'POST /v1/payment_intents/:id/capture',
  'GET /v1/payment_intents',
  'GET /v1/payment_intents/:id',
  'POST /v1/charges',
  'POST /v1/refunds',
  'POST /v1/customers',
  'POST /v1/customers/:id',
];

let rig: Rig;
let key: IssuedKey;
beforeAll(async () => {
  rig = await startRig({ sandbox: {} });
  key = await rig.issue({ usd_cap: 1_000, allowed_endpoints: ALLOWED });
});
afterAll(() => rig.close());
beforeEach(() => rig.sandbox.reset());

/** Nothing reached the vendor and no money is held or spent. */
async function nothingHappened(): Promise<void> {
  expect(rig.sandbox.requests()).toEqual([]);
  const { spend } = await rig.client.getKey(key.key_id);
  expect(spend).toMatchObject({ settled_usd: 0, held_usd: 0, unknown_usd: 0 });
}

const form = (body: string): Call => ({ body });
const typed = (type: string, body: string): Call => ({ body, headers: { 'content-type': type } });
const headed = (name: string, value: string): Call => ({ body: 'amount=1&currency=usd', headers: { [name]: value } });
const at = (path: string, body = 'amount=1&currency=usd'): Call => ({ path: `/stripe${path}`, body });

describe('a body that can be read in two ways is refused, and nothing is forwarded', () => {
  test.each<[string, Call, string?]>([
    ['the amount twice', form('amount=1&currency=usd&amount=999999')],
    ['the amount twice, once encoded', form('amount=1&currency=usd&am%6Funt=999999')],
    ['the amount twice, once in upper-case escapes', form('amount=1&currency=usd&%61mount=999999')],
    ['the amount in the query too', { ...at('/v1/payment_intents?amount=999999'), body: 'amount=1&currency=usd' }],
    ['the amount in the query alone', at('/v1/payment_intents?amount=999999&currency=usd', '')],
    ['a list of amounts', form('amount[]=1&currency=usd')],
    ['an indexed amount', form('amount[0]=1&currency=usd')],
    ['a map of amounts', form('amount[value]=1&currency=usd')],
    ['an amount and a list of amounts', form('amount=1&amount[]=999999&currency=usd')],
    ['a customer twice', form('amount=1&currency=usd&customer=cus_1&customer=cus_2')],
    ['the currency twice', form('amount=1&currency=usd&currency=jpy')],
    ['no amount', form('currency=usd')],
    ['no currency', form('amount=1')],
    ['amount_to_confirm twice', form('amount=1&currency=usd&amount_to_confirm=1&amount_to_confirm=9')],
    ['a field of money that nobody knows', form('amount=1&currency=usd&surcharge_amount=999999')],
    ['fields parted by semicolons', form('amount=1;amount=999999&currency=usd')],
    ['a field without a value', form('amount=1&currency=usd&amount')],
    ['an escape that is none', form('amount=1&currency=usd&description=%zz')],
    ['an overlong escape', form('amount=1&currency=usd&description=%C0%AF')],
    ['a null byte in a name', form('amount=1&currency=usd&amount%00=999999')],
    ['a space before a name', form('amount=1&currency=usd&+amount=999999')],
    ['an unbalanced name', form('amount=1&currency=usd&metadata[a=1')],
    ['a method override in the body', form('amount=1&currency=usd&_method=DELETE')],
    ['JSON', typed('application/json', '{"amount":999999,"currency":"usd"}')],
    ['JSON declared as a form', form('{"amount":999999,"currency":"usd"}')],
    ['a form declared as JSON', typed('application/json', 'amount=1&currency=usd')],
    ['multipart', typed('multipart/form-data; boundary=x', '--x\r\n\r\namount=1\r\n--x--')],
    [
      'a charset that reads other bytes',
      typed('application/x-www-form-urlencoded; charset=utf-16', 'amount=1&currency=usd'),
    ],
    ['two content types', typed('application/x-www-form-urlencoded, application/json', 'amount=1&currency=usd')],
    ['a compressed body', headed('content-encoding', 'gzip')],
    ['a method override', headed('x-http-method-override', 'PUT')],
    ['another path in a header', headed('x-original-url', '/v1/refunds')],
    ['an idempotency key that the vendor would not take', headed('idempotency-key', 'k'.repeat(256))],
  ])('%s', async (_name, call, code = 'request_unpriceable') => {
    const answer = await rig.call(key.vault_key, call);
    expect([answer.status, answer.code]).toEqual([400, code]);
    await nothingHappened();
  });

  test.each([
    '+500',
    '%2B500',
    '-5',
    '0',
    '0500',
    '5e2',
    '5.0',
    '500.00',
    '0x10',
    '1_000',
    '%20500',
    '500%20',
    '500%0A',
    '',
  ])('the amount %p is not guessed at', async (amount) => {
    const answer = await rig.call(key.vault_key, form(`amount=${amount}&currency=usd`));
    expect([answer.status, answer.code]).toEqual([400, 'request_unpriceable']);
    expect(answer.json.error.param).toBe('amount');
    await nothingHappened();
  });

  test.each(['%EF%BC%95%EF%BC%90%EF%BC%90', '%D9%A5', '1234567890123', 'NaN', 'Infinity', 'null', '[object Object]'])(
    'the amount %p is not guessed at either',
    async (amount) => {
      expect((await rig.call(key.vault_key, form(`amount=${amount}&currency=usd`))).code).toBe('request_unpriceable');
      await nothingHappened();
    },
  );
});

describe('a field, header or route that would move money elsewhere or hand out secrets is refused', () => {
  test.each(['transfer_data[destination]', 'on_behalf_of', 'application_fee_amount', 'transfer_data[amount]'])(
    'the field %s',
    async (field) => {
      const answer = await rig.call(key.vault_key, form(`amount=1&currency=usd&${field}=1`));
      expect([answer.status, answer.code]).toEqual([403, 'parameter_not_allowed']);
      await nothingHappened();
    },
  );

  test.each(['stripe-account', 'stripe-context'])('the header %s', async (name) => {
    const answer = await rig.call(key.vault_key, headed(name, 'acct_1'));
    expect([answer.status, answer.code]).toEqual([403, 'account_not_allowed']);
    await nothingHappened();
  });

  test.each([
    '/v1/ephemeral_keys',
    '/v1/webhook_endpoints',
    '/v1/webhook_endpoints/we_1',
    '/v1/terminal/connection_tokens',
    '/v1/account_sessions',
    '/v1/customer_sessions',
    '/v1/issuing/cards/ic_1',
    '/v1/accounts',
    '/v1/accounts/acct_1',
    '/v2/core/accounts',
    '/v2/core/event_destinations',
    '/oauth/token',
  ])('%s, whatever the method; no key can be issued for it', async (path) => {
    for (const method of ['GET', 'POST'] as const) {
      const answer = await rig.call(key.vault_key, { path: `/stripe${path}`, method, body: '' });
      expect([answer.status, answer.code]).toEqual([403, 'endpoint_forbidden']);
      await expect(rig.issue({ usd_cap: 1, allowed_endpoints: [`${method} ${path}`] })).rejects.toMatchObject({
        status: 400,
      });
    }
    await nothingHappened();
  });

  test.each(['POST /v1/*', 'POST *', '* /v1/payment_intents', '* /*'])('no key can be issued for %s', async (route) => {
    await expect(rig.issue({ usd_cap: 1, allowed_endpoints: [route] })).rejects.toMatchObject({ status: 400 });
  });
});

/** A request as bytes, so that no client library tidies it up. Answers the status, 0 when there was no answer. */
function raw(target: string, { method = 'POST', headers = [], body = 'amount=1&currency=usd' }: RawCall = {}) {
  return new Promise<number>((resolve, reject) => {
    const socket = connect(rig.proxy.port, '127.0.0.1');
    let text = '';
    const head = [
      `${method} ${target} HTTP/1.1`,
      'host: 127.0.0.1',
      `authorization: Bearer ${key.vault_key}`,
      'content-type: application/x-www-form-urlencoded',
      'connection: close',
      ...(headers.some((line) => /^(content-length|transfer)/i.test(line)) ? [] : [`content-length: ${body.length}`]),
      ...headers,
    ];
    socket.on('data', (chunk) => (text += String(chunk)));
    socket.on('end', () => resolve(Number(/^HTTP\/1\.1 (\d+)/.exec(text)?.[1] ?? 0)));
    socket.on('error', reject);
    socket.write(`${head.join('\r\n')}\r\n\r\n${body}`);
  });
}

interface RawCall {
  readonly method?: string;
  readonly headers?: readonly string[];
  readonly body?: string;
}

describe('a target or framing that can be read in two ways is refused', () => {
  test.each([
    '/stripe/v1/charges/../payment_intents',
    '/stripe/v1/./payment_intents',
    '/stripe//v1/payment_intents',
    '//stripe/v1/payment_intents',
    '/stripe/v1/payment_intents/',
    '/stripe/v1/payment_intents;a=1',
    '/stripe/v1/payment_intents%2Fpi_1',
    '/stripe/v1/%2e%2e/v1/payment_intents',
    '/stripe/v1\\payment_intents',
    '/stripe/v1/payment_intents%00',
    '/stripe/v1/payment_intents#a',
    'http://api.stripe.com/v1/payment_intents',
    '/stripe/stripe/v1/payment_intents',
    '/twilio/v1/payment_intents',
    '/STRIPE/v1/payment_intents',
    '/stripe/V1/Payment_Intents',
    '*',
  ])('the target %p', async (target) => {
    expect([400, 403]).toContain(await raw(target));
    await nothingHappened();
  });

  test.each<[string, RawCall]>([
    ['PUT', { method: 'PUT' }],
    ['DELETE', { method: 'DELETE' }],
    ['PATCH', { method: 'PATCH' }],
    ['a GET with a body', { method: 'GET' }],
    ['two lengths', { headers: ['content-length: 10', 'content-length: 21'] }],
    ['a length and chunks', { headers: ['content-length: 3', 'transfer-encoding: chunked'], body: '0\r\n\r\n' }],
    ['chunks by another name', { headers: ['transfer-encoding: xchunked'], body: '0\r\n\r\n' }],
    ['a folded header', { headers: ['x: y\r\n z'] }],
  ])('%s', async (_name, call) => {
    expect([400, 403]).toContain(await raw('/stripe/v1/payment_intents', call));
    await nothingHappened();
  });
});

test('what is forwarded is what was priced: the same fields, the real secret, the key unchanged, no word about Keybrake', async () => {
  const answer = await rig.call(key.vault_key, {
    path: '/stripe/v1/p%61yment_intents',
    body: 'am%6Funt=500&currency=usd&metadata[order+id]=7%26amount%3D1&expand[]=latest_charge&expand[]=customer',
    key: 'order/7 ü?'.replace('ü', 'u'),
    headers: {
      'keybrake-record-id': 'r1',
      'keybrake-context': 'bundle 3',
      'x-forwarded-for': '10.0.0.1',
      cookie: 'a=b',
      'stripe-version': '2026-10-28.endive',
    },
  });
  expect(answer.status).toBe(200);
  const [sent, ...more] = rig.sandbox.requests();
  expect(more).toEqual([]);
  expect([sent?.method, sent?.path]).toEqual(['POST', '/v1/payment_intents']);
  expect([...new URLSearchParams(sent?.body)]).toEqual([
    ['amount', '500'],
    ['currency', 'usd'],
    ['metadata[order id]', '7&amount=1'],
    ['expand[]', 'latest_charge'],
    ['expand[]', 'customer'],
  ]);
  expect(sent?.headers).toMatchObject({
    authorization: `Bearer ${rig.proxy.secret}`,
    'idempotency-key': 'order/7 u?',
    'stripe-version': '2026-10-28.endive',
  });
  const names = Object.keys(sent?.headers ?? {}).join(' ');
  expect(names).not.toMatch(/keybrake|cookie|forwarded/);
  const [row] = (await rig.client.listCalls({ record_id: 'r1' })).items;
  expect(row).toMatchObject({ context: 'bundle 3', idempotency_key: 'order/7 u?', route: 'POST /v1/payment_intents' });
});
