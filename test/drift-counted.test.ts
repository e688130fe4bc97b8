/** The comparison where several keys, or an operator and a call, count one payment. */
import { type DriftRig, startDriftRig } from './support/drift';
import { until } from './support/rig';

let rig: DriftRig;
afterEach(() => rig.close());

const AUTHORISED = 'amount=1000&currency=usd&confirm=true&payment_method=pm_card_visa&capture_method=manual';

test('a payment of which two keys pay parts, at rates of their own, is equal until the vendor counts another amount', async () => {
  rig = await startDriftRig();
  const allowed_endpoints = ['POST /v1/payment_intents', 'POST /v1/payment_intents/:id'];
  const [first, second] = [
    await rig.issue('stripe', { allowed_endpoints, fx: { eur: 1.2 } }),
    await rig.issue('stripe', { allowed_endpoints, fx: { eur: 1.3 } }),
  ];
  const { id } = await rig.pay(first, 'amount=1000&currency=eur&capture_method=manual');
  await rig.pay(second, 'amount=2000', `/v1/payment_intents/${id}`);
  const { state, totals } = await rig.compare();
  expect([state, totals]).toMatchObject(['equal', [{ ledger_usd: 12 + 13, vendor_usd: 12 + 13 }]]);
  await rig.behind(`/v1/payment_intents/${id}/confirm`, 'payment_method=pm_card_visa');
  await rig.behind(`/v1/payment_intents/${id}/capture`, 'amount_to_capture=1500');
  expect((await rig.compare()).rows).toMatchObject([{ why: 'value', ledger_usd: 25, vendor_usd: 12 + 6.5 }]);
});

test('what an operator settled, and a later call counts again, is told as counted twice, and the vendor counts it once', async () => {
  rig = await startDriftRig({ upstreamTimeoutMs: 300, reconcile: { everyMs: 3_600_000, marginMs: 0 } });
  const key = await rig.issue('stripe');
  const unknown = async (): Promise<string> => (await rig.pay(key, AUTHORISED)).error.keybrake.call_id;
  rig.sandbox.setFaults({ dropAfter: { first: 1 } });
  const made = await unknown();
  rig.sandbox.setFaults({ dropBefore: { first: 1 } });
  const calls = [made, await unknown()];
  const vendor_id = rig.sandbox.charges()[0]!.id;
  for (const call of calls) {
    await until('the operator may say', () =>
      rig.proxy.client.resolveCall(call, { outcome: 'settled', usd: 10, vendor_id }).catch(() => undefined),
    );
  }
  expect(await rig.compare()).toMatchObject({
    rows: [{ why: 'value', call_id: calls[1], ledger_usd: 10, vendor_usd: 0, detail: expect.stringMatching('twice') }],
    totals: [{ ledger_usd: 20, vendor_usd: 10 }],
  });
  await rig.pay(key, 'amount_to_capture=400', `/v1/payment_intents/${vendor_id}/capture`);
  expect(await rig.compare()).toMatchObject({
    rows: calls.map((call_id) => ({ call_id, ledger_usd: 10, vendor_usd: 0 })),
    totals: [{ ledger_usd: 24, vendor_usd: 4 }],
  });
});
