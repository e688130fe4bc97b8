import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse } from 'yaml';
import { pricesSchema, vendorsSchema } from '../src/config/prices';
import { API_KEY, complaints, file, GOOD, proxyOptions, TEST } from './support/config';

describe('Twilio and Resend', () => {
  const BASE = { KEYBRAKE_API_KEY: API_KEY };
  const SID = `AC${'0'.repeat(32)}`;
  const TWILIO = { TWILIO_ACCOUNT_SID: SID, TWILIO_AUTH_TOKEN: 'token' };

  test('have accounts of their own, beside Stripe or without it', () => {
    expect(proxyOptions({ ...BASE, ...TWILIO }).accounts).toEqual({
      twilio: { vendor: 'twilio', secret: 'token', accountId: SID },
    });
    const env = { ...GOOD, ...TWILIO, RESEND_API_KEY: 're_x', KEYBRAKE_RESEND_UPSTREAM: 'http://127.0.0.1:1' };
    const { accounts } = proxyOptions(env);
    expect(Object.keys(accounts)).toEqual(['stripe', 'twilio', 'resend']);
    expect(accounts['resend']).toEqual({ vendor: 'resend', secret: 're_x', upstream: 'http://127.0.0.1:1' });
  });

  test("an API key is preferred to the account's own token", () => {
    const user = `SK${'1'.repeat(32)}`;
    const env = { ...BASE, ...TWILIO, TWILIO_API_KEY: user, TWILIO_API_SECRET: 'secret' };
    expect(proxyOptions(env).accounts['twilio']).toEqual({ vendor: 'twilio', secret: 'secret', user, accountId: SID });
  });

  test.each([
    ['a token without its account', { TWILIO_AUTH_TOKEN: 'token' }, /TWILIO_ACCOUNT_SID is not set/],
    ['an account that is none', { ...TWILIO, TWILIO_ACCOUNT_SID: 'AC1' }, /does not look like an account SID/],
    ['an API secret without its key', { ...TWILIO, TWILIO_API_SECRET: 's' }, /TWILIO_API_KEY is not set/],
    ['an API key that is none', { ...TWILIO, TWILIO_API_SECRET: 's', TWILIO_API_KEY: 'x' }, /no API key SID/],
    [
      'an account without its token',
      { TWILIO_ACCOUNT_SID: SID },
      /^TWILIO_AUTH_TOKEN is not set, but TWILIO_ACCOUNT_SID is\. Set it \(or TWILIO_API_KEY and TWILIO_API_SECRET\)/,
    ],
    [
      'an API key without its secret',
      { TWILIO_ACCOUNT_SID: SID, TWILIO_API_KEY: `SK${'1'.repeat(32)}` },
      /^TWILIO_API_SECRET is not set, but TWILIO_API_KEY is/,
    ],
    [
      'an API key without its secret, beside a token',
      { ...TWILIO, TWILIO_API_KEY: `SK${'1'.repeat(32)}` },
      /^TWILIO_API_SECRET is not set, but TWILIO_API_KEY is/,
    ],
    ['a key of another vendor', { RESEND_API_KEY: 'sk_live_1' }, /does not look like a Resend key/],
    [
      'a secret to an upstream beyond this machine',
      { ...TWILIO, KEYBRAKE_TWILIO_UPSTREAM: 'https://elsewhere.test' },
      /TWILIO_AUTH_TOKEN is a live secret, and would be sent to https:\/\/elsewhere/,
    ],
  ])('%s stops the start', (_name, env, expected) => {
    expect(complaints({ ...BASE, ...env }).join('\n')).toMatch(expected);
    expect(complaints({ ...BASE, ...env })).toHaveLength(1);
  });

  test('of half a credential everything that is missing is told', () => {
    for (const half of [{ TWILIO_API_KEY: `SK${'1'.repeat(32)}` }, { TWILIO_API_SECRET: 's' }]) {
      const [first, second, ...more] = complaints({ ...BASE, ...half });
      expect(first).toMatch(/^TWILIO_API_(?:SECRET|KEY) is not set, but TWILIO_API_(?:KEY|SECRET) is/);
      expect(second).toMatch(/^TWILIO_ACCOUNT_SID is not set/);
      expect(more).toEqual([]);
    }
  });

  test('what an account of keybrake.yaml leaves unused is no half of a credential', () => {
    const text = `accounts: { twilio: { vendor: twilio, secret: env:TW_TOKEN, account_sid: ${SID} } }`;
    const env = { ...BASE, KEYBRAKE_CONFIG: file('twilio.yaml', text), TW_TOKEN: 'token', TWILIO_ACCOUNT_SID: SID };
    expect(complaints(env)).toEqual([]);
  });

  test("the vendor's own address is no other upstream: its hosts stay its hosts", () => {
    const env = { ...BASE, ...TWILIO, KEYBRAKE_TWILIO_UPSTREAM: 'https://api.twilio.com' };
    expect(proxyOptions(env).accounts['twilio']).not.toHaveProperty('upstream');
  });
});

describe('keybrake.yaml', () => {
  test('prices are micro-dollars, over the shipped ones', () => {
    const text = 'prices: { twilio: { sms: { GB: 0.0524, "+8816": 1.5 }, whatsapp: 0.14 }, resend: { email: 0.0004 } }';
    const { prices, vendors } = proxyOptions({ ...GOOD, KEYBRAKE_CONFIG: file('prices.yaml', text) });
    expect(prices).toEqual({
      twilio: { sms: { GB: 52_400, '+8816': 1_500_000 }, whatsapp: 140_000 },
      resend: { email: 400 },
    });
    expect(vendors).toBeUndefined();
  });

  test.each([
    ['{ twilio: { sms: { "+1": 0.01 } } }', /prices\.twilio\.sms\.\+1 \+1 is shared by \d+ countries/],
    ['{ twilio: { sms: { UK: 0.01 } } }', /UK must be an ISO country such as GB/],
    ['{ twilio: { sms: { GB: "0.01" } } }', /sms\.GB must be a number of dollars/],
    ['{ twilio: { sms: { GB: 0.0000001 } } }', /sms\.GB must be dollars from 0 .* six decimals/],
    ['{ twilio: { sms: -1 } }', /twilio\.sms must be dollars/],
    ['{ twilio: { smss: 1 } }', /smss is not a setting. Did you mean sms\?/],
    ['{ twilio: { call_seconds_max: 0 } }', /call_seconds_max/],
    ['{ resend: { email: .inf } }', /resend\.email must be/],
  ])('prices %s stop the start', (text, expected) => {
    const found = complaints({ ...GOOD, KEYBRAKE_CONFIG: file('bad-prices.yaml', `prices: ${text}`) });
    expect(found.join('\n')).toMatch(expected);
  });

  test("the example of a vendor of one's own is understood", () => {
    const path = join(__dirname, '../examples/own-vendor/keybrake.yaml');
    const { vendors, accounts } = proxyOptions({ ...GOOD, KEYBRAKE_CONFIG: path, FAX_API_KEY: 'fax-secret' });
    expect(accounts['fax']).toEqual({ vendor: 'fax', secret: 'fax-secret' });
    expect(vendors?.['fax']).toMatchObject({
      origin: 'https://api.fax.example',
      auth: { kind: 'header', name: 'x-api-key' },
      idempotencyHeader: 'idempotency-key',
      notExecuted: [402, 422],
    });
    expect(vendors?.['fax']?.routes[1]).toEqual({
      method: 'POST',
      path: '/v1/letters',
      body: 'json',
      price: { micros: 950_000, each: 'letters', times: 'sheets' },
      id: 'batch',
    });
  });

  test("the example has every setting of a vendor of one's own, and every price", () => {
    const path = join(__dirname, '../examples/own-vendor/keybrake.yaml');
    const { prices, vendors } = parse(readFileSync(path, 'utf8')) as Record<string, Record<string, object>>;
    const settings = ({ shape }: { readonly shape: object }) => Object.keys(shape).toSorted();
    const given = (part: object | undefined) => Object.keys(part ?? {}).toSorted();
    expect(given(vendors?.['fax'])).toEqual(settings(vendorsSchema.valueType.in));
    const { twilio, resend } = pricesSchema.shape;
    expect(given(prices?.['twilio'])).toEqual(settings(twilio.unwrap().unwrap()));
    expect(given(prices?.['resend'])).toEqual(settings(resend.unwrap().unwrap()));
    expect(given(prices)).toEqual(settings(pricesSchema));
  });

  describe('one mistake hides no other', () => {
    const found = (text: string, env = {}) => {
      const path = file('several.yaml', text);
      return complaints({ KEYBRAKE_API_KEY: API_KEY, KEYBRAKE_CONFIG: path, ...env }).map((line) =>
        line.replace(`${path} `, ''),
      );
    };
    const ACCOUNTS = 'accounts: { s3: { vendor: paypal, secret: env:NOPE_KEY, upstream: nowhere } }';
    const OF_ACCOUNTS = [
      expect.stringMatching(/^accounts\.s3\.vendor is no vendor/),
      expect.stringMatching(/^accounts\.s3\.upstream is not an http/),
      expect.stringMatching(/^accounts\.s3\.secret refers to NOPE_KEY, which is not set/),
    ];

    test('a name that is no setting, beside accounts that cannot be used', () => {
      expect(found(ACCOUNTS)).toEqual(OF_ACCOUNTS);
      const told = found(`zork: 1\n${ACCOUNTS}`);
      expect(told).toEqual([expect.stringContaining('zork is not a setting'), ...OF_ACCOUNTS]);
    });

    test('a field of the same account, and a vendor that cannot be read', () => {
      const text = `vendors: { fax: { origin: x } }
accounts:
  a: { vendor: paypal, secret: sk_in_the_file, max_rps: 0 }
  b: { vendor: fax, secret: env:NOPE_KEY, usr: x }
  c: { secret: env:NOR_THIS }
  d: 5`;
      const places = found(text).map((line) => line.split(' ').slice(0, 2).join(' '));
      expect(places.toSorted()).toEqual(
        [
          'accounts.a.secret must',
          'accounts.a.max_rps must',
          'accounts.a.vendor is',
          'accounts.b usr',
          'accounts.b.secret refers',
          'accounts.c.vendor is',
          'accounts.c.secret refers',
          'accounts.d must',
          'vendors.fax.origin must',
          'vendors.fax.routes is',
        ].toSorted(),
      );
    });

    test('a file of which nothing can be read is not said to name no account', () => {
      expect(found('accounts: [')).toEqual([expect.stringContaining('is not YAML')]);
      expect(found('acounts: {}')).toEqual([expect.stringContaining('Did you mean accounts?')]);
      expect(found('')).toEqual([expect.stringContaining('there is nothing to call')]);
    });

    test('what the environment says for several accounts is complained about once', () => {
      const text =
        'accounts: { a: { vendor: stripe, secret: env:STRIPE_EU_KEY }, b: { vendor: stripe, secret: env:STRIPE_EU_KEY } }';
      const env = { STRIPE_EU_KEY: TEST, STRIPE_SECRET_KEY: TEST };
      const wrong = { KEYBRAKE_STRIPE_MAX_RPS: 'fast', KEYBRAKE_STRIPE_UPSTREAM: 'nowhere' };
      expect(found(text, env)).toEqual([]);
      expect(found(text, { ...env, ...wrong })).toEqual([
        expect.stringMatching(/^KEYBRAKE_STRIPE_UPSTREAM/),
        expect.stringMatching(/^KEYBRAKE_STRIPE_MAX_RPS/),
      ]);
    });
  });

  const ROUTE = '{ route: POST /v1/a, price: { usd: 1 } }';
  test.each([
    ['stripe: { origin: "https://a.test", routes: [ROUTE] }', /stripe is taken/],
    ['v1: { origin: "https://a.test", routes: [ROUTE] }', /v1 is taken/],
    ['Fax: { origin: "https://a.test", routes: [ROUTE] }', /must be lower-case/],
    ['fax: { origin: "http://a.test", routes: [ROUTE] }', /fax\.origin must be an https origin/],
    ['fax: { origin: "https://a.test/v1", routes: [ROUTE] }', /fax\.origin must be an https origin/],
    ['fax: { origin: "https://a.test", routes: [] }', /fax\.routes must have a route/],
    ['fax: { origin: "https://a.test", routes: [{ route: POST /v1/a }] }', /routes\.0\.price must be free, or dollars/],
    [
      'fax: { origin: "https://a.test", routes: [{ route: POST v1, price: free }] }',
      /routes\.0\.route must be a method/,
    ],
    ['fax: { origin: "https://a.test", routes: [{ route: POST /v1/../a, price: free }] }', /routes\.0\.route must be/],
    [
      'fax: { origin: "https://a.test", routes: [{ route: POST /a, price: { usd: 1, time: x } }] }',
      /routes\.0\.price.*time/,
    ],
    [
      'fax: { origin: "https://a.test", routes: [{ route: POST /a, body: form, price: { usd: 1, each: x } }] }',
      /price\.each needs body: json/,
    ],
    ['fax: { origin: "https://a.test", routes: [ROUTE, ROUTE] }', /POST \/v1\/a is there twice/],
    ['fax: { origin: "https://a.test", auth: digest, routes: [ROUTE] }', /fax\.auth must be bearer/],
    ['fax: { origin: "https://a.test", error: { e: x }, routes: [ROUTE] }', /fax\.error must say \{message\}/],
    ['fax: { origin: "https://a.test", not_executed: [200], routes: [ROUTE] }', /not_executed\.0/],
    ['fax: { origin: "https://a.test", pass_headers: [Authorization], routes: [ROUTE] }', /is set by the proxy itself/],
    ['fax: { orign: "https://a.test", routes: [ROUTE] }', /orign is not a setting. Did you mean origin\?/],
  ])("a vendor of one's own stops the start: %s", (text, expected) => {
    const path = file('vendor.yaml', `vendors: { ${text.replaceAll('ROUTE', ROUTE)} }`);
    expect(complaints({ ...GOOD, KEYBRAKE_CONFIG: path }).join('\n')).toMatch(expected);
  });

  test('every wrong field of it is told at once', () => {
    const text = 'vendors: { fax: { origin: x, auth: y, routes: [{ route: z, price: 1 }, { route: z, price: 2 }] } }';
    expect(complaints({ ...GOOD, KEYBRAKE_CONFIG: file('many.yaml', text) })).toHaveLength(6);
  });

  test('an account of it with Basic authentication needs a user name', () => {
    const text = `vendors: { fax: { origin: "https://a.test", auth: basic, routes: [${ROUTE}] } }
accounts: { fax: { vendor: fax, secret: env:FAX_API_KEY } }`;
    const env = { ...GOOD, KEYBRAKE_CONFIG: file('basic.yaml', text), FAX_API_KEY: 'x' };
    expect(complaints(env).join()).toMatch(/accounts\.fax\.user is not set/);
  });
});
