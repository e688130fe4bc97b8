/** Promise 1, never over the cap: far more calls than the cap has money for arrive at once. */
import type { IssuedKey, IssueKeyBody } from '../proxy/contract';
import { balanced, books, FIVE_DOLLARS, parallel, type Rig, startRig, tally } from './support/rig';

const CALLS = 400;
const PARALLEL = 200;
/** Money for 50 calls of five dollars and two dollars that no call fits into. */
const CAP_USD = 252;
const FITS = 50;

let rig: Rig;
beforeAll(async () => {
  rig = await startRig({ sandbox: { delayMs: 50 } });
});
afterAll(() => rig.close());
beforeEach(() => rig.sandbox.reset());

/** All calls of the burst, spread over the keys. The tests run on one ledger: keys carry the test's name. */
function burst(keys: readonly IssuedKey[], name: string) {
  return parallel(CALLS, PARALLEL, (index) => {
    const { vault_key: vaultKey } = keys[index % keys.length]!;
    return rig.call(vaultKey, { body: `${FIVE_DOLLARS}&customer=cus_${index}`, key: `${name}:${index}` });
  });
}

const EXACTLY_THE_CAP = { '200': FITS, '429 cap_exhausted': CALLS - FITS };

test.each<[string, Partial<IssueKeyBody>]>([
  ['latch', { usd_cap: CAP_USD }],
  ['refuse', { usd_cap: CAP_USD, on_cap: 'refuse' }],
  ['a cap per day', { daily_usd_cap: CAP_USD }],
  ['a cap per day and a greater one for life', { daily_usd_cap: CAP_USD, usd_cap: 1_000 }],
  ['a job', { usd_cap: CAP_USD, job_id: 'burst' }],
])(
  '%s: of 400 calls at once exactly the 50 that fit the cap are executed, the rest hear cap_exhausted',
  async (...row) => {
    const [name, body] = row;
    const key = await rig.issue(body);
    expect(tally(await burst([key], name))).toEqual(EXACTLY_THE_CAP);
    expect(await books(rig, key.key_id)).toEqual(balanced(FITS, FITS * 5));
    const { spend, state, exhausted_by: by } = await rig.client.getKey(key.key_id);
    expect(spend.calls).toMatchObject({ settled: FITS, refused: CALLS - FITS, held: 0, unknown: 0, released: 0 });
    expect([state, by === null]).toEqual(body.on_cap === 'refuse' ? ['active', true] : ['exhausted', false]);

    // The last two dollars: a latched budget takes nothing new, the other one does.
    const small = await rig.call(key.vault_key, { body: 'amount=200&currency=usd&confirm=true' });
    expect(tally([small])).toEqual(body.on_cap === 'refuse' ? { '200': 1 } : { '429 cap_exhausted': 1 });
  },
);

test('a refusal at the cap says in numbers what would have allowed the call', async () => {
  const key = await rig.issue({ usd_cap: 7 });
  await rig.call(key.vault_key);
  const { json, headers } = await rig.call(key.vault_key);
  const numbers = { needed_usd: 5, settled_usd: 5, held_usd: 0, unknown_usd: 0, cap_usd: 7, remaining_usd: 2 };
  expect(json.error.keybrake).toMatchObject({ ...numbers, budget: `key ${key.key_id}` });
  expect(headers).toMatchObject({ 'keybrake-remaining-usd': '2', 'stripe-should-retry': 'false' });
});

test('two keys of one job share its cap', async () => {
  const keys = [
    await rig.issue({ usd_cap: CAP_USD, job_id: 'two' }),
    await rig.issue({ usd_cap: CAP_USD, job_id: 'two' }),
  ];
  expect(tally(await burst(keys, 'two'))).toEqual(EXACTLY_THE_CAP);
  const job = await rig.client.getJob('two');
  expect(job).toMatchObject({ exhausted: true, usd_cap: CAP_USD });
  expect(job.spend).toMatchObject({ settled_usd: FITS * 5, held_usd: 0, unknown_usd: 0, remaining_usd: 2 });
  expect(rig.sandbox.stats().stripe).toMatchObject({ executedCharges: FITS, chargedUsd: FITS * 5 });
});

test('a parent and three children never pass the cap of the parent, nor a child its own', async () => {
  const parent = await rig.issue({ usd_cap: CAP_USD });
  const below = { parent_key_id: parent.key_id, usd_cap: 100 };
  const children = [await rig.issue(below), await rig.issue(below), await rig.issue(below)];
  const answers = await burst([parent, ...children], 'family');
  expect(tally(answers)).toEqual(EXACTLY_THE_CAP);
  expect(await books(rig, parent.key_id)).toEqual(balanced(FITS, FITS * 5));
  for (const { key_id: id } of children) {
    const { spend } = await rig.client.getKey(id);
    expect(spend.settled_usd).toBeLessThanOrEqual(100);
    expect(spend).toMatchObject({ held_usd: 0, unknown_usd: 0 });
  }
});

test('a call above the whole cap is refused at once, and latches', async () => {
  const key = await rig.issue({ usd_cap: 4 });
  expect(tally([await rig.call(key.vault_key)])).toEqual({ '429 cap_exhausted': 1 });
  expect((await rig.client.getKey(key.key_id)).state).toBe('exhausted');
  expect(rig.sandbox.requests()).toEqual([]);
});

test('a latched budget says that it is, and how to open it', async () => {
  const key = await rig.issue({ usd_cap: 4 });
  await rig.call(key.vault_key);
  const { text } = await rig.call(key.vault_key, { body: 'amount=100&currency=usd' });
  expect(text).toContain('latched, because an earlier call did not fit: raise the cap above $4.00.');
  await rig.client.patchKey(key.key_id, { usd_cap: 4.01 });
  expect((await rig.call(key.vault_key, { body: 'amount=100&currency=usd' })).status).toBe(200);
});

test('every refusal of a known key tells what is left', async () => {
  const key = await rig.issue({ usd_cap: 40 });
  const wrong = [{ body: 'amount=1e3&currency=usd' }, { path: '/v1/refunds' }, { path: '/v1/nothing' }];
  for (const call of wrong) {
    const { status, headers } = await rig.call(key.vault_key, call);
    expect([status >= 400, headers['keybrake-remaining-usd']]).toEqual([true, '40']);
  }
});

test('money given back by declines goes to calls that wait for it: nobody hears that the cap is exhausted', async () => {
  const key = await rig.issue({ usd_cap: 50 });
  const answers = await parallel(39, 39, (index) =>
    rig.call(key.vault_key, { body: `${FIVE_DOLLARS}&customer=cus_${index < 30 ? 'decline' : 'good'}_${index}` }),
  );
  expect(tally(answers)).toEqual({ '200': 9, '402 card_declined': 30 });
  expect(await books(rig, key.key_id)).toEqual(balanced(9, 45));
});
