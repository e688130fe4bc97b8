/** What has been done to a payment since: an answer may be older than the ledger, and the ledger than the vendor's books. */
import type { IssuedKey } from '../proxy/contract';
import { callerOf, type Rig, startRig } from './support/rig';

const INTENTS = 'POST /v1/payment_intents';
const allowed_endpoints = ['', '/:id', '/:id/confirm', '/:id/capture', '/:id/increment_authorization'].map(
  (end) => `${INTENTS}${end}`,
);

let rig: Rig;
beforeEach(async () => {
  rig = await startRig({ proxy: { reconcile: { everyMs: 3_600_000 } } });
});
afterEach(() => rig.close());

const issue = (usd: number) => rig.issue({ usd_cap: usd, allowed_endpoints });
const on = (id: string, end = '') => `/stripe/v1/payment_intents/${id}${end}`;
const settledUsd = async ({ key_id: id }: IssuedKey) => (await rig.client.getKey(id)).spend.settled_usd;
const atVendor = () => {
  const { chargedUsd, openUsd } = rig.sandbox.stats().stripe;
  return chargedUsd + openUsd;
};

async function lost(key: IssuedKey, call: Parameters<Rig['call']>[1], code = 'outcome_unknown'): Promise<void> {
  rig.sandbox.setFaults({ dropAfter: { first: 1 }, all: true });
  expect((await rig.call(key.vault_key, call)).code).toBe(code);
  rig.sandbox.setFaults({});
}

test('a confirmation that was lost and is repeated after the amount was raised takes nothing of the rise back', async () => {
  const key = await issue(10);
  const { json } = await rig.call(key.vault_key, {
    key: 'made',
    body: 'amount=500&currency=usd&capture_method=manual',
  });
  const confirm = { path: on(json.id, '/confirm'), body: '', key: 'confirm' };
  await lost(key, confirm);
  const raise = { path: on(json.id, '/increment_authorization'), body: 'amount=1000', key: 'raise' };
  expect((await rig.call(key.vault_key, raise)).status).toBe(200);
  expect((await rig.call(key.vault_key, confirm)).status).toBe(200);
  expect([await settledUsd(key), atVendor()]).toEqual([10, 10]);
});

test('a free change that was lost and is repeated after the amount was raised takes nothing of the rise back', async () => {
  const key = await issue(10);
  const { json } = await rig.call(key.vault_key, { key: 'made', body: 'amount=500&currency=usd' });
  const describe = { path: on(json.id), body: 'description=shoes', key: 'describe' };
  await lost(key, describe);
  expect((await rig.call(key.vault_key, { path: on(json.id), body: 'amount=1000', key: 'raise' })).status).toBe(200);
  expect((await rig.call(key.vault_key, describe)).status).toBe(200);
  expect([await settledUsd(key), atVendor()]).toEqual([10, 10]);
});

test('a key whose lost confirmation is found late pays no more than it held, when another key has captured more since', async () => {
  const [small, large] = [await issue(5), await issue(100)];
  const { json } = await rig.call(small.vault_key, {
    key: 'made',
    body: 'amount=500&currency=usd&capture_method=manual',
  });
  const confirm = { path: on(json.id, '/confirm'), body: '', key: 'confirm' };
  await lost(small, confirm);
  await rig.call(large.vault_key, { path: on(json.id, '/increment_authorization'), body: 'amount=1000', key: 'raise' });
  expect((await rig.call(large.vault_key, { path: on(json.id, '/capture'), body: '', key: 'take' })).status).toBe(200);
  expect((await rig.call(small.vault_key, confirm)).status).toBe(200);
  expect([await settledUsd(small), await settledUsd(large), atVendor()]).toEqual([0, 10, 10]);
});

test('a cancel that was lost and is repeated gives its money back', async () => {
  const key = await rig.issue({ usd_cap: 10, allowed_endpoints: [...allowed_endpoints, `${INTENTS}/:id/cancel`] });
  const { json } = await rig.call(key.vault_key, { key: 'made', body: 'amount=500&currency=usd' });
  const cancel = { path: on(json.id, '/cancel'), body: '', key: 'cancel' };
  await lost(key, cancel);
  expect((await rig.call(key.vault_key, cancel)).status).toBe(200);
  expect([await settledUsd(key), atVendor()]).toEqual([0, 0]);
});

test('a lost confirmation that is repeated after the payment was canceled counts nothing again', async () => {
  const key = await rig.issue({ usd_cap: 10, allowed_endpoints: [...allowed_endpoints, `${INTENTS}/:id/cancel`] });
  const { json } = await rig.call(key.vault_key, {
    key: 'made',
    body: 'amount=500&currency=usd&capture_method=manual',
  });
  const confirm = { path: on(json.id, '/confirm'), body: '', key: 'confirm' };
  await lost(key, confirm);
  await rig.call(key.vault_key, { path: on(json.id, '/cancel'), body: '', key: 'cancel' });
  expect((await rig.call(key.vault_key, confirm)).status).toBe(200);
  expect([await settledUsd(key), atVendor()]).toEqual([0, 0]);
});

test('a declined payment that its customer has paid himself is refunded only where the whole of it fits', async () => {
  const key = await rig.issue({ usd_cap: 10, allowed_endpoints: [...allowed_endpoints, 'POST /v1/refunds'] });
  const dashboard = callerOf(rig.sandbox.url, 1);
  rig.sandbox.setFaults({ decline: { first: 1 } });
  const declined = await rig.call(key.vault_key, { key: 'made', body: 'amount=1000&currency=usd&confirm=true' });
  rig.sandbox.setFaults({});
  const { id } = declined.json.error.payment_intent;
  const paid = { path: `/v1/payment_intents/${id}/confirm`, body: 'payment_method=pm_card_visa' };
  expect((await dashboard.call(rig.proxy.secret, paid)).status).toBe(200);
  await dashboard.close();
  expect((await rig.call(key.vault_key, { key: 'six', body: 'amount=600&currency=usd&confirm=true' })).status).toBe(
    200,
  );
  const refund = { path: '/stripe/v1/refunds', body: `payment_intent=${id}`, key: 'back' };
  expect((await rig.call(key.vault_key, refund)).code).toBe('cap_exhausted');
  await rig.client.patchKey(key.key_id, { usd_cap: 16 });
  expect((await rig.call(key.vault_key, refund)).status).toBe(200);
  expect(await settledUsd(key)).toBe(16);
});

test('a raise whose outcome is unknown is reckoned with by another key that takes the payment over', async () => {
  const [small, large] = [await issue(5), await issue(100)];
  const { json } = await rig.call(large.vault_key, { key: 'made', body: 'amount=500&currency=usd' });
  const raise = { path: on(json.id), body: 'amount=1000', key: 'raise' };
  await lost(large, raise);
  const confirm = { path: on(json.id, '/confirm'), body: '', key: 'confirm' };
  expect((await rig.call(small.vault_key, confirm)).code).toBe('idempotency_in_progress');
  expect([await settledUsd(small), atVendor()]).toEqual([0, 10]);
  // Once it is known, the cap says so; and nothing has been latched before.
  expect((await rig.client.getKey(small.key_id)).state).toBe('active');
  expect((await rig.call(large.vault_key, raise)).status).toBe(200);
  expect((await rig.call(small.vault_key, confirm)).code).toBe('cap_exhausted');
});

test('a raise whose outcome is unknown is held once: its own key confirms what it may have come to', async () => {
  const key = await issue(10);
  const { json } = await rig.call(key.vault_key, { key: 'made', body: 'amount=500&currency=usd' });
  await lost(key, { path: on(json.id), body: 'amount=1000', key: 'raise' });
  expect((await rig.call(key.vault_key, { path: on(json.id, '/confirm'), body: '', key: 'confirm' })).status).toBe(200);
  expect([await settledUsd(key), atVendor()]).toEqual([10, 10]);
});

test('a confirmation whose outcome is unknown keeps no other key from the capture', async () => {
  const [first, second] = [await issue(5), await issue(5)];
  const { json } = await rig.call(first.vault_key, {
    key: 'made',
    body: 'amount=500&currency=usd&capture_method=manual',
  });
  await lost(first, { path: on(json.id, '/confirm'), body: '', key: 'confirm' });
  expect((await rig.call(second.vault_key, { path: on(json.id, '/capture'), body: '', key: 'take' })).status).toBe(200);
  expect([await settledUsd(first), await settledUsd(second), atVendor()]).toEqual([0, 5, 5]);
});
