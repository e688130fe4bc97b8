/** Every refusal of the data plane, met over plain HTTP: what a client that is no SDK can rely on. */
import type { IssuedKey, IssueKeyBody } from '../proxy/contract';
import { REFUSALS, type RefusalCode } from '../proxy/contract';
import { type Answer, type Call, FIVE_DOLLARS, type Rig, startRig, until } from './support/rig';

const UPDATE = 'POST /v1/payment_intents/:id';

let rig: Rig;
beforeAll(async () => {
  rig = await startRig({ proxy: { budgetWaitMs: 150, claimWaitMs: 150, upstreamTimeoutMs: 2_000 } });
});
afterAll(() => rig.close());
beforeEach(() => rig.sandbox.reset());

interface Met {
  readonly answer: Answer;
  /** Undefined: no key that was issued here was given. */
  readonly key?: IssuedKey;
}

type Produce = () => Promise<Met>;

/** One call with a key of its own. */
function one(call: Call, body: Partial<IssueKeyBody> = {}): Produce {
  return async () => {
    const key = await rig.issue({ usd_cap: 100, ...body });
    return { answer: await rig.call(key.vault_key, call), key };
  };
}

/** A call while an equal one is at the vendor. */
function second(call: Call, body: Partial<IssueKeyBody>): Produce {
  return async () => {
    rig.sandbox.setFaults({ delayMs: 600 });
    const key = await rig.issue(body);
    const first = rig.call(key.vault_key, call);
    await until('the first call is at the vendor', () => rig.sandbox.requests().length > 0 || undefined);
    const answer = await rig.call(key.vault_key, call);
    await first;
    return { answer, key };
  };
}

/** A call after others of the same key. */
function after(body: Partial<IssueKeyBody>, ...calls: readonly Call[]): Produce {
  return async () => {
    const key = await rig.issue(body);
    let answer: Answer | undefined = undefined;
    for (const call of calls) answer = await rig.call(key.vault_key, call);
    return { answer: answer!, key };
  };
}

const tooLarge = `${FIVE_DOLLARS}&description=${'x'.repeat(1_200_000)}`;
const largeAnswer = { body: `${FIVE_DOLLARS}&description=${'x'.repeat(300_000)}`, key: 'large' };

/** Status and retry as the contract lists them, DESIGN 4; what more the body has to say. */
// prettier-ignore
const TABLE: readonly [RefusalCode, number, 'retry' | 'no retry', object, Produce][] = [
  ['payload_too_large', 413, 'no retry', {}, one({ body: tooLarge })],
  ['key_invalid', 401, 'no retry', {}, async () => ({ answer: await rig.call('vk_00000000000000000000000000_0000000000000000000000000000000000000000') })],
  ['key_revoked', 401, 'no retry', {}, async () => {
    const key = await rig.issue({ usd_cap: 5 });
    await rig.client.revokeKey(key.key_id, 'stop');
    return { answer: await rig.call(key.vault_key), key };
  }],
  ['key_expired', 401, 'no retry', {}, async () => {
    const key = await rig.issue({ usd_cap: 5, expires_in: 1 });
    await until('the key has expired', async () => (await rig.client.getKey(key.key_id)).state === 'expired' || undefined);
    return { answer: await rig.call(key.vault_key), key };
  }],
  ['account_not_allowed', 403, 'no retry', { field: 'Stripe-Account' }, one({ headers: { 'stripe-account': 'acct_other' } })],
  ['endpoint_forbidden', 403, 'no retry', { attempted: 'POST /v1/ephemeral_keys' }, one({ path: '/stripe/v1/ephemeral_keys' })],
  ['endpoint_unpriced', 403, 'no retry', { attempted: 'POST /v1/subscriptions' }, one({ path: '/stripe/v1/subscriptions' })],
  ['endpoint_not_allowed', 403, 'no retry', { attempted: 'POST /v1/refunds', allowed_endpoints: ['POST /v1/payment_intents'] }, one({ path: '/stripe/v1/refunds', body: 'payment_intent=pi_1' })],
  ['request_unpriceable', 400, 'no retry', { field: 'amount' }, one({ body: `${FIVE_DOLLARS}&amount=999999` })],
  ['parameter_not_allowed', 403, 'no retry', { field: 'transfer_data' }, one({ body: `${FIVE_DOLLARS}&transfer_data[destination]=acct_1` })],
  ['currency_not_allowed', 403, 'no retry', {}, one({ body: 'amount=500&currency=eur' })],
  ['idempotency_key_required', 400, 'no retry', {}, one({}, { require_idempotency_key: true })],
  ['per_call_cap_exceeded', 403, 'no retry', { needed_usd: 5, cap_usd: 4.99 }, one({}, { max_usd_per_call: 4.99 })],
  ['idempotency_mismatch', 400, 'no retry', {}, after({ usd_cap: 50 }, { key: 'm' }, { key: 'm', body: 'amount=501&currency=usd&confirm=true' })],
  ['idempotency_in_progress', 409, 'retry', {}, second({ key: 'slow' }, { usd_cap: 50 })],
  ['already_executed', 409, 'no retry', {}, after({ usd_cap: 50 }, largeAnswer, largeAnswer)],
  ['cap_exhausted', 429, 'no retry', { needed_usd: 5, settled_usd: 5, held_usd: 0, unknown_usd: 0, cap_usd: 9, remaining_usd: 4 }, after({ usd_cap: 9 }, {}, {})],
  ['budget_busy', 429, 'retry', { needed_usd: 5, settled_usd: 0, held_usd: 5, unknown_usd: 0, cap_usd: 9 }, second({}, { usd_cap: 9 })],
  ['upstream_unreachable', 503, 'retry', {}, async () => {
    const { port } = rig.sandbox;
    await rig.sandbox.stop();
    const key = await rig.issue({ usd_cap: 5 });
    const answer = await rig.call(key.vault_key);
    await rig.close();
    rig = await startRig({ sandbox: { port } });
    return { answer };
  }],
  ['outcome_unknown', 504, 'retry', {}, async () => {
    rig.sandbox.setFaults({ dropAfter: { first: 1 } });
    return one({ key: 'unclear' })();
  }],
];

test.each(TABLE)('%s: status %i, %s, the code in the body and in the message, an audit row', async (...row) => {
  const [code, status, retry, details, produce] = row;
  const { answer, key } = await produce();
  expect({ status: answer.status, code: answer.code }).toEqual({ status, code });
  expect(answer.json.error.message).toContain(code);
  expect(answer.json.error.type).toMatch(/_error$/);
  expect(answer.json.error.keybrake).toMatchObject(details);
  expect(answer.headers).toMatchObject({
    'content-type': 'application/json',
    'stripe-should-retry': String(retry === 'retry'),
    'request-id': expect.stringMatching(/^.{8,}$/),
  });
  if (status === 429 && retry === 'retry') expect(Number(answer.headers['retry-after'])).toBeGreaterThan(0);
  if (key === undefined) return;

  const callId = String(answer.headers['keybrake-call-id']);
  const rows = (await rig.client.listCalls({ key_id: key.key_id })).items;
  const written = rows.find(({ call_id: id }) => id === callId);
  expect(written).toMatchObject({ code, state: code === 'outcome_unknown' ? 'unknown' : 'refused' });
});

test('the table above has every code but those that need a broken disk or a paced account', () => {
  const tested = new Set<string>(TABLE.map(([code]) => code));
  // A paced account is met in proxy-pace.test.ts, a store that fails in proxy-store.test.ts.
  expect(Object.keys(REFUSALS).filter((code) => !tested.has(code))).toEqual(['rate_limited', 'store_unavailable']);
  expect(TABLE.map(([code, status, retry]) => [code, status, retry === 'retry'])).toEqual(
    TABLE.map(([code]) => [code, REFUSALS[code].status, REFUSALS[code].retry]),
  );
});

test('an idempotency key that is too long is refused in the audit log and against the key', async () => {
  const key = await rig.issue({ usd_cap: 5 });
  const answer = await rig.call(key.vault_key, { key: 'x'.repeat(256) });
  expect([answer.status, answer.code]).toEqual([400, 'request_unpriceable']);
  const [row] = (await rig.client.listCalls({ key_id: key.key_id })).items;
  expect(row).toMatchObject({ call_id: answer.headers['keybrake-call-id'], state: 'refused', code: answer.code });
  expect((await rig.client.getKey(key.key_id)).spend.calls.refused).toBe(1);
  await rig.client.revokeKey(key.key_id, 'stop');
  expect(await rig.call(key.vault_key, { key: 'x'.repeat(256) })).toMatchObject({ status: 401, code: 'key_revoked' });
});

test('already_executed names the vendor id and what it cost', async () => {
  const { answer } = await after({ usd_cap: 50 }, largeAnswer, { ...largeAnswer, key: 'large-2' })();
  const key = await rig.issue({ usd_cap: 50 });
  const refused = await rig.call(key.vault_key, { ...largeAnswer, key: 'large-2' });
  expect(refused.code).toBe('already_executed');
  expect(refused.json.error.keybrake.prior_call).toMatchObject({ state: 'settled', vendor_id: answer.json.id });
  expect(refused.json.error.message).toContain(answer.json.id);
  expect(refused.json.error.message).toContain('$5.00');
});

test.each([
  ['no Authorization at all', {}],
  ['an empty Bearer', { authorization: 'Bearer ' }],
  ['a Stripe secret', { authorization: 'Bearer sk_test_0123456789abcdef' }],
  ['the admin key', { authorization: 'admin' }],
  ['Basic without a password', { authorization: `Basic ${Buffer.from('user:').toString('base64')}` }],
])('%s is key_invalid and leaves no audit row', async (name, headers) => {
  const sent = name === 'the admin key' ? { authorization: `Bearer ${rig.proxy.apiKey}` } : headers;
  const answer = await rig.call(null, { headers: sent });
  expect([answer.status, answer.code]).toEqual([401, 'key_invalid']);
  expect(answer.headers['keybrake-call-id']).toBeUndefined();
  expect(rig.sandbox.requests()).toEqual([]);
});

test('a vault key with one character changed is key_invalid', async () => {
  const { vault_key: vaultKey } = await rig.issue({ usd_cap: 5 });
  const last = vaultKey.endsWith('0') ? '1' : '0';
  expect((await rig.call(vaultKey.slice(0, -1) + last)).code).toBe('key_invalid');
});

test('what applies first is what is said: a revoked key hears key_revoked whatever it asks', async () => {
  const key = await rig.issue({ usd_cap: 0 });
  await rig.client.revokeKey(key.key_id, 'stop');
  const asked = [
    { path: '/stripe/v1/ephemeral_keys' },
    { path: '/stripe/v1/refunds' },
    { body: 'amount=-1' },
    { headers: { 'stripe-account': 'acct_1' } },
    { method: 'GET' as const },
  ];
  for (const call of asked) expect((await rig.call(key.vault_key, call)).code).toBe('key_revoked');
});

test('a vault key is taken as Bearer, as Basic password, and as Basic user', async () => {
  const { vault_key: key } = await rig.issue({ usd_cap: 50 });
  const basic = (pair: string) => ({ authorization: `Basic ${Buffer.from(pair).toString('base64')}` });
  for (const headers of [{ authorization: `Bearer ${key}` }, basic(`AC123:${key}`), basic(`${key}:`)]) {
    expect((await rig.call(null, { headers })).status).toBe(200);
  }
});

test('refusals beyond a thousand of one kind are counted and not written', async () => {
  const key = await rig.issue({ usd_cap: 1, allowed_endpoints: [UPDATE] });
  for (let burst = 0; burst < 11; burst += 1) {
    const answers = await Promise.all(Array.from({ length: 100 }, () => rig.call(key.vault_key)));
    expect(answers.every(({ code }) => code === 'endpoint_not_allowed')).toBe(true);
  }
  expect((await rig.client.getKey(key.key_id)).spend.calls.refused).toBe(1_100);
  let rows = 0;
  for await (const row of rig.client.streamCalls({ key_id: key.key_id })) rows += row.state === 'refused' ? 1 : 0;
  expect(rows).toBe(1_000);
});
