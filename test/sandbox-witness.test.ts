import type { Stripe } from 'stripe';
import { request } from 'undici';
import type { Sandbox } from '../src/sandbox';
import { type Fixture, FIVE_DOLLARS, KEYED, SECRET, errorOf, START_MS, startFixture } from './sandbox-fixture';

let fixture: Fixture;
let sandbox: Sandbox;
let stripe: Stripe;

beforeAll(async () => {
  fixture = await startFixture();
  ({ sandbox, stripe } = fixture);
});
beforeEach(() => {
  sandbox.reset();
  fixture.clock.nowMs = START_MS;
});
afterAll(() => fixture.close());

describe('idempotency keys', () => {
  test('the same key and parameters replay the first answer and charge once', async () => {
    const first = await stripe.paymentIntents.create(FIVE_DOLLARS, KEYED);
    await stripe.refunds.create({ payment_intent: first.id });
    const { id, lastResponse } = await stripe.paymentIntents.create(FIVE_DOLLARS, KEYED);
    expect(id).toBe(first.id);
    expect(lastResponse.headers['idempotent-replayed']).toBe('true');
    expect(lastResponse.headers['original-request']).toBe(first.lastResponse.requestId);
    expect(lastResponse.requestId).not.toBe(first.lastResponse.requestId);
    expect(first.lastResponse.headers['idempotent-replayed']).toBeUndefined();
    expect(sandbox.stats().stripe).toMatchObject({ executedCharges: 1, replayed: 1 });
  });

  test('the replay is the answer as it was then, byte for byte, whatever the order of the fields', async () => {
    const headers = { 'idempotency-key': 'k' };
    const first = await fixture.post('/v1/payment_intents', 'amount=500&currency=usd&customer=cus_1', headers);
    await fixture.post(`/v1/payment_intents/${first.json.id}/confirm`, '');
    const again = await fixture.post('/v1/payment_intents', 'currency=usd&customer=cus_1&amount=500', headers);
    expect(again.json).toEqual(first.json);
    expect(again.json.status).toBe('requires_payment_method');
  });

  test('other parameters, or another endpoint, are refused', async () => {
    await stripe.paymentIntents.create(FIVE_DOLLARS, KEYED);
    const other = await errorOf(stripe.paymentIntents.create({ ...FIVE_DOLLARS, amount: 501 }, KEYED));
    expect(other).toMatchObject({ statusCode: 400, rawType: 'idempotency_error', type: 'StripeIdempotencyError' });
    const elsewhere = await errorOf(stripe.charges.create({ amount: 500, currency: 'usd', source: 'tok_visa' }, KEYED));
    expect(elsewhere.rawType).toBe('idempotency_error');
    expect(sandbox.stats().stripe.executedCharges).toBe(1);
  });

  test('concurrent use of a key: one executes, the others get 409', async () => {
    sandbox.setFaults({ delayMs: 50 });
    const calls = Array.from({ length: 5 }, () => stripe.paymentIntents.create(FIVE_DOLLARS, KEYED));
    const ends = await Promise.allSettled(calls);
    const refusals = ends.filter((end) => end.status === 'rejected').map((end) => end.reason as object);
    expect(refusals).toHaveLength(4);
    for (const refusal of refusals) {
      expect(refusal).toMatchObject({ statusCode: 409, code: 'idempotency_key_in_use' });
    }
    expect(sandbox.stats().stripe).toMatchObject({ executedCharges: 1, inUse: 4 });
  });

  test('a decline is stored, a failed validation is not', async () => {
    const declined = { ...FIVE_DOLLARS, payment_method: 'pm_card_chargeDeclined' };
    const [first, again] = [
      await errorOf(stripe.paymentIntents.create(declined, KEYED)),
      await errorOf(stripe.paymentIntents.create(declined, KEYED)),
    ];
    expect(again.payment_intent?.id).toBe(first.payment_intent?.id);
    expect(sandbox.stats().stripe).toMatchObject({ declined: 1, replayed: 1 });

    const headers = { 'idempotency-key': 'k2' };
    expect((await fixture.post('/v1/payment_intents', 'amount=500', headers)).status).toBe(400);
    expect((await fixture.post('/v1/payment_intents', 'amount=500&currency=usd', headers)).status).toBe(200);
  });

  test('a key belongs to one account and lasts a day', async () => {
    await stripe.paymentIntents.create(FIVE_DOLLARS, KEYED);
    await stripe.paymentIntents.create(FIVE_DOLLARS, { ...KEYED, stripeAccount: 'acct_2' });
    fixture.clock.nowMs += 24 * 3_600_000 - 1;
    await stripe.paymentIntents.create(FIVE_DOLLARS, KEYED);
    expect(sandbox.stats().stripe.executedCharges).toBe(2);
    fixture.clock.nowMs += 1;
    await stripe.paymentIntents.create(FIVE_DOLLARS, KEYED);
    expect(sandbox.stats().stripe.executedCharges).toBe(3);
    expect(
      (await errorOf(stripe.paymentIntents.create(FIVE_DOLLARS, { idempotencyKey: 'k'.repeat(256) }))).statusCode,
    ).toBe(400);
  });
});

describe('the witness', () => {
  test('a double execution is visible by key and by customer', async () => {
    await stripe.paymentIntents.create(FIVE_DOLLARS, KEYED);
    fixture.clock.nowMs += 25 * 3_600_000;
    const { id } = await stripe.paymentIntents.create(FIVE_DOLLARS, KEYED);
    await stripe.paymentIntents.create({ ...FIVE_DOLLARS, customer: 'cus_2' });
    const { duplicates } = sandbox.stats().stripe;
    expect(duplicates.keys).toEqual([{ of: KEYED.idempotencyKey, ids: [expect.any(String), id] }]);
    expect(duplicates.customers).toEqual([{ of: 'cus_1', ids: [expect.any(String), id] }]);
    expect(sandbox.charges()[1]).toMatchObject({
      id,
      status: 'succeeded',
      executed: true,
      chargedMinor: 500,
      idempotencyKey: KEYED.idempotencyKey,
      executedByKey: KEYED.idempotencyKey,
      customer: 'cus_1',
    });
  });

  test('events name the idempotency key of their request, and lists page from new to old', async () => {
    await stripe.paymentIntents.create(FIVE_DOLLARS, { idempotencyKey: 'old' });
    fixture.clock.nowMs += 60_000;
    const created = { gte: fixture.clock.nowMs / 1000 };
    const { id } = await stripe.paymentIntents.create(FIVE_DOLLARS, KEYED);
    const events = await stripe.events.list({ type: 'payment_intent.created', created });
    expect(events.data).toHaveLength(1);
    expect(events.data[0]).toMatchObject({
      request: { idempotency_key: KEYED.idempotencyKey },
      data: { object: { id, status: 'requires_payment_method' } },
    });
    expect((await stripe.paymentIntents.list({ created })).data.map((intent) => intent.id)).toEqual([id]);
    for (let more = 0; more < 4; more += 1) {
      // oxlint-disable-next-line no-await-in-loop
      await stripe.paymentIntents.create({ ...FIVE_DOLLARS, customer: 'cus_2' });
    }
    const seen: string[] = [];
    for await (const intent of stripe.paymentIntents.list({ limit: 2 })) seen.push(intent.id);
    expect(seen).toHaveLength(6);
    expect(seen).toEqual(
      sandbox
        .charges()
        .map((charge) => charge.id)
        .toReversed(),
    );
    expect((await stripe.paymentIntents.list({ customer: 'cus_2' })).data).toHaveLength(4);
    const back = await stripe.paymentIntents.list({ ending_before: String(seen[3]), limit: 2 });
    expect(back.data.map((intent) => intent.id)).toEqual(seen.slice(1, 3));
  });

  test('customers cost nothing; expand puts objects in place of ids', async () => {
    const customer = await stripe.customers.create({ email: 'a@example.com', name: 'A' });
    expect(await stripe.customers.retrieve(customer.id)).toMatchObject({ email: 'a@example.com' });
    const expanded = await stripe.paymentIntents.create({
      ...FIVE_DOLLARS,
      customer: customer.id,
      expand: ['customer', 'latest_charge'],
    });
    expect(expanded).toMatchObject({ customer: { name: 'A' }, latest_charge: { amount_captured: 500 } });
    expect(sandbox.stats().stripe).toMatchObject({ executedCharges: 1, requests: 3, priced: 1 });
  });

  test('what was received can be read back, and the same over HTTP', async () => {
    await stripe.paymentIntents.create({ ...FIVE_DOLLARS, metadata: { a: 'b c' } }, KEYED);
    const [received] = sandbox.requests();
    expect(received).toMatchObject({
      method: 'POST',
      path: '/v1/payment_intents',
      body: 'amount=500&currency=usd&confirm=true&customer=cus_1&metadata[a]=b%20c',
      headers: { authorization: `Bearer ${SECRET}`, 'idempotency-key': KEYED.idempotencyKey },
      status: 200,
    });
    expect((await fixture.call('GET', '/_sandbox/requests')).json).toHaveLength(1);
    expect((await fixture.call('GET', '/_sandbox/stats')).json).toEqual(JSON.parse(JSON.stringify(sandbox.stats())));
    expect((await fixture.call('GET', '/_sandbox/charges')).json).toHaveLength(1);
    const lines = await request(`${sandbox.url}/_sandbox/charges?format=ndjson`);
    expect((await lines.body.text()).trim().split('\n')).toHaveLength(1);
    expect((await fixture.call('POST', '/_sandbox/faults', '{"dropBefor":1}')).status).toBe(400);
    expect((await fixture.call('POST', '/_sandbox/faults', '{"rate429":{"first":1}}')).status).toBe(200);
    expect((await errorOf(stripe.paymentIntents.create(FIVE_DOLLARS))).statusCode).toBe(429);
    expect((await fixture.call('POST', '/_sandbox/reset')).status).toBe(200);
    expect(sandbox.stats().stripe).toMatchObject({ requests: 0, executedCharges: 0, injected: {} });
    expect(sandbox.charges()).toEqual([]);
  });
});
