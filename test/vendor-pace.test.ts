/** What is known of the vendors' own limits, and where it counts. */
import { createVendors } from '../proxy/vendors';
import { rateLimitIn } from '../proxy/rateLimit';
import { startTestProxy } from './support/proxy';

const custom = {
  origin: 'https://api.fax.example',
  auth: { kind: 'bearer' },
  error: { problem: '{message}' },
  routes: [{ method: 'POST', path: '/faxes', body: 'json', price: 'free' }],
} as const;
const vendors = createVendors({ vendors: { fax: custom } });
const NOW = Date.parse('2026-11-24T10:00:00Z');

function limitOf(vendor: string, body: unknown, headers: Record<string, string> = {}, status = 429) {
  const sent = { kind: 'answered', status, headers, body: Buffer.from(JSON.stringify(body)) } as const;
  return rateLimitIn(vendors.get(vendor)!, sent, NOW);
}

const stripeSays = (type: string, code?: string) => ({ error: { type, message: 'no', ...(code && { code }) } });
const twilioSays = (code: number) => ({ code, message: 'no', more_info: '', status: 429 });
const resendSays = (name: string) => ({ statusCode: 429, name, message: 'no' });

test.each([
  ['stripe', stripeSays('invalid_request_error', 'rate_limit'), true],
  ['stripe', stripeSays('rate_limit_error'), true],
  ['stripe', stripeSays('rate_limit'), true],
  ['stripe', stripeSays('invalid_request_error', 'lock_timeout'), false],
  ['stripe', stripeSays('rate_limit_error', 'lock_timeout'), false],
  ['stripe', stripeSays('quota_exceeded'), false],
  ['twilio', twilioSays(20_429), true],
  ['twilio', twilioSays(63_038), false],
  ['resend', resendSays('rate_limit_exceeded'), true],
  ['resend', resendSays('daily_quota_exceeded'), false],
  ['resend', resendSays('monthly_quota_exceeded'), false],
  ['fax', { problem: 'slow down' }, true],
  ['stripe', '<html>', true],
])('a 429 of %s with %j is a rate limit: %s', (vendor, body, expected) => {
  expect(limitOf(vendor, body) !== undefined).toBe(expected);
  expect(limitOf(vendor, body, {}, 400)).toBeUndefined();
});

test.each([
  ['2', 2_000],
  ['0.5', 500],
  ['Tue, 24 Nov 2026 10:00:03 GMT', 3_000],
  ['Tue, 24 Nov 2026 09:00:00 GMT', 0],
  ['soon', undefined],
  ['', undefined],
])('Retry-After %j is %s ms', (header, expected) => {
  const limit = limitOf('resend', resendSays('rate_limit_exceeded'), { 'retry-after': header });
  expect(limit).toEqual({ retryAfterMs: expected });
});

test('at a vendor’s own hosts its own limit counts; at a stand-in, and where the operator says so, it does not', async () => {
  const stripe = { vendor: 'stripe', secret: 'sk_live_1' };
  const upstream = 'http://127.0.0.1:9';
  const proxy = await startTestProxy({
    upstream,
    vendors: { fax: custom },
    accounts: {
      live: stripe,
      named: { ...stripe, upstream: 'https://api.stripe.com' },
      test: { ...stripe, secret: 'rk_test_1' },
      own: { ...stripe, maxRps: 95.5 },
      standin: { ...stripe, upstream },
      slow: { ...stripe, upstream, maxRps: 3 },
      twilio: { vendor: 'twilio', secret: 't', accountId: 'AC1' },
      resend: { vendor: 'resend', secret: 're_1' },
      fax: { vendor: 'fax', secret: 'f' },
    },
  });
  const text = await (await fetch(`${proxy.url}/metrics`)).text();
  await proxy.close();
  const rates = [...text.matchAll(/^keybrake_pace_rps\{account="(\w+)"\} (\S+)$/gm)].map(([, name, rps]) => [
    name,
    rps,
  ]);
  expect(Object.fromEntries(rates)).toEqual({
    live: '80',
    named: '80',
    test: '20',
    own: '95.5',
    standin: '+Inf',
    slow: '3',
    twilio: '+Inf',
    resend: '5',
    fax: '+Inf',
  });
});
