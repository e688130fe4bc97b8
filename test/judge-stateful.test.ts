/** An independent judge of Stripe's idempotency: `stripe-stateful-mock`, behind the real proxy. It knows charges only. */
// oxlint-disable-next-line import/no-named-as-default
import Stripe from 'stripe';
import type { IssuedKey } from '../proxy/contract';
import { type TestProxy } from '../src/testing';
import { errorOf } from './sandbox-fixture';
import { startTestProxy } from './support/proxy';
import { type Judge, startStatefulStripe } from './support/judges';

const CHARGE = { amount: 500, currency: 'usd', source: 'tok_visa' };
const CHARGES = ['POST /v1/charges', 'POST /v1/charges/:id/capture', 'GET /v1/charges', 'POST /v1/refunds'];

let judge: Judge;
/** Two proxies before the same account, each with a ledger of its own: the vendor alone can tell a repeated call. */
let proxies: readonly TestProxy[];
beforeAll(async () => {
  judge = await startStatefulStripe();
  const options = { upstream: judge.url, secret: 'sk_test_stateful_0123456789' };
  proxies = [await startTestProxy(options), await startTestProxy(options)];
});
afterAll(async () => {
  await Promise.all(proxies.map((proxy) => proxy.close()));
  await judge.close();
});

interface Caller {
  readonly stripe: Stripe;
  spend(): Promise<object>;
}

async function callers(): Promise<readonly [Caller, Caller]> {
  const [one, other] = await Promise.all(
    proxies.map(async (proxy): Promise<Caller> => {
      const body = { usd_cap: 100, expires_in: '1h', agent_run_label: 'test', allowed_endpoints: CHARGES };
      const key: IssuedKey = await proxy.client.issueKey({ vendor: 'stripe', ...body });
      const at = { host: '127.0.0.1', port: proxy.port, protocol: 'http' } as const;
      const stripe = new Stripe(key.vault_key, { ...at, maxNetworkRetries: 0 });
      return {
        stripe,
        spend: async () => {
          const { spend } = await proxy.client.getKey(key.key_id);
          return { settled: spend.settled_usd, held: spend.held_usd, unknown: spend.unknown_usd };
        },
      };
    }),
  );
  return [one!, other!];
}

/** The charges that the vendor has executed with this description. */
async function executed({ stripe }: Caller, description: string): Promise<number> {
  const { data } = await stripe.charges.list({ limit: 100 });
  return data.filter((charge) => charge.description === description).length;
}

test('one key is one charge, and a replay says that it is one, from whichever ledger it is asked', async () => {
  const [one, other] = await callers();
  const charge = { ...CHARGE, description: 'one', metadata: { 'order id': '7&amount=1' } };
  const made = await one.stripe.charges.create(charge, { idempotencyKey: 'one' });
  const replay = await one.stripe.charges.create(charge, { idempotencyKey: 'one' });
  const vendors = await other.stripe.charges.create(charge, { idempotencyKey: 'one' });
  expect(made).toMatchObject({ amount: 500, metadata: { 'order id': '7&amount=1' } });
  expect([replay.id, vendors.id]).toEqual([made.id, made.id]);
  expect(replay.lastResponse.headers['idempotent-replayed']).toBe('true');
  expect(vendors.lastResponse.headers['original-request']).toBe(made.lastResponse.requestId);
  expect(await executed(one, 'one')).toBe(1);
  expect(await one.spend()).toEqual({ settled: 5, held: 0, unknown: 0 });
});

test('another request under the key is the same error from the proxy and from the vendor', async () => {
  const [one, other] = await callers();
  const charge = { ...CHARGE, description: 'mismatch' };
  await one.stripe.charges.create(charge, { idempotencyKey: 'mismatch' });
  for (const { stripe } of [one, other]) {
    const create = stripe.charges.create({ ...charge, amount: 501 }, { idempotencyKey: 'mismatch' });
    const error = await errorOf(create);
    expect(error).toBeInstanceOf(Stripe.errors.StripeIdempotencyError);
    expect([error.statusCode, error.rawType]).toEqual([400, 'idempotency_error']);
  }
  expect(await executed(one, 'mismatch')).toBe(1);
  expect(await other.spend()).toEqual({ settled: 0, held: 0, unknown: 0 });
});

test('a decline is kept under its key, by the proxy as by the vendor', async () => {
  const [one, other] = await callers();
  const charge = { ...CHARGE, source: 'tok_chargeDeclined' };
  for (const { stripe } of [one, one, other]) {
    const error = await errorOf(stripe.charges.create(charge, { idempotencyKey: 'declined' }));
    expect(error).toBeInstanceOf(Stripe.errors.StripeCardError);
    expect([error.statusCode, error.code]).toEqual([402, 'card_declined']);
  }
  expect(await one.spend()).toEqual({ settled: 0, held: 0, unknown: 0 });
  expect(await other.spend()).toEqual({ settled: 0, held: 0, unknown: 0 });
});

test('a charge is captured for less, then refunded: what was captured is settled, and the refund is money out', async () => {
  const [one] = await callers();
  const { id } = await one.stripe.charges.create({ ...CHARGE, capture: false });
  expect(await one.spend()).toEqual({ settled: 5, held: 0, unknown: 0 });
  await one.stripe.charges.capture(id, { amount: 300 });
  expect(await one.spend()).toEqual({ settled: 3, held: 0, unknown: 0 });
  await one.stripe.refunds.create({ charge: id, amount: 100 });
  expect(await one.spend()).toEqual({ settled: 4, held: 0, unknown: 0 });
});
