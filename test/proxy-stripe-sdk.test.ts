/** Stripe's own Node SDK, unmodified, with another host and key: its exceptions, one attempt each, and money told right. */
// oxlint-disable-next-line import/no-named-as-default
import Stripe from 'stripe';
import type { IssuedKey, IssueKeyBody } from '../proxy/contract';
import { clientOf, errorOf } from './sandbox-fixture';
import { countReceived, type Received } from './support/received';
import { type Rig, startRig, until } from './support/rig';

const EVERY_ROUTE = [
  'POST /v1/payment_intents',
  'POST /v1/payment_intents/:id',
  'POST /v1/payment_intents/:id/confirm',
  'POST /v1/payment_intents/:id/capture',
  'POST /v1/payment_intents/:id/cancel',
  'POST /v1/payment_intents/:id/increment_authorization',
  'GET /v1/payment_intents/:id',
  'POST /v1/refunds',
];
const FIVE = { amount: 500, currency: 'usd', confirm: true } as const;

let rig: Rig;
let received: Received;
/** The vendor's own dashboard: the real secret, past the proxy. */
let direct: Stripe;
beforeAll(async () => {
  rig = await startRig({ proxy: { budgetWaitMs: 100 } });
  received = countReceived(rig.proxy.port);
  direct = clientOf(rig.sandbox, rig.proxy.secret);
});
afterAll(async () => {
  received.stop();
  await rig.close();
});
beforeEach(() => {
  rig.sandbox.reset();
  received.take();
});

/** The SDK as a user sets it up, with its default retries. */
function sdk(vaultKey: string): Stripe {
  return new Stripe(vaultKey, { host: '127.0.0.1', port: rig.proxy.port, protocol: 'http' });
}

async function start(body: Partial<IssueKeyBody> = {}): Promise<{ key: IssuedKey; stripe: Stripe }> {
  const key = await rig.issue({ usd_cap: 100, allowed_endpoints: EVERY_ROUTE, ...body });
  return { key, stripe: sdk(key.vault_key) };
}

async function spendOf({ key_id: id }: IssuedKey) {
  const {
    settled_usd: settled,
    out_usd: out,
    held_usd: held,
    unknown_usd: unknown,
  } = (await rig.client.getKey(id)).spend;
  return { settled, out, held, unknown };
}
const settled = (usd: number, out = 0) => ({ settled: usd, out, held: 0, unknown: 0 });

test('a charge succeeds, is settled once, and its second call with the same key is a replay', async () => {
  const { key, stripe } = await start();
  const first = await stripe.paymentIntents.create(FIVE, { idempotencyKey: 'record-1' });
  const second = await stripe.paymentIntents.create(FIVE, { idempotencyKey: 'record-1' });
  expect([first.status, second.id, first.lastResponse.statusCode]).toEqual(['succeeded', first.id, 200]);
  expect(second.lastResponse.headers['idempotent-replayed']).toBe('true');
  expect(received.take()).toBe(2);
  expect(await spendOf(key)).toEqual(settled(5));
  expect((await stripe.paymentIntents.retrieve(first.id)).amount_received).toBe(500);
});

const { errors } = Stripe;
type Act = (made: { key: IssuedKey; stripe: Stripe }) => Promise<unknown>;

describe('a refusal is the SDK’s own exception after one attempt, its code readable', () => {
  test.each<[string, new (raw: never) => Stripe.errors.StripeError, Partial<IssueKeyBody>, Act]>([
    ['cap_exhausted', errors.StripeRateLimitError, { usd_cap: 4 }, ({ stripe }) => stripe.paymentIntents.create(FIVE)],
    [
      'key_revoked',
      errors.StripeAuthenticationError,
      {},
      async ({ key, stripe }) => {
        await rig.client.revokeKey(key.key_id, 'stop');
        return stripe.paymentIntents.create(FIVE);
      },
    ],
    [
      'key_expired',
      errors.StripeAuthenticationError,
      { expires_in: 1 },
      async ({ key, stripe }) => {
        await until(
          'it has expired',
          async () => (await rig.client.getKey(key.key_id)).state === 'expired' || undefined,
        );
        return stripe.paymentIntents.create(FIVE);
      },
    ],
    ['key_invalid', errors.StripeAuthenticationError, {}, () => sdk('vk_wrong').paymentIntents.create(FIVE)],
    ['endpoint_not_allowed', errors.StripePermissionError, {}, ({ stripe }) => stripe.customers.create({ name: 'x' })],
    [
      'endpoint_unpriced',
      errors.StripePermissionError,
      {},
      ({ stripe }) => stripe.subscriptions.create({ customer: 'cus_1', items: [{ price: 'price_1' }] }),
    ],
    ['endpoint_forbidden', errors.StripePermissionError, {}, ({ stripe }) => stripe.accounts.retrieve('acct_1')],
    [
      'request_unpriceable',
      errors.StripeInvalidRequestError,
      {},
      ({ stripe }) => stripe.paymentIntents.create({ ...FIVE, amount: -5 }),
    ],
    [
      'currency_not_allowed',
      errors.StripePermissionError,
      {},
      ({ stripe }) => stripe.paymentIntents.create({ ...FIVE, currency: 'eur' }),
    ],
    [
      'parameter_not_allowed',
      errors.StripePermissionError,
      {},
      ({ stripe }) => stripe.paymentIntents.create({ ...FIVE, transfer_data: { destination: 'acct_1' } }),
    ],
    [
      'account_not_allowed',
      errors.StripePermissionError,
      {},
      ({ stripe }) => stripe.paymentIntents.create(FIVE, { stripeAccount: 'acct_1' }),
    ],
    [
      'per_call_cap_exceeded',
      errors.StripePermissionError,
      { max_usd_per_call: 1 },
      ({ stripe }) => stripe.paymentIntents.create(FIVE),
    ],
  ])('%s', async (code, exception, body, act) => {
    const made = await start(body);
    const error = await errorOf(act(made));
    expect(error).toBeInstanceOf(exception);
    expect({ code: error.code, attempts: received.take() }).toEqual({ code, attempts: 1 });
    expect(error.message).toContain(code);
    expect(error.requestId).toMatch(/./);
    expect((error.raw as { keybrake?: object }).keybrake).toBeDefined();
    expect(rig.sandbox.requests()).toEqual([]);
  });

  test('idempotency_mismatch is Stripe’s idempotency error', async () => {
    const { stripe } = await start();
    await stripe.paymentIntents.create(FIVE, { idempotencyKey: 'm' });
    received.take();
    const error = await errorOf(stripe.paymentIntents.create({ ...FIVE, amount: 501 }, { idempotencyKey: 'm' }));
    expect(error).toBeInstanceOf(errors.StripeIdempotencyError);
    expect({ code: error.code, attempts: received.take() }).toEqual({ code: 'idempotency_mismatch', attempts: 1 });
  });

  test('a declined card is a card error, and is settled at nothing', async () => {
    const { key, stripe } = await start();
    const error = await errorOf(stripe.paymentIntents.create({ ...FIVE, customer: 'cus_decline' }));
    expect(error).toBeInstanceOf(errors.StripeCardError);
    expect([error.code, received.take()]).toEqual(['card_declined', 1]);
    expect(await spendOf(key)).toEqual(settled(0));
  });
});

test('the SDK’s own retries resolve what the vendor answered to nobody: one charge, one PaymentIntent', async () => {
  rig.sandbox.setFaults({ dropAfter: { first: 1 } });
  const { key, stripe } = await start();
  const made = await stripe.paymentIntents.create(FIVE);
  expect(made.status).toBe('succeeded');
  expect(received.take()).toBe(2);
  expect(rig.sandbox.stats().stripe.executedCharges).toBe(1);
  expect(await spendOf(key)).toEqual(settled(5));
});

describe('a PaymentIntent is one amount, whatever is done to it', () => {
  test('created, confirmed, partly captured: what was captured, and the rest is free again', async () => {
    const { key, stripe } = await start({ usd_cap: 10 });
    const { id } = await stripe.paymentIntents.create({ amount: 1_000, currency: 'usd', capture_method: 'manual' });
    expect(await spendOf(key)).toEqual(settled(10));
    await stripe.paymentIntents.confirm(id, { payment_method: 'pm_card_visa' });
    expect(await spendOf(key)).toEqual(settled(10));
    await stripe.paymentIntents.capture(id, { amount_to_capture: 300 });
    expect(await spendOf(key)).toEqual(settled(3));
    await stripe.paymentIntents.create({ ...FIVE, amount: 700 });
    expect(await spendOf(key)).toEqual(settled(10));
    expect(rig.sandbox.stats().stripe.chargedUsd).toBe(10);
  });

  test('created and cancelled: all of it is free again', async () => {
    const { key, stripe } = await start({ usd_cap: 10 });
    const { id } = await stripe.paymentIntents.create({ amount: 1_000, currency: 'usd' });
    await stripe.paymentIntents.cancel(id);
    expect(await spendOf(key)).toEqual(settled(0));
  });

  test('created for a dollar, then raised to $10,000: refused, and it stays a dollar', async () => {
    const { key, stripe } = await start();
    const { id } = await stripe.paymentIntents.create({ amount: 100, currency: 'usd' });
    const raised = await errorOf(stripe.paymentIntents.update(id, { amount: 1_000_000 }));
    expect(raised.code).toBe('cap_exhausted');
    expect((await direct.paymentIntents.retrieve(id)).amount).toBe(100);
    expect(await spendOf(key)).toEqual(settled(1));
  });

  test('confirmed for more than it was created for: the rise must fit', async () => {
    const { key, stripe } = await start({ on_cap: 'refuse' });
    const { id } = await stripe.paymentIntents.create({ amount: 100, currency: 'usd' });
    const confirm = (amount: number) =>
      stripe.paymentIntents.confirm(id, { payment_method: 'pm_card_visa', amount_to_confirm: amount });
    expect((await errorOf(confirm(1_000_000))).code).toBe('cap_exhausted');
    expect((await confirm(5_000)).amount_received).toBe(5_000);
    expect(await spendOf(key)).toEqual(settled(50));
  });

  test('an authorisation raised twice counts its new total, not the sum', async () => {
    const { key, stripe } = await start();
    const { id } = await stripe.paymentIntents.create({ ...FIVE, capture_method: 'manual' });
    await stripe.paymentIntents.incrementAuthorization(id, { amount: 2_000 });
    await stripe.paymentIntents.incrementAuthorization(id, { amount: 6_000 });
    expect(await spendOf(key)).toEqual(settled(60));
    expect((await errorOf(stripe.paymentIntents.incrementAuthorization(id, { amount: 10_001 }))).code).toBe(
      'cap_exhausted',
    );
  });

  test('made elsewhere: it is read before it is confirmed, and must fit', async () => {
    const { key, stripe } = await start({ on_cap: 'refuse' });
    const dear = await direct.paymentIntents.create({ amount: 10_001, currency: 'usd' });
    const cheap = await direct.paymentIntents.create({ amount: 9_900, currency: 'usd' });
    const foreign = await direct.paymentIntents.create({ amount: 100, currency: 'eur' });
    const confirm = (id: string) => stripe.paymentIntents.confirm(id, { payment_method: 'pm_card_visa' });
    expect((await errorOf(confirm(dear.id))).code).toBe('cap_exhausted');
    expect((await errorOf(confirm(foreign.id))).code).toBe('currency_not_allowed');
    expect((await errorOf(confirm('pi_nobody'))).code).toBe('request_unpriceable');
    expect((await confirm(cheap.id)).status).toBe('succeeded');
    expect(await spendOf(key)).toEqual(settled(99));
    expect(rig.sandbox.stats().stripe.executedCharges).toBe(1);
  });

  test('confirmed with another key: that key takes over the whole amount', async () => {
    const { key: creator, stripe } = await start();
    const { key: payer, stripe: other } = await start();
    const { stripe: poor } = await start({ usd_cap: 4 });
    const { id } = await stripe.paymentIntents.create({ amount: 500, currency: 'usd' });
    const confirm = { payment_method: 'pm_card_visa' };
    expect((await errorOf(poor.paymentIntents.confirm(id, confirm))).code).toBe('cap_exhausted');
    await other.paymentIntents.confirm(id, confirm);
    expect([await spendOf(creator), await spendOf(payer)]).toEqual([settled(0), settled(5)]);
  });
});

describe('a refund is money out: it counts against the cap and lowers nothing', () => {
  test('with and without an amount', async () => {
    const { key, stripe } = await start({ usd_cap: 20, on_cap: 'refuse' });
    const first = await stripe.paymentIntents.create({ ...FIVE, amount: 1_000 });
    await stripe.refunds.create({ payment_intent: first.id, amount: 300 });
    expect(await spendOf(key)).toEqual(settled(13, 3));
    // The rest is seven dollars; at most the whole payment is held for it, so what is left must have room for that.
    const refused = await errorOf(stripe.refunds.create({ payment_intent: first.id }));
    expect(refused.code).toBe('cap_exhausted');
    await rig.client.patchKey(key.key_id, { usd_cap: 30 });
    expect((await stripe.refunds.create({ payment_intent: first.id })).amount).toBe(700);
    expect(await spendOf(key)).toEqual(settled(20, 10));
    expect(rig.sandbox.stats().stripe.refundedUsd).toBe(10);
  });

  test('of a payment made elsewhere: it is read first, and must fit', async () => {
    const { key, stripe } = await start({ usd_cap: 50, on_cap: 'refuse' });
    const [dear, cheap] = [
      await direct.paymentIntents.create({ ...FIVE, amount: 6_000 }),
      await direct.paymentIntents.create(FIVE),
    ];
    expect((await errorOf(stripe.refunds.create({ payment_intent: dear.id }))).code).toBe('cap_exhausted');
    await stripe.refunds.create({ payment_intent: cheap.id });
    expect(await spendOf(key)).toEqual(settled(5, 5));
    expect(rig.sandbox.stats().stripe.refunds).toBe(1);
  });
});
