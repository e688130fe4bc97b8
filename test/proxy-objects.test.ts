/** Promise 1 over several calls and keys: what is counted for a payment is what it moves, in each key's own dollars. */
import type { IssuedKey, IssueKeyBody } from '../proxy/contract';
import { type Call, type Rig, startRig, until } from './support/rig';

const INTENTS = 'POST /v1/payment_intents';
const allowed_endpoints = [
  'GET /v1/payment_intents/:id',
  ...['', '/:id', '/:id/confirm', '/:id/capture', '/:id/increment_authorization', '/:id/cancel'].map(
    (end) => `${INTENTS}${end}`,
  ),
  'POST /v1/refunds',
  'POST /v1/charges/:id/capture',
];

let rig: Rig;
beforeEach(async () => {
  rig = await startRig({ proxy: { reconcile: { everyMs: 3_600_000 }, budgetWaitMs: 50 } });
});
afterEach(() => rig.close());

const issue = (usd_cap: number, more: Partial<IssueKeyBody> = {}) => rig.issue({ usd_cap, allowed_endpoints, ...more });
const on = (id: string, end = '') => `/stripe/v1/payment_intents/${id}${end}`;
const settledUsd = async ({ key_id: id }: IssuedKey) => (await rig.client.getKey(id)).spend.settled_usd;
const statusOf = async (key: IssuedKey, call: Call) => {
  const { status, code } = await rig.call(key.vault_key, call);
  return code === undefined ? status : `${status} ${code}`;
};

async function make(key: IssuedKey, body: string): Promise<string> {
  const { json } = await rig.call(key.vault_key, { body });
  return String(json.id);
}

test('no payment costs more than the cap because its currency changed in an answer that was lost', async () => {
  const key = await issue(100, { fx: { vnd: 0.00004 } });
  const id = await make(key, 'amount=100000&currency=vnd');
  rig.sandbox.setFaults({ dropAfter: { first: 1 } });
  expect(await statusOf(key, { path: on(id), body: 'amount=100&currency=usd' })).toBe('403 parameter_not_allowed');
  rig.sandbox.setFaults({});
  expect(await statusOf(key, { path: on(id), body: 'amount=1000000' })).toBe(200);
  expect(await statusOf(key, { path: on(id, '/confirm'), body: '' })).toBe(200);
  expect([await settledUsd(key), rig.sandbox.charges()]).toMatchObject([40, [{ amount: 1_000_000, currency: 'vnd' }]]);
});

test('a key without a rate for a payment’s currency moves nothing of it, also without an amount', async () => {
  const [euros, dollars] = [await issue(500, { fx: { eur: 1.2 } }), await issue(500)];
  const open = await make(euros, 'amount=10000&currency=eur&capture_method=manual');
  const authorised = await make(euros, 'amount=10000&currency=eur&capture_method=manual&confirm=true');
  const paid = await make(euros, 'amount=10000&currency=eur&confirm=true');
  const before = rig.sandbox.charges();
  for (const call of [
    { path: on(open, '/confirm'), body: '' },
    { path: on(open), body: 'payment_method=pm_card_visa' },
    { path: on(authorised, '/capture'), body: '' },
    { path: '/stripe/v1/refunds', body: `payment_intent=${paid}` },
  ]) {
    expect(await statusOf(dollars, call)).toBe('403 currency_not_allowed');
  }
  expect(rig.sandbox.charges()).toEqual(before);
  // What gives money back needs no rate; what cannot be read of it stays counted.
  expect(await statusOf(dollars, { path: on(open, '/cancel'), body: '' })).toBe(200);
  expect([await settledUsd(euros), await settledUsd(dollars)]).toEqual([360, 0]);
});

test('a payment is changed by one call at a time, also where a call names it by its charge', async () => {
  const [small, large] = [await issue(5), await issue(100)];
  const id = await make(small, 'amount=100&currency=usd&capture_method=manual&confirm=true');
  const charge = (await rig.call(small.vault_key, { method: 'GET', path: on(id) })).json.latest_charge;
  rig.sandbox.setFaults({ delayAfterMs: 400 });
  const raised = statusOf(large, { path: on(id, '/increment_authorization'), body: 'amount=10000' });
  await until('it is raised at the vendor', () => rig.sandbox.charges()[0]?.amount === 10_000 || undefined);
  rig.sandbox.setFaults({});
  // What the vendor shows by now is not yet what the ledger counts.
  const capture = { path: `/stripe/v1/charges/${charge}/capture`, body: '' };
  expect(await statusOf(small, capture)).toBe('429 cap_exhausted');
  expect(await raised).toBe(200);
  expect([await settledUsd(small), await settledUsd(large)]).toEqual([1, 99]);
});

test('a payment that is raised in steps is no dearer than one call may be', async () => {
  const key = await issue(100, { max_usd_per_call: 5, on_cap: 'refuse' });
  const id = await make(key, 'amount=400&currency=usd');
  expect(await statusOf(key, { path: on(id), body: 'amount=500' })).toBe(200);
  const { code, json } = await rig.call(key.vault_key, { path: on(id), body: 'amount=900' });
  expect([code, json.error.keybrake]).toMatchObject(['per_call_cap_exceeded', { needed_usd: 9, cap_usd: 5 }]);
  expect(await statusOf(key, { path: on(id, '/confirm'), body: 'amount_to_confirm=600' })).toBe(
    '403 per_call_cap_exceeded',
  );
  expect(await statusOf(key, { path: on(id, '/confirm'), body: '' })).toBe(200);
  // A refund is a call of its own.
  expect(await statusOf(key, { path: '/stripe/v1/refunds', body: `payment_intent=${id}` })).toBe(200);
  expect([await settledUsd(key), rig.sandbox.stats().stripe.chargedUsd]).toEqual([10, 5]);
});

describe('keys that say different dollars for one currency', () => {
  test('who takes a payment over pays it at its own rate, and that must fit', async () => {
    const [first, second] = [await issue(200, { fx: { eur: 1 } }), await issue(110, { fx: { eur: 1.2 } })];
    const id = await make(first, 'amount=10000&currency=eur');
    const { code, json } = await rig.call(second.vault_key, { path: on(id, '/confirm'), body: '' });
    expect([code, json.error.keybrake.needed_usd]).toEqual(['cap_exhausted', 120]);
    await rig.client.patchKey(second.key_id, { usd_cap: 120 });
    expect(await statusOf(second, { path: on(id, '/confirm'), body: '' })).toBe(200);
    expect([await settledUsd(first), await settledUsd(second)]).toEqual([0, 120]);
  });

  test('a rise is held whole before it leaves, also where another key counts the rest at a higher rate', async () => {
    const [first, second] = [await issue(200, { fx: { eur: 1.2 } }), await issue(5, { fx: { eur: 1 } })];
    const id = await make(first, 'amount=10000&currency=eur');
    expect(await statusOf(second, { path: on(id), body: 'amount=10500' })).toBe(200);
    // $5 more at its own rate, though $125 are counted already.
    expect(await statusOf(second, { path: on(id), body: 'amount=11000' })).toBe('429 cap_exhausted');
    expect([await settledUsd(first), await settledUsd(second)]).toEqual([120, 5]);
  });

  test('a refund of the rest is counted at the rate of the key that makes it', async () => {
    const [first, second] = [await issue(200, { fx: { eur: 1 } }), await issue(110, { fx: { eur: 1.2 } })];
    const id = await make(first, 'amount=10000&currency=eur&confirm=true');
    const refund = { path: '/stripe/v1/refunds', body: `payment_intent=${id}` };
    expect(await statusOf(second, refund)).toBe('429 cap_exhausted');
    expect([await settledUsd(first), await settledUsd(second)]).toEqual([100, 0]);
  });

  test('a call that another key resolves is counted in the dollars that it was held in', async () => {
    const [payer, cheap] = [await issue(150, { fx: { eur: 1.2 } }), await issue(150, { fx: { eur: 0.01 } })];
    const charge = { body: 'amount=10000&currency=eur&confirm=true', key: 'lost' };
    rig.sandbox.setFaults({ dropAfter: { first: 1 } });
    expect(await statusOf(payer, charge)).toBe('504 outcome_unknown');
    expect(await statusOf(cheap, charge)).toBe(200);
    expect([await settledUsd(payer), await settledUsd(cheap)]).toEqual([120, 0]);
    expect(await statusOf(payer, { ...charge, key: 'next' })).toBe('429 cap_exhausted');
  });

  test('an operator’s word on a call is in the dollars of its key, and takes nothing of what another pays', async () => {
    const [first, second] = [await issue(500, { fx: { eur: 1 } }), await issue(500, { fx: { eur: 2 } })];
    const id = await make(first, 'amount=10000&currency=eur');
    rig.sandbox.setFaults({ dropAfter: { first: 1 } });
    expect(await statusOf(second, { path: on(id), body: 'amount=12500' })).toBe('504 outcome_unknown');
    rig.sandbox.setFaults({});
    const [lost] = (await rig.client.listCalls({ state: 'unknown' })).items;
    const timeIsBack = await rig.proxy.passTime(60_000);
    await rig.client.resolveCall(lost!.call_id, { outcome: 'settled', usd: 50 });
    timeIsBack();
    expect([await settledUsd(first), await settledUsd(second)]).toEqual([100, 50]);
  });

  test('a payment is looked up once, also where the clock was set back since its last change', async () => {
    const [first, second] = [await issue(200, { fx: { eur: 1 } }), await issue(200, { fx: { eur: 1.2 } })];
    const timeIsBack = await rig.proxy.passTime(60_000);
    const id = await make(first, 'amount=10000&currency=eur');
    timeIsBack();
    const before = rig.sandbox.stats().stripe.requests;
    expect(await statusOf(second, { path: on(id, '/confirm'), body: '' })).toBe(200);
    expect(rig.sandbox.stats().stripe.requests - before).toBe(2);
    expect([await settledUsd(first), await settledUsd(second)]).toEqual([0, 120]);
  });

  test('no key lowers what another pays by saying less for the currency', async () => {
    const [payer, cheap] = [await issue(200, { fx: { eur: 1.2 } }), await issue(2, { fx: { eur: 0.01 } })];
    const id = await make(payer, 'amount=10000&currency=eur&capture_method=manual');
    expect(await statusOf(cheap, { path: on(id), body: 'metadata[a]=b' })).toBe(200);
    expect(await statusOf(cheap, { path: on(id), body: 'payment_method=pm_card_visa' })).toBe(200);
    expect([await settledUsd(payer), await settledUsd(cheap)]).toEqual([120, 0]);
    // Each pays the part that it asked for, at its own rate, and gets that back.
    expect(await statusOf(cheap, { path: on(id), body: 'amount=15000' })).toBe(200);
    expect([await settledUsd(payer), await settledUsd(cheap)]).toEqual([120, 0.5]);
    expect(await statusOf(payer, { path: on(id), body: 'amount=5000' })).toBe(200);
    expect([await settledUsd(payer), await settledUsd(cheap)]).toEqual([60, 0]);
    expect(await statusOf(cheap, { path: on(id, '/cancel'), body: '' })).toBe(200);
    expect([await settledUsd(payer), await settledUsd(cheap)]).toEqual([0, 0]);
  });
});
