import type { Stripe } from 'stripe';
import type { Sandbox } from '../src/sandbox';
import { type Fixture, FIVE_DOLLARS, clientOf, errorOf, idOf, START_MS, startFixture } from './sandbox-fixture';

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

describe('the life of a PaymentIntent', () => {
  test('create with confirm takes the money once', async () => {
    const intent = await stripe.paymentIntents.create({ ...FIVE_DOLLARS, metadata: { record: 'r 1&2' } });
    expect(intent).toMatchObject({
      status: 'succeeded',
      amount_received: 500,
      amount_capturable: 0,
      metadata: { record: 'r 1&2' },
      customer: 'cus_1',
    });
    expect(intent.client_secret).toMatch(/^pi_/);
    expect(await stripe.charges.retrieve(idOf(intent.latest_charge))).toMatchObject({
      payment_intent: intent.id,
      captured: true,
      amount_captured: 500,
    });
    expect(sandbox.stats().stripe).toMatchObject({ executedCharges: 1, chargedMinor: { usd: 500 }, chargedUsd: 5 });
  });

  test('create, confirm and a part captured charge the captured part, not the sum', async () => {
    const { id } = await stripe.paymentIntents.create({ amount: 500, currency: 'usd', capture_method: 'manual' });
    expect(sandbox.stats().stripe).toMatchObject({ executedCharges: 0, chargedUsd: 0, openUsd: 5 });
    expect(await stripe.paymentIntents.confirm(id, { payment_method: 'pm_card_visa' })).toMatchObject({
      status: 'requires_capture',
      amount_capturable: 500,
      amount_received: 0,
    });
    expect(sandbox.stats().stripe).toMatchObject({ executedCharges: 1, chargedMinor: { usd: 500 }, openUsd: 0 });
    expect(await stripe.paymentIntents.capture(id, { amount_to_capture: 300 })).toMatchObject({
      status: 'succeeded',
      amount_capturable: 0,
      amount_received: 300,
    });
    expect(sandbox.stats().stripe).toMatchObject({ executedCharges: 1, chargedMinor: { usd: 300 } });
  });

  test('several captures add up and never exceed what was authorised', async () => {
    const { id } = await stripe.paymentIntents.create({ ...FIVE_DOLLARS, capture_method: 'manual' });
    const part = await stripe.paymentIntents.capture(id, { amount_to_capture: 200, final_capture: false });
    expect(part).toMatchObject({ status: 'requires_capture', amount_received: 200, amount_capturable: 300 });
    const refusal = await errorOf(stripe.paymentIntents.capture(id, { amount_to_capture: 301 }));
    expect(refusal).toMatchObject({ statusCode: 400, code: 'amount_too_large', param: 'amount_to_capture' });
    expect(await stripe.paymentIntents.capture(id)).toMatchObject({ status: 'succeeded', amount_received: 500 });
    expect(sandbox.stats().stripe.chargedUsd).toBe(5);
  });

  test('an increment names the new total', async () => {
    const { id } = await stripe.paymentIntents.create({ ...FIVE_DOLLARS, capture_method: 'manual' });
    const raised = await stripe.paymentIntents.incrementAuthorization(id, { amount: 700 });
    expect(raised).toMatchObject({ amount: 700, amount_capturable: 700 });
    expect(await errorOf(stripe.paymentIntents.incrementAuthorization(id, { amount: 700 }))).toHaveProperty('param');
    expect(sandbox.stats().stripe.chargedUsd).toBe(7);
  });

  test('amount_to_confirm replaces the amount, and an update raises it before confirmation only', async () => {
    const { id } = await stripe.paymentIntents.create({ amount: 100, currency: 'usd', customer: 'cus_1' });
    expect(await stripe.paymentIntents.update(id, { amount: 900 })).toMatchObject({ amount: 900 });
    const body = 'amount_to_confirm=1200';
    expect((await fixture.post(`/v1/payment_intents/${id}/confirm`, body)).json).toMatchObject({
      amount_received: 1200,
    });
    const refusal = await errorOf(stripe.paymentIntents.update(id, { amount: 1 }));
    expect(refusal.code).toBe('payment_intent_unexpected_state');
    const relabelled = await stripe.paymentIntents.update(id, { metadata: { a: 'b' } });
    expect(relabelled).toMatchObject({ metadata: { a: 'b' }, amount_received: 1200 });
  });

  test('a cancel gives back what was not captured; a finished intent takes no more', async () => {
    const { id } = await stripe.paymentIntents.create({ ...FIVE_DOLLARS, capture_method: 'manual' });
    expect(await stripe.paymentIntents.cancel(id)).toMatchObject({ status: 'canceled', amount_capturable: 0 });
    for (const again of [stripe.paymentIntents.capture(id), stripe.paymentIntents.confirm(id)]) {
      // oxlint-disable-next-line no-await-in-loop
      const refusal = await errorOf(again);
      expect(refusal).toMatchObject({ statusCode: 400, code: 'payment_intent_unexpected_state' });
      expect(refusal.raw).toMatchObject({ payment_intent: { id, status: 'canceled' } });
    }
    expect(sandbox.stats().stripe).toMatchObject({ executedCharges: 1, chargedUsd: 0 });
  });

  test('a card that must be authenticated waits for its customer and costs nothing yet', async () => {
    const created = { ...FIVE_DOLLARS, payment_method: 'pm_card_authenticationRequired' };
    const intent = await stripe.paymentIntents.create(created);
    expect(intent.status).toBe('requires_action');
    expect(sandbox.stats().stripe).toMatchObject({ executedCharges: 0, openUsd: 5, chargedUsd: 0 });
    expect(await errorOf(stripe.paymentIntents.create({ ...created, off_session: true }))).toMatchObject({
      statusCode: 402,
      code: 'authentication_required',
    });
  });
});

describe('charges and refunds', () => {
  test('a charge is captured once, and for no more than was authorised', async () => {
    const charge = await stripe.charges.create({ amount: 900, currency: 'eur', source: 'tok_visa', capture: false });
    expect(charge).toMatchObject({ captured: false, status: 'succeeded', amount_captured: 0 });
    expect(await errorOf(stripe.charges.capture(charge.id, { amount: 901 }))).toHaveProperty('param', 'amount');
    expect(await stripe.charges.capture(charge.id, { amount: 400 })).toMatchObject({ amount_captured: 400 });
    const refusal = await errorOf(stripe.charges.capture(charge.id));
    expect(refusal.code).toBe('charge_already_captured');
    expect(sandbox.stats().stripe).toMatchObject({ executedCharges: 1, chargedMinor: { eur: 400 }, chargedUsd: 0 });
  });

  test('refunds never exceed what was received and never lower what was charged', async () => {
    const intent = await stripe.paymentIntents.create(FIVE_DOLLARS);
    const charge = idOf(intent.latest_charge);
    const refund = await stripe.refunds.create({ payment_intent: intent.id, amount: 200 });
    expect(refund).toMatchObject({ amount: 200, status: 'succeeded', charge, payment_intent: intent.id });
    expect((await errorOf(stripe.refunds.create({ charge, amount: 301 }))).statusCode).toBe(400);
    expect((await fixture.post(`/v1/charges/${charge}/refunds`, 'amount=100')).json).toMatchObject({
      object: 'refund',
    });
    expect((await fixture.post(`/v1/charges/${charge}/refund`, '')).json).toMatchObject({
      object: 'charge',
      refunded: true,
    });
    expect((await errorOf(stripe.refunds.create({ charge }))).code).toBe('charge_already_refunded');
    expect((await stripe.refunds.list({ charge })).data.map(({ amount }) => amount)).toEqual([200, 100, 200]);
    expect(sandbox.stats().stripe).toMatchObject({ refunds: 3, refundedUsd: 5, chargedUsd: 5 });
  });

  test('money that was only authorised cannot be refunded', async () => {
    const { id } = await stripe.paymentIntents.create({ ...FIVE_DOLLARS, capture_method: 'manual' });
    expect((await errorOf(stripe.refunds.create({ payment_intent: id }))).statusCode).toBe(400);
    expect(sandbox.stats().stripe).toMatchObject({ refunds: 0, refundedUsd: 0 });
  });
});

describe('declines', () => {
  test.each([
    ['pm_card_visa_chargeDeclined', 'cus_1', 'generic_decline'],
    ['pm_card_chargeDeclined', 'cus_1', 'generic_decline'],
    ['pm_card_chargeDeclinedInsufficientFunds', 'cus_1', 'insufficient_funds'],
    [undefined, 'cus_decline_7', 'generic_decline'],
  ])('%s of %s: 402 with the intent embedded, and no money moves', async (method, customer, decline_code) => {
    const chosen = method === undefined ? {} : { payment_method: method };
    const refusal = await errorOf(stripe.paymentIntents.create({ ...FIVE_DOLLARS, customer, ...chosen }));
    expect(refusal).toMatchObject({ statusCode: 402, code: 'card_declined', decline_code, rawType: 'card_error' });
    const intent = refusal.payment_intent;
    expect(intent).toMatchObject({ status: 'requires_payment_method', amount: 500, amount_received: 0 });
    expect(sandbox.stats().stripe).toMatchObject({ executedCharges: 0, declined: 1, chargedUsd: 0, openUsd: 0 });
    const retried = await stripe.paymentIntents.update(String(intent?.id), { customer: 'cus_1' });
    expect(await stripe.paymentIntents.confirm(retried.id, { payment_method: 'pm_card_visa' })).toMatchObject({
      status: 'succeeded',
    });
    expect(sandbox.stats().stripe).toMatchObject({ executedCharges: 1, chargedMinor: { usd: 500 } });
  });

  test('a declined token declines a charge', async () => {
    const refusal = await errorOf(stripe.charges.create({ amount: 5, currency: 'usd', source: 'tok_chargeDeclined' }));
    expect(refusal).toMatchObject({ statusCode: 402, code: 'card_declined', type: 'StripeCardError' });
    expect(sandbox.stats().stripe).toMatchObject({ executedCharges: 0, declined: 1, chargedUsd: 0 });
  });
});

describe('refusals in the shape of Stripe', () => {
  test.each([
    ['currency=usd', 'parameter_missing', 'amount'],
    ['amount=500', 'parameter_missing', 'currency'],
    ['amount=500&currency=usd&colour=red', 'parameter_unknown', 'colour'],
    ['amount=500&currency=usd&amount_to_confirm=1', 'parameter_unknown', 'amount_to_confirm'],
    ['amount=500&currency=usd&__proto__=1', 'parameter_unknown', '__proto__'],
    ['amount=5.5&currency=usd', 'parameter_invalid_integer', 'amount'],
    ['amount=-5&currency=usd', 'parameter_invalid_integer', 'amount'],
    ['amount=&currency=usd', 'parameter_invalid_empty', 'amount'],
    ['amount=100000000&currency=usd', 'amount_too_large', 'amount'],
    ['amount[]=500&currency=usd', undefined, 'amount'],
    ['amount=500&currency=dollars', undefined, 'currency'],
    ['amount=500&currency=usd&confirm=yes', undefined, 'confirm'],
  ])('%s is a 400 and executes nothing', async (body, code, param) => {
    const { status, json } = await fixture.post('/v1/payment_intents', body);
    expect(status).toBe(400);
    expect(json.error).toMatchObject({ type: 'invalid_request_error', param, message: expect.any(String) });
    expect(json.error.code).toBe(code);
    expect(sandbox.stats().stripe.paymentIntents).toBe(0);
  });

  test('the last of duplicate fields wins, in whatever spelling', async () => {
    const body = 'amount=1&currency=usd&am%6Funt=999&metadata%5Ba%5D=1&metadata[a]=2&confirm=true';
    const { json } = await fixture.post('/v1/payment_intents?amount=7', body);
    expect(json).toMatchObject({ amount: 999, amount_received: 999, metadata: { a: '2' } });
  });

  test('an unknown id is 404, a wrong secret 401, an unknown path 404, JSON 400', async () => {
    const missing = await errorOf(stripe.paymentIntents.retrieve('pi_none'));
    expect(missing).toMatchObject({ statusCode: 404, code: 'resource_missing', param: 'intent' });
    const wrong = await errorOf(clientOf(sandbox, 'sk_test_wrong_key_999').paymentIntents.create(FIVE_DOLLARS));
    expect(wrong).toMatchObject({ statusCode: 401, type: 'StripeAuthenticationError' });
    expect(wrong.message).not.toContain('wrong_key');
    expect((await fixture.call('GET', '/v1/nothing')).status).toBe(404);
    expect((await fixture.call('GET', '/v1/charges', undefined, { authorization: '' })).status).toBe(401);
    const json = await fixture.post('/v1/payment_intents', '{"amount":500}', { 'content-type': 'application/json' });
    expect(json.status).toBe(400);
    expect(sandbox.stats().stripe.executedCharges).toBe(0);
  });
});
