/** What was made while a call was open may be that call's. */
import { canHaveMade } from '../proxy/drift/open';
import { type DriftRig, startDriftRig } from './support/drift';
import { until } from './support/rig';

let rig: DriftRig | undefined;
afterEach(async () => {
  await rig?.close();
  rig = undefined;
});

const paid = (cents: number) => `amount=${cents}&currency=usd&confirm=true&payment_method=pm_card_visa`;

const call = { created_at: 1_000_000, send_by: 1_005_000, quote_micros: 5 };

test.each([
  ['what it holds, while it was under way', 1_001_000, 5, true],
  ['less than it holds', 1_001_000, 3, true],
  ['what has no price yet', 1_001_000, null, true],
  ['more than it holds', 1_001_000, 6, false],
  ["what was made before it, by the vendor's clock", 994_000, 5, false],
  ['what was made when the vendor was done with it', 1_066_000, 5, false],
  ['what does not tell when it was made', Number.NaN, 5, false],
])('may an open call have made %s?', (_, madeMs, valueMicros, expected) => {
  expect(canHaveMade(call, { madeMs, valueMicros })).toBe(expected);
});

test('a call that holds nothing makes nothing', () => {
  expect(canHaveMade({ ...call, quote_micros: 0 }, { madeMs: 1_001_000, valueMicros: 0 })).toBe(false);
});

test('an unknown call is one row, with what it holds and the charge that it may have made', async () => {
  const drift = (rig = await startDriftRig({ upstreamTimeoutMs: 300 }));
  const key = await drift.issue('stripe');
  drift.sandbox.setFaults({ dropAfter: 1 }, 'stripe');
  await drift.pay(key, paid(500), undefined, 'cus_9');
  drift.sandbox.setFaults({}, 'stripe');
  const { state, rows, totals } = await drift.compare();
  expect(state).toBe('differs');
  expect(rows).toMatchObject([
    { why: 'unknown', record_id: 'cus_9', ledger_usd: 5, vendor_usd: 5, vendor_id: expect.stringMatching(/^ch_/) },
  ]);
  expect(totals).toMatchObject([{ rows: 1, vendor_usd: 5 }]);

  // It made one of them: the others, and what is worth more than it holds, are nobody's.
  for (const cents of [300, 500, 700]) await drift.behind('/v1/payment_intents', paid(cents));
  const more = await drift.compare();
  expect(more.rows.map(({ why, vendor_usd }) => [why, vendor_usd])).toEqual([
    ['unaccounted', 7],
    ['unknown', 5],
    ['unaccounted', 3],
    ['unaccounted', 5],
  ]);
  expect((await drift.cli('--job', 'job')).code).toBe(1);
});

test('an unknown call accounts for nothing that is worth more than it holds', async () => {
  const drift = (rig = await startDriftRig({ upstreamTimeoutMs: 300 }));
  const key = await drift.issue('stripe');
  drift.sandbox.setFaults({ dropBefore: 1 }, 'stripe');
  await drift.pay(key, paid(500));
  drift.sandbox.setFaults({}, 'stripe');
  await drift.behind('/v1/payment_intents', paid(501));
  expect((await drift.compare()).rows).toMatchObject([
    { why: 'unaccounted', vendor_usd: 5.01, call_id: null },
    { why: 'unknown', vendor_usd: null, vendor_id: null },
  ]);
});

test.each(['job', 'other'])(
  'a charge of a call under way (of the %s) is no difference: exit code 2',
  async (job_id) => {
    const drift = (rig = await startDriftRig());
    await drift.pay(await drift.issue('stripe'), paid(100));
    const key = await drift.issue('stripe', { job_id });
    drift.sandbox.setFaults({ delayAfterMs: 2_000 }, 'stripe');
    const paying = drift.pay(key, paid(500));
    await until('it is charged', () => drift.sandbox.charges().length === 2 || undefined);
    drift.sandbox.setFaults({}, 'stripe');
    const { state, rows } = await drift.compare();
    expect([state, rows]).toEqual(['unreadable', []]);
    await paying;
    expect((await drift.compare()).state).toBe('equal');
  },
);
