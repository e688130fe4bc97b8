/** Pace, met over HTTP: how many calls a vendor account gets, and what its 429 does to a call. */
import type { IssuedKey } from '../proxy/contract';
import { Agent, request } from 'undici';
import type { TestProxyOptions } from '../src/testing';
import { type Answer, balanced, books, FIVE_DOLLARS, parallel, type Rig, startRig, tally, until } from './support/rig';
import { intent, startVendorStub, stripeError, type VendorStub } from './support/vendorStub';

let rig: Rig;
afterEach(() => rig.close());

/** A proxy that paces the account stripe at its stand-in. */
async function paced(
  maxRps: number | undefined,
  { limitPerSecond, ...proxy }: { readonly limitPerSecond?: number } & Partial<TestProxyOptions> = {},
): Promise<void> {
  rig = await startRig({
    sandbox: { ...(limitPerSecond !== undefined && { limitPerSecond }) },
    proxy: { ...proxy, ...(maxRps !== undefined && { maxRps }) },
  });
}

/** A record's call, again when it is told to come back, as a client does. */
async function record(key: IssuedKey, index: number, heard: Answer[] = []): Promise<Answer> {
  for (;;) {
    const answer = await rig.call(key.vault_key, {
      key: `record:${index}`,
      body: `${FIVE_DOLLARS}&customer=c${index}`,
    });
    heard.push(answer);
    if (answer.status !== 429) return answer;
    await new Promise((resolve) => setTimeout(resolve, Number(answer.headers['retry-after']) * 1_000));
  }
}

async function scraped(name: string): Promise<number> {
  const text = await (await fetch(`${rig.proxy.url}/metrics`)).text();
  const found = new RegExp(`^${name}\\{account="stripe"\\} (\\S+)$`, 'm').exec(text)?.[1];
  return Number(found?.replace('+Inf', 'Infinity') ?? Number.NaN);
}

const waiting = (count: number) => async () => (await scraped('keybrake_pace_queue')) >= count || undefined;

describe('against a vendor that answers 429 above 20 calls a second', () => {
  test('500 calls, fifty at a time, max_rps 20: all are executed once, none is failed by a 429', async () => {
    await paced(20, { limitPerSecond: 20 });
    const key = await rig.issue({ usd_cap: 2_500 });
    const heard: Answer[] = [];
    const started = Date.now();
    const answers = await parallel(500, 50, (index) => record(key, index, heard));
    const seconds = (Date.now() - started) / 1_000;
    expect(tally(answers)).toEqual({ '200': 500 });
    expect(await books(rig, key.key_id)).toEqual(balanced(500, 2_500));
    expect(seconds).toBeGreaterThan(24);
    expect(seconds).toBeLessThan(40);
    // Fifty callers at this pace wait 2.5 s: next to nothing is sent away, or refused by the vendor.
    expect(heard.length - 500).toBeLessThan(25);
    expect(rig.sandbox.stats().stripe.limited).toBeLessThan(25);
  }, 90_000);

  test('300 calls at one moment without max_rps: the vendor’s 429 alone steers, and no record is lost', async () => {
    await paced(undefined, { limitPerSecond: 20 });
    const key = await rig.issue({ usd_cap: 1_500 });
    const answers = await parallel(300, 300, (index) => record(key, index));
    expect(tally(answers)).toEqual({ '200': 300 });
    expect(await books(rig, key.key_id)).toEqual(balanced(300, 1_500));
    const { limited } = rig.sandbox.stats().stripe;
    // The first refusal stops those that have not left yet.
    expect(limited).toBeGreaterThan(0);
    expect(limited).toBeLessThan(150);
    expect(await scraped('keybrake_vendor_rate_limits_total')).toBe(limited);
    expect(await scraped('keybrake_pace_rps')).toBeLessThan(60);
  }, 90_000);
});

describe('a call that waits for a slot', () => {
  test('is refused as rate_limited when there is none in time, with a whole number of seconds that is true', async () => {
    await paced(2, { paceWaitMs: 1_200 });
    const key = await rig.issue({ usd_cap: 100 });
    const answers = await parallel(6, 6, (index) => rig.call(key.vault_key, { key: `wait:${index}` }));
    expect(tally(answers)).toEqual({ '200': 3, '429 rate_limited': 3 });
    const refused = answers.filter(({ status }) => status === 429);
    expect(refused.map(({ headers }) => Number(headers['retry-after'])).toSorted((a, b) => a - b)).toEqual([2, 2, 3]);
    for (const { headers, json } of refused) {
      expect(headers['stripe-should-retry']).toBe('true');
      expect(json.error.message).toMatch(/^rate_limited: calls to the account stripe are paced/);
      expect(json.error.keybrake.retry_after_seconds).toBe(Number(headers['retry-after']));
    }
    const rows = (await rig.client.listCalls({ key_id: key.key_id, state: 'refused' })).items;
    expect(rows.map(({ code }) => code)).toEqual(['rate_limited', 'rate_limited', 'rate_limited']);
    await new Promise((resolve) => setTimeout(resolve, 2_000));
    expect((await rig.call(key.vault_key, { key: 'wait:5' })).status).toBe(200);
  });

  test('finds a bounded queue: one more than may wait is told to come back', async () => {
    await paced(1, { paceQueueMax: 2 });
    const key = await rig.issue({ usd_cap: 100 });
    await rig.call(key.vault_key);
    const two = parallel(2, 2, () => rig.call(key.vault_key));
    await until('two calls wait', waiting(2));
    const third = await rig.call(key.vault_key);
    expect([third.code, third.headers['retry-after']]).toEqual(['rate_limited', '3']);
    expect(tally(await two)).toEqual({ '200': 2 });
  });

  test('holds no money meanwhile', async () => {
    await paced(1);
    const key = await rig.issue({ usd_cap: 100 });
    await rig.call(key.vault_key);
    const two = parallel(2, 2, () => rig.call(key.vault_key));
    await until('two calls wait', waiting(2));
    expect((await rig.client.getKey(key.key_id)).spend).toMatchObject({ settled_usd: 5, held_usd: 0 });
    expect(tally(await two)).toEqual({ '200': 2 });
  });

  test('hears key_revoked when its key is revoked, parents too, long before its turn; other keys’ calls stay', async () => {
    await paced(1);
    const parent = await rig.issue({ usd_cap: 100 });
    const child = await rig.issue({ parent_key_id: parent.key_id });
    const other = await rig.issue({ usd_cap: 100 });
    await rig.call(other.vault_key);
    const doomed = parallel(3, 3, () =>
      rig.call(child.vault_key, { key: 'doomed:1' }).then((answer) => ({ ...answer, at: Date.now() })),
    );
    await until('a call waits', waiting(1));
    const alive = rig.call(other.vault_key);
    await until('two calls wait', waiting(2));
    await rig.client.revokeKey(parent.key_id, 'stop');
    const revokedAt = Date.now();
    const heard = await doomed;
    expect(tally(heard)).toEqual({ '401 key_revoked': 3 });
    for (const { at } of heard) expect(at - revokedAt).toBeLessThan(500);
    expect((await alive).status).toBe(200);
    expect(rig.sandbox.stats().stripe.executedCharges).toBe(2);
  });

  test('leaves the queue when its client goes, and is never sent', async () => {
    await paced(1);
    const key = await rig.issue({ usd_cap: 100 });
    await rig.call(key.vault_key);
    const agent = new Agent();
    const aborter = new AbortController();
    const gone = request(`${rig.proxy.url}/stripe/v1/payment_intents`, {
      method: 'POST',
      dispatcher: agent,
      signal: aborter.signal,
      headers: { authorization: `Bearer ${key.vault_key}`, 'content-type': 'application/x-www-form-urlencoded' },
      body: FIVE_DOLLARS,
    }).catch((error: Error) => error.name);
    await until('the call waits', waiting(1));
    const next = rig.call(key.vault_key);
    await until('the next call waits', waiting(2));
    aborter.abort();
    expect(await gone).toBe('AbortError');
    await until('it has left', async () => (await scraped('keybrake_pace_queue')) === 1 || undefined);
    expect((await next).status).toBe(200);
    expect(await books(rig, key.key_id)).toEqual(balanced(2, 10));
    await agent.destroy();
  });

  test('replays and refusals wait for nothing and use up no slot', async () => {
    // A call in four seconds: far longer than what waits for nothing takes on a busy machine.
    await paced(0.25);
    const key = await rig.issue({ usd_cap: 15, on_cap: 'refuse' });
    const body = { key: 'once' };
    expect((await rig.call(key.vault_key, body)).status).toBe(200);
    const second = rig.call(key.vault_key);
    await until('the second call waits', waiting(1));
    const started = Date.now();
    // As many as may wait for one idempotency key, beside the first.
    const replays = await parallel(17, 17, () => rig.call(key.vault_key, body));
    const dear = await parallel(5, 5, () => rig.call(key.vault_key, { body: 'amount=1100&currency=usd' }));
    expect(Date.now() - started).toBeLessThan(3_500);
    expect(tally(replays)).toEqual({ '200': 17 });
    expect(tally(dear)).toEqual({ '429 cap_exhausted': 5 });
    expect((await second).status).toBe(200);
    // A free slot that a replay took is free again for the next.
    await new Promise((resolve) => setTimeout(resolve, 4_000));
    await rig.call(key.vault_key, body);
    const third = Date.now();
    expect((await rig.call(key.vault_key)).status).toBe(200);
    expect(Date.now() - third).toBeLessThan(2_500);
  });

  test('waits for money without a slot, which another call may have meanwhile', async () => {
    await paced(4);
    rig.sandbox.setFaults({ delayMs: 700 });
    const poor = await rig.issue({ usd_cap: 5 });
    const rich = await rig.issue({ usd_cap: 100 });
    const first = rig.call(poor.vault_key);
    await until('the first call is at the vendor', () => rig.sandbox.requests().length === 1 || undefined);
    const busy = rig.call(poor.vault_key);
    const started = Date.now();
    expect((await rig.call(rich.vault_key)).status).toBe(200);
    expect(Date.now() - started).toBeLessThan(1_400);
    expect([(await first).status, (await busy).code]).toEqual([200, 'cap_exhausted']);
  });
});

describe('the vendor’s own 429', () => {
  let stub: VendorStub;
  beforeEach(async () => {
    stub = await startVendorStub();
  });
  afterEach(() => stub.stop());
  const tooMany = (more: object = {}) => ({
    ...(stripeError(429, 'invalid_request_error', { code: 'rate_limit' }) as { status: number; body: object }),
    ...more,
  });

  test('is not the caller’s business: the hold is released, and the same call is sent again with the same key', async () => {
    await paced(undefined, { upstream: stub.url });
    const key = await rig.issue({ usd_cap: 5 });
    stub.script(tooMany(), tooMany());
    const answer = await rig.call(key.vault_key, { key: 'again' });
    expect(answer.status).toBe(200);
    expect(stub.seen.map(({ headers }) => headers['idempotency-key'])).toEqual(['again', 'again', 'again']);
    expect(new Set(stub.seen.map(({ body }) => body)).size).toBe(1);
    const { items } = await rig.client.listCalls({ key_id: key.key_id });
    expect(items.map(({ state, code, sends }) => [state, code, sends])).toEqual([
      ['settled', null, 1],
      ['released', 'rate_limit', 1],
      ['released', 'rate_limit', 1],
    ]);
    expect(items[0]?.call_id).toBe(answer.headers['keybrake-call-id']);
    expect((await rig.client.getKey(key.key_id)).spend).toMatchObject({ settled_usd: 5, held_usd: 0, unknown_usd: 0 });
  });

  test('without a key of the client’s: again with a key by which the attempt is found in the ledger', async () => {
    await paced(undefined, { upstream: stub.url });
    const key = await rig.issue({ usd_cap: 5 });
    stub.script(tooMany(), 'cut');
    expect((await rig.call(key.vault_key)).code).toBe('outcome_unknown');
    const { items } = await rig.client.listCalls({ key_id: key.key_id });
    expect(items.map(({ state }) => state)).toEqual(['unknown', 'released']);
    const keys = stub.seen.map(({ headers }) => headers['idempotency-key']);
    expect(items.map(({ call_id: id }) => `kb1_${id}`)).toEqual(keys.toReversed());
  });

  test('goes to the caller, with a Retry-After, when the time for further attempts is over', async () => {
    await paced(undefined, { upstream: stub.url, paceWaitMs: 700 });
    const key = await rig.issue({ usd_cap: 5 });
    stub.script(tooMany(), tooMany(), tooMany());
    const late = await rig.call(key.vault_key, { key: 'late' });
    expect([late.status, late.code]).toEqual([429, 'rate_limit']);
    expect(Number(late.headers['retry-after'])).toBeGreaterThanOrEqual(1);
    expect(stub.seen).toHaveLength(2);
    expect((await rig.client.getKey(key.key_id)).spend).toMatchObject({ settled_usd: 0, held_usd: 0, unknown_usd: 0 });
  });

  test('that asks for more time than a call may wait goes to the caller at once, as it is', async () => {
    await paced(undefined, { upstream: stub.url });
    const key = await rig.issue({ usd_cap: 5 });
    stub.script(tooMany({ headers: { 'retry-after': '7' } }));
    const asked = await rig.call(key.vault_key);
    expect([asked.status, asked.code, asked.headers['retry-after']]).toEqual([429, 'rate_limit', '7']);
    // The first one comes back in seven seconds; the next has the slot after that.
    const next = await rig.call(key.vault_key);
    expect([next.status, next.code, next.headers['retry-after']]).toEqual([429, 'rate_limited', '8']);
    expect(stub.seen).toHaveLength(1);
  });

  test('stops the whole account for as long as it asks, other keys too', async () => {
    await paced(undefined, { upstream: stub.url });
    const [one, other] = [await rig.issue({ usd_cap: 5 }), await rig.issue({ usd_cap: 5 })];
    stub.script(tooMany({ headers: { 'retry-after': '1' } }));
    const started = Date.now();
    const first = rig.call(one.vault_key);
    await until(
      'the first call was refused',
      async () => (await scraped('keybrake_vendor_rate_limits_total')) === 1 || undefined,
    );
    expect((await rig.call(other.vault_key)).status).toBe(200);
    expect(Date.now() - started).toBeGreaterThanOrEqual(950);
    expect((await first).status).toBe(200);
  });

  test('to a call that may have been executed is no evidence: it stays unknown, and is sent again with its key', async () => {
    await paced(undefined, { upstream: stub.url });
    const key = await rig.issue({ usd_cap: 5 });
    stub.script('cut', tooMany(), { status: 200, body: intent(500, 'second') });
    expect((await rig.call(key.vault_key, { key: 'second' })).code).toBe('outcome_unknown');
    expect((await rig.call(key.vault_key, { key: 'second' })).status).toBe(200);
    expect(stub.seen.map(({ headers }) => headers['idempotency-key'])).toEqual(['second', 'second', 'second']);
    const { items } = await rig.client.listCalls({ key_id: key.key_id });
    expect(items.map(({ state, sends }) => [state, sends])).toEqual([['settled', 3]]);
  });

  test.each([
    ['a lock', { type: 'invalid_request_error', code: 'lock_timeout' }],
    ['a quota of API v2', { type: 'quota_exceeded', code: 'quota_exceeded' }],
  ])('that is %s is the caller’s business, and paces nobody', async (_, { type, code }) => {
    await paced(undefined, { upstream: stub.url });
    const key = await rig.issue({ usd_cap: 5 });
    stub.script(stripeError(429, type, { code }));
    const answer = await rig.call(key.vault_key);
    expect([answer.status, answer.code]).toEqual([429, code]);
    expect(await scraped('keybrake_vendor_rate_limits_total')).toBe(0);
    expect(await scraped('keybrake_pace_rps')).toBe(Infinity);
  });

  test('that is no Stripe error may be anybody’s: unknown, not sent again, and the account slows down', async () => {
    await paced(undefined, { upstream: stub.url });
    const key = await rig.issue({ usd_cap: 5 });
    stub.script({ status: 429, body: '<html>Too many</html>' });
    expect((await rig.call(key.vault_key, { key: 'html' })).code).toBe('outcome_unknown');
    expect(stub.seen).toHaveLength(1);
    expect(await scraped('keybrake_pace_rps')).toBeLessThan(Infinity);
  });

  test('ends with key_revoked when the key dies before the next attempt', async () => {
    await paced(undefined, { upstream: stub.url });
    const key = await rig.issue({ usd_cap: 5 });
    stub.script(tooMany({ headers: { 'retry-after': '4' } }));
    const call = rig.call(key.vault_key);
    await until('it waits for another slot', waiting(1));
    await rig.client.revokeKey(key.key_id, 'stop');
    const revokedAt = Date.now();
    expect((await call).code).toBe('key_revoked');
    expect(Date.now() - revokedAt).toBeLessThan(1_500);
    expect(stub.seen).toHaveLength(1);
  });

  test('to the look-up before a call: it is read again, and counts in the pace', async () => {
    await paced(undefined, { upstream: stub.url });
    const confirm = 'POST /v1/payment_intents/:id/confirm';
    const key = await rig.issue({ usd_cap: 5, allowed_endpoints: [confirm] });
    const open = intent(500, 'x', { status: 'requires_confirmation', amount_received: 0 });
    stub.script(tooMany(), { status: 200, body: open }, { status: 200, body: intent(500, 'x') });
    const answer = await rig.call(key.vault_key, { path: '/stripe/v1/payment_intents/pi_78/confirm', body: '' });
    expect(answer.status).toBe(200);
    expect(stub.seen.map(({ method }) => method)).toEqual(['GET', 'GET', 'POST']);
    expect(await scraped('keybrake_vendor_rate_limits_total')).toBe(1);
  });
});
