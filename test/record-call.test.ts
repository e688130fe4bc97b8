/** One record's call, without a Temporal server: what its answers come to where the next attempt must not guess. */
import { attemptRecord } from '../activities/recordCall';
import { Runtime } from '../activities/runtime';
import type { CallInput } from '../activities/types';
import type { IssuedKey } from '../proxy/contract';
import type { CustomVendor } from '../proxy/vendors/custom';
import { type Sandbox, startSandbox, type TestProxy, type TestProxyOptions } from '../src/testing';
import { startTestProxy } from './support/proxy';
import { startVendorStub, type VendorStub } from './support/vendorStub';

/** An error shape without a place for details. */
const FAX: CustomVendor = {
  origin: 'https://api.fax.example',
  auth: { kind: 'bearer' },
  error: { problem: '{message}' },
  routes: [{ method: 'POST', path: '/v1/faxes', body: 'json', price: { micros: 70_000 } }],
};
const TEXTS = 'POST /2010-04-01/Accounts/{AccountSid}/Messages.json';
const CALLER = { workflowId: 'test', activityId: 'a', attempt: 1 };
const ITEM = { ref: { id: 'a', offset: 0, length: 0, line: 1 }, record: { id: 'a', phone: '+14155561000' } };

let sandbox: Sandbox;
let stub: VendorStub;
beforeAll(async () => {
  sandbox = await startSandbox();
  stub = await startVendorStub();
});
afterAll(async () => {
  await sandbox.stop();
  await stub.stop();
});

interface Work {
  readonly proxy: TestProxy;
  readonly key: IssuedKey;
  readonly attempt: () => ReturnType<typeof attemptRecord>;
}

/** Issues a key for the call's vendor and attempts the call with it. */
async function withCall(
  { upstream, call, vendors = {}, accounts }: Pick<CallInput, 'call'> & TestProxyOptions,
  work: (work: Work) => Promise<void>,
): Promise<void> {
  const proxy = await startTestProxy({ upstream, vendors, ...(accounts !== undefined && { accounts }) });
  const runtime = new Runtime({ url: proxy.url, workerKey: proxy.workerKey });
  try {
    const terms = { usd_cap: 10, expires_in: '1h', agent_run_label: 'test', job_id: 'job' };
    const allowed_endpoints = [`${call.method} ${call.path}`];
    const key = await runtime.client.issueKey({ vendor: call.vendor ?? 'stripe', allowed_endpoints, ...terms });
    const source = { kind: 'inline', records: [] } as const;
    const input: CallInput = { keyId: key.key_id, jobId: 'job', source, recordId: 'id', call, retry: [] };
    await work({ proxy, key, attempt: () => attemptRecord(runtime, input, ITEM, CALLER) });
  } finally {
    await runtime.client.close();
    await runtime.dispatcher.close();
    await proxy.close();
  }
}

test('a call that was executed before its key died is told as executed, also where the refusal has no details', async () => {
  const call = { kind: 'endpoint', method: 'POST', path: '/v1/faxes', params: { to: '{{phone}}' } } as const;
  const accounts = { fax: { vendor: 'fax', secret: 'fax-secret', upstream: stub.url } };
  const fax = {
    upstream: stub.url,
    vendors: { fax: FAX },
    accounts,
    call: { ...call, vendor: 'fax', body: 'json' },
  } as const;
  await withCall(fax, async ({ proxy, key, attempt }) => {
    expect(await attempt()).toEqual({ result: { outcome: 'succeeded' } });
    await proxy.client.revokeKey(key.key_id, 'test');
    expect(await attempt()).toEqual({ result: { outcome: 'succeeded' } });
    expect(stub.seen).toHaveLength(1);
  });
});

test('a text whose answer was lost is never sent again', async () => {
  const params = { To: '{{phone}}', From: '+15005550006', Body: 'hi' };
  const path = TEXTS.slice('POST '.length);
  const call = { kind: 'endpoint', method: 'POST', path, params, vendor: 'twilio', body: 'flat' } as const;
  sandbox.setFaults({ dropAfter: { first: 1 } }, 'twilio');
  await withCall({ upstream: sandbox.url, call }, async ({ attempt }) => {
    expect(await attempt()).toMatchObject({ again: { code: 'outcome_unknown', sent: true } });
    await attempt();
    expect(sandbox.stats().twilio).toMatchObject({ executedMessages: 1, duplicates: { sends: [] } });
  });
});

test('a plan of 0.1.0, which names no vendor, is a form of Stripe', async () => {
  const params = { amount: 500, currency: 'usd', customer: '{{id}}', confirm: true };
  const call = { kind: 'endpoint', method: 'POST', path: '/v1/payment_intents', params } as const;
  await withCall({ upstream: sandbox.url, call }, async ({ attempt }) => {
    expect(await attempt()).toEqual({ result: { outcome: 'succeeded' } });
    expect(sandbox.stats().stripe.executedCharges).toBe(1);
  });
});

test.each([
  ['3', 3_000],
  ['2592000', 3_600_000],
  ['-1', null],
  ['Sun, 29 Nov 2026 12:00:00 GMT', null],
])('a vendor that has a record asked again after %s is asked after an hour at most', async (retryAfter, delayMs) => {
  const params = { amount: 500, currency: 'usd', confirm: true };
  const call = { kind: 'endpoint', method: 'POST', path: '/v1/payment_intents', params } as const;
  const error = { type: 'api_error', message: 'Come back later.' };
  stub.script({ status: 429, headers: { 'retry-after': retryAfter }, body: { error } });
  await withCall({ upstream: stub.url, call }, async ({ attempt }) => {
    expect(await attempt()).toMatchObject({ again: { code: 'api_error', delayMs } });
  });
});
