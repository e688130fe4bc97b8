/** Several proxies on one Postgres change one payment: one call at a time, whatever name it has in the call. */
import { type Server, startCluster } from './support/postgres';
import { type ReplicaRig, startReplicas } from './support/replicas';
import { keyBody, until } from './support/rig';

let server: Server;
let rig: ReplicaRig;
beforeAll(async () => {
  server = await startCluster();
});
afterEach(() => rig.close());

test('a call that names a payment by its charge waits for one that another process has at the vendor', async () => {
  rig = await startReplicas(server, 2);
  const [here, there] = [rig.replicas[0]!, rig.replicas[1]!];
  const allowed_endpoints = [
    'POST /v1/payment_intents',
    'POST /v1/payment_intents/:id/increment_authorization',
    'GET /v1/payment_intents/:id',
    'POST /v1/charges/:id/capture',
  ];
  const issue = (usd_cap: number) => here.client.issueKey(keyBody({ usd_cap, allowed_endpoints }));
  const [small, large] = [await issue(5), await issue(100)];
  const body = 'amount=100&currency=usd&capture_method=manual&confirm=true';
  const { id, latest_charge: charge } = (await here.call(small.vault_key, { body })).json;
  const path = `/stripe/v1/payment_intents/${id}`;
  rig.sandbox.setFaults({ delayAfterMs: 600 });
  const raised = here.call(large.vault_key, { path: `${path}/increment_authorization`, body: 'amount=10000' });
  await until('it is raised at the vendor', () => rig.sandbox.charges()[0]?.amount === 10_000 || undefined);
  rig.sandbox.setFaults({});
  const captured = await there.call(small.vault_key, { path: `/stripe/v1/charges/${charge}/capture`, body: '' });
  expect(captured.code).toBe('cap_exhausted');
  expect((await raised).status).toBe(200);
  const spent = [small, large].map(async (key) => (await there.client.getKey(key.key_id)).spend.settled_usd);
  expect(await Promise.all(spent)).toEqual([1, 99]);
});

test('what a call has seen of a payment before it waited for money is not what it is worth afterwards', async () => {
  rig = await startReplicas(server, 2);
  const [here, there] = [rig.replicas[0]!, rig.replicas[1]!];
  const allowed_endpoints = ['', '/:id', '/:id/confirm'].map((end) => `POST /v1/payment_intents${end}`);
  const issue = (usd_cap: number, eur: number) =>
    here.client.issueKey(keyBody({ usd_cap, allowed_endpoints, fx: { eur } }));
  const [large, small] = [await issue(5_000, 1), await issue(150, 1.2)];
  const { id } = (await here.call(large.vault_key, { body: 'amount=10000&currency=eur' })).json;
  const path = `/stripe/v1/payment_intents/${id}`;
  const asked = (count: number) =>
    until(`request ${count}`, () => rig.sandbox.stats().stripe.requests === count || undefined);

  rig.sandbox.setFaults({ delayAfterMs: 1_500 });
  const body = 'amount=10000&currency=usd&confirm=true&payment_method=pm_card_chargeDeclined';
  const declined = there.call(small.vault_key, { body });
  await asked(2);
  rig.sandbox.setFaults({});
  // In other dollars than the ledger counts it, so that it is looked up; then the other call's money is waited for.
  const confirmed = there.call(small.vault_key, { path: `${path}/confirm`, body: '' });
  await asked(3);
  await new Promise((resolve) => setTimeout(resolve, 300));
  expect((await here.call(large.vault_key, { path, body: 'amount=100000' })).status).toBe(200);
  expect((await declined).status).toBe(402);
  const { code, json } = await confirmed;
  expect([code, json.error.keybrake.needed_usd]).toEqual(['cap_exhausted', 1_200]);
});
