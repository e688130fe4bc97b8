/** Promises 2 and 3, never twice and never lost: half of all sends go wrong, and every record is repeated until it ends. */
import type { Faults } from '../src/sandbox';
import { type Answer, balanced, books, FIVE_DOLLARS, parallel, type Rig, startRig, tally } from './support/rig';

const RECORDS = 300;
const PARALLEL = 40;
const TRIES_MAX = 60;

/** Of every send, about half fails: some before it is executed, some after. */
const FAULTS: Faults = {
  seed: 20261124,
  dropBefore: 0.12,
  dropAfter: 0.12,
  error500Before: 0.12,
  error500After: 0.12,
  decline: 0.1,
};

/** What a client repeats: the refusals that the proxy itself calls worth a retry. */
const AGAIN = new Set(['outcome_unknown', 'idempotency_in_progress', 'budget_busy']);

let rig: Rig;
beforeEach(async () => {
  rig = await startRig({ sandbox: { delayMs: 5 } });
  rig.sandbox.setFaults(FAULTS);
});
afterEach(() => rig.close());

interface Ended {
  readonly last: Answer;
  readonly tries: number;
}

/** Repeats a record with its key until it ends: paid, declined, or refused for good. */
async function untilEnded(vaultKey: string, record: number, look: () => void): Promise<Ended> {
  for (let tries = 1; tries <= TRIES_MAX; tries += 1) {
    const last = await rig.call(vaultKey, {
      body: `${FIVE_DOLLARS}&customer=cus_${record}&metadata[record]=${record}`,
      key: `job:${record}`,
      headers: { 'keybrake-record-id': String(record), 'keybrake-attempt': String(tries) },
    });
    look();
    if (!AGAIN.has(last.code ?? '')) return { last, tries };
    expect(last.headers['stripe-should-retry']).toBe('true');
  }
  throw new Error(`record ${record} did not end in ${TRIES_MAX} tries`);
}

function injectedEach(): void {
  const { injected } = rig.sandbox.stats().stripe;
  for (const fault of ['dropBefore', 'dropAfter', 'error500Before', 'error500After', 'decline'] as const) {
    expect({ fault, struck: (injected[fault] ?? 0) >= 5 }).toEqual({ fault, struck: true });
  }
}

test('300 records through a vendor that fails half the time: all end, none is executed twice, every cent is accounted for', async () => {
  const key = await rig.issue({ usd_cap: 10_000 });
  const ended = await parallel(RECORDS, PARALLEL, (record) => untilEnded(key.vault_key, record, () => {}));
  const paid = ended.filter(({ last }) => last.status === 200);
  const declined = ended.filter(({ last }) => last.status === 402);
  injectedEach();
  expect(paid.length + declined.length).toBe(RECORDS);
  expect(await books(rig, key.key_id)).toEqual(balanced(paid.length, paid.length * 5));

  // The vendor agrees record by record with what the callers were told.
  const executed = new Map(rig.sandbox.charges().map((charge) => [charge.metadata['record'], charge]));
  const told = ended.map(({ last }, record) => ({ record, paid: last.status === 200, id: last.json.id as unknown }));
  expect(told.filter(({ record, paid: yes }) => executed.get(String(record))?.executed !== yes)).toEqual([]);
  expect(told.filter(({ record, paid: yes, id }) => yes && executed.get(String(record))?.id !== id)).toEqual([]);

  // One audit row for each, however often it was repeated.
  const rows = [];
  for await (const row of rig.client.streamCalls({ key_id: key.key_id })) rows.push(row);
  expect(rows.filter(({ state }) => state === 'held' || state === 'unknown')).toEqual([]);
  const settled = rows.filter(({ state }) => state === 'settled').map(({ record_id: id }) => Number(id));
  expect(settled.toSorted((a, b) => a - b)).toEqual(Array.from({ length: RECORDS }, (_, record) => record));
  expect(Math.max(...ended.map(({ tries }) => tries))).toBeGreaterThan(3);
});

test.each(['latch', 'refuse'] as const)(
  'with a cap for half of the records (%s) the vendor is never above it, and nothing is left unknown',
  async (onCap) => {
    const capUsd = 700;
    const key = await rig.issue({ usd_cap: capUsd, on_cap: onCap });
    let mostUsd = 0;
    let sampled: Promise<void> | undefined;
    let mostCounted = 0;
    const look = (): void => {
      const { chargedUsd, openUsd } = rig.sandbox.stats().stripe;
      mostUsd = Math.max(mostUsd, chargedUsd + openUsd);
      sampled ??= rig.client.getKey(key.key_id).then(({ spend }) => {
        mostCounted = Math.max(mostCounted, spend.settled_usd + spend.held_usd + spend.unknown_usd);
        sampled = undefined;
      });
    };
    const ended = await parallel(RECORDS, PARALLEL, (record) => untilEnded(key.vault_key, record, look));
    await sampled;
    const counts = tally(ended.map(({ last }) => last));
    const paid = counts['200'] ?? 0;
    expect(Object.keys(counts).toSorted()).toEqual(['200', '402 card_declined', '429 cap_exhausted']);
    injectedEach();
    expect(mostUsd).toBeLessThanOrEqual(capUsd);
    expect(mostCounted).toBeLessThanOrEqual(capUsd);
    expect(await books(rig, key.key_id)).toEqual(balanced(paid, paid * 5));
    // A decline after others were refused may leave money over; the cap was still nearly used.
    expect(paid * 5).toBeGreaterThan(capUsd * 0.9);
    const refused = ended.filter(({ last }) => last.code === 'cap_exhausted').length;
    const sends = new Set(rig.sandbox.requests().map(({ headers }) => headers['idempotency-key']));
    expect({ recordsThatReachedTheVendor: sends.size }).toEqual({ recordsThatReachedTheVendor: RECORDS - refused });
  },
);

test('an answer 500 that the vendor stored stays unknown and held, however often it is repeated', async () => {
  rig.sandbox.setFaults({ error500After: { first: 1 }, error500Stored: true });
  const key = await rig.issue({ usd_cap: 12 });
  for (let tries = 0; tries < 5; tries += 1) {
    const answer = await rig.call(key.vault_key, { key: 'stored' });
    expect([answer.status, answer.code]).toEqual([504, 'outcome_unknown']);
  }
  // It was executed: had a retry released it, three more charges would fit the cap.
  expect(rig.sandbox.stats().stripe.executedCharges).toBe(1);
  expect((await rig.client.getKey(key.key_id)).spend).toMatchObject({ unknown_usd: 5, settled_usd: 0, held_usd: 0 });
  expect(tally([await rig.call(key.vault_key), await rig.call(key.vault_key)])).toEqual({
    '200': 1,
    '429 cap_exhausted': 1,
  });
  // Unknown money is no reason to latch: it may come back.
  expect((await rig.client.getKey(key.key_id)).state).toBe('active');
});
