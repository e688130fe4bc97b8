/** A run on the real proxy, what happens behind its back at the stand-ins, and the comparison as a person would ask. */
import { request } from 'undici';
import type { IssuedKey, IssueKeyBody } from '../../proxy/contract';
import type { DriftLine, DriftRow, DriftTotal } from '../../proxy/drift/lines';
import type { TestProxyOptions } from '../../src/testing';
import { keybrake } from './cli';
import { type Answer, callerOf } from './rig';
import { startVendorRig, TWILIO_ACCOUNT } from './vendorRig';

const PAYMENTS = '/v1/payment_intents';
const MESSAGES = `/2010-04-01/Accounts/${TWILIO_ACCOUNT}/Messages.json`;
const BASIC = (secret: string) => `Basic ${Buffer.from(`${TWILIO_ACCOUNT}:${secret}`).toString('base64')}`;

// prettier-ignore
const ALLOWED = {
  stripe: [
    'POST /v1/payment_intents', 'GET /v1/payment_intents/:id', 'POST /v1/payment_intents/:id/capture',
    'POST /v1/payment_intents/:id/cancel', 'POST /v1/payment_intents/:id/confirm', 'POST /v1/refunds', 'POST /v1/charges',
    'POST /v1/charges/:id/capture', 'POST /v1/payouts', 'POST /v1/transfers',
  ],
  twilio: ['POST /2010-04-01/Accounts/:AccountSid/Messages.json'],
  resend: ['POST /emails'],
};

export type DriftRig = Awaited<ReturnType<typeof startDriftRig>>;

export async function startDriftRig(options: Partial<TestProxyOptions> = {}) {
  const rig = await startVendorRig(options);
  const { proxy, sandbox } = rig;
  const caller = callerOf(proxy.url, 16);
  const env = { KEYBRAKE_URL: proxy.url, KEYBRAKE_API_KEY: proxy.apiKey };

  const send = async (url: string, authorization: string, body: string): Promise<Record<string, unknown>> => {
    const headers = { authorization, 'content-type': 'application/x-www-form-urlencoded' };
    const reply = await request(url, { method: 'POST', headers, body });
    const json = (await reply.body.json()) as Record<string, unknown>;
    if (reply.statusCode >= 300) throw new Error(`${url} answered ${reply.statusCode}: ${JSON.stringify(json)}`);
    return json;
  };
  const pay = async (key: IssuedKey, body: string, path = PAYMENTS, record?: string): Promise<Answer['json']> => {
    const headers = record === undefined ? {} : { 'keybrake-record-id': record };
    return (await caller.call(key.vault_key, { path: `/stripe${path}`, body, headers })).json;
  };

  return {
    ...rig,
    issue: (vendor: keyof typeof ALLOWED, body: Partial<IssueKeyBody> = {}): Promise<IssuedKey> =>
      rig.issue({ vendor, allowed_endpoints: ALLOWED[vendor], job_id: 'job', ...body }),
    /** A Stripe call of the run; answers the object. */
    pay,
    async text(key: IssuedKey, to: string): Promise<string> {
      const body = `To=${encodeURIComponent(to)}&From=%2B15005550006&Body=Hello`;
      const headers = { authorization: BASIC(key.vault_key) };
      return (await caller.call(null, { path: `/twilio${MESSAGES}`, body, headers })).json.sid as string;
    },
    async mail(key: IssuedKey): Promise<string> {
      const body = JSON.stringify({ from: 'a@example.com', to: 'b@example.com', subject: 'x', text: 'y' });
      const headers = { 'content-type': 'application/json' };
      return (await caller.call(key.vault_key, { path: '/resend/emails', body, headers })).json.id as string;
    },
    /** As somebody with the real secret, past the proxy. */
    behind: (path: string, body = '') => send(sandbox.url + path, 'Bearer sk_test_vendors_0123456789', body),
    textBehind: (to: string) =>
      send(
        sandbox.url + MESSAGES,
        BASIC('twilio_token_0123456789'),
        `To=${encodeURIComponent(to)}&From=%2B15005550006&Body=Hello`,
      ),
    /** The stand-in's answers to GET, by how their paths begin. */
    reads: (path: string) => sandbox.requests().filter((one) => one.method === 'GET' && one.path.startsWith(path)),
    cli: (...args: string[]) => keybrake(['audit', '--reconcile', ...args], { env }),
    async compare(job_id = 'job') {
      const lines: DriftLine[] = [];
      for await (const line of proxy.client.drift({ job_id })) lines.push(line);
      const end = lines.at(-1);
      if (end?.type !== 'end') throw new Error('the comparison was broken off');
      return {
        lines,
        state: end.state,
        calls: end.calls,
        rows: lines.filter((line): line is DriftRow => line.type === 'row'),
        totals: lines.filter((line): line is DriftTotal => line.type === 'total'),
      };
    },
    async close() {
      await caller.close();
      await rig.close();
    },
  };
}
