import { get } from 'node:http';
import { type DriftRig, startDriftRig } from './support/drift';
import { keybrake } from './support/cli';
import { parallel, until } from './support/rig';
import { startVendorStub } from './support/vendorStub';

let rig: DriftRig;
afterEach(() => rig.close());

const paid = (cents: number) => `amount=${cents}&currency=usd&confirm=true&payment_method=pm_card_visa`;
const authorised = (cents: number) => `${paid(cents)}&capture_method=manual`;

/** $5 paid, $10 authorised and $4 of it captured, $7 canceled, one declined, $6 by a charge, $1.50 refunded. */
async function run() {
  const key = await rig.issue('stripe');
  const first = await rig.pay(key, paid(500), undefined, 'cus_1');
  const { id: partly } = await rig.pay(key, authorised(1_000));
  await rig.pay(key, 'amount_to_capture=400', `/v1/payment_intents/${partly}/capture`);
  const { id: canceled } = await rig.pay(key, authorised(700));
  await rig.pay(key, '', `/v1/payment_intents/${canceled}/cancel`);
  await rig.pay(key, `${paid(300)}_chargeDeclined`.replace('pm_card_visa_', 'pm_card_'));
  await rig.pay(key, 'amount=600&currency=usd&source=tok_visa', '/v1/charges');
  await rig.pay(key, `payment_intent=${first.id}&amount=150`, '/v1/refunds');
  return { key, first: first.id as string, partly: partly as string };
}

test('after a run with partial captures, cancels, declines and refunds through the proxy, all is equal: exit code 0', async () => {
  rig = await startDriftRig();
  const { key } = await run();
  const compared = await rig.compare();
  expect(compared).toMatchObject({ state: 'equal', calls: 8, rows: [] });
  const { spend } = await rig.proxy.client.getKey(key.key_id);
  expect(spend.settled_usd).toBe(16.5);
  expect(compared.totals).toEqual([
    {
      type: 'total',
      vendor: 'stripe',
      account: 'stripe',
      state: 'equal',
      objects: 6,
      ledger_usd: 16.5,
      vendor_usd: 16.5,
      rows: 0,
      gaps: [],
    },
  ]);
  const { code, stdout } = await rig.cli('--job', 'job');
  expect(code).toBe(0);
  expect(stdout).toMatch(/stripe +stripe +6 +\$16\.50 +\$16\.50 +0 +0\nEqual: 8 calls, \$16\.50 in the ledger and at/);
  // Each object once, though three calls name one.
  expect(rig.reads('/v1/payment_intents/').length + rig.reads('/v1/charges/').length).toBe(2 * 5);
});

test('a charge behind its back is unaccounted, those of other keys are not: exit code 1', async () => {
  rig = await startDriftRig();
  await run();
  await rig.pay(await rig.issue('stripe', { job_id: 'other' }), paid(900));
  const { id } = await rig.behind('/v1/payment_intents', paid(1_234));
  const alone = await rig.behind('/v1/charges', 'amount=250&currency=usd&source=tok_visa');
  await rig.behind('/v1/payment_intents', 'amount=8000&currency=usd');
  const charge = rig.sandbox.charges().find((one) => one.id === id);
  expect(charge).toBeDefined();
  const { state, rows, totals } = await rig.compare();
  expect(state).toBe('differs');
  expect(rows.map(({ why, vendor_usd, call_id }) => [why, vendor_usd, call_id])).toEqual([
    ['unaccounted', 2.5, null],
    ['unaccounted', 12.34, null],
  ]);
  expect(rows[0]?.vendor_id).toBe(alone['id']);
  expect(totals).toMatchObject([{ ledger_usd: 16.5, vendor_usd: 31.34, rows: 2 }]);
  const { code, stdout } = await rig.cli('--label', 'test');
  expect(code).toBe(1);
  expect(stdout.trim().split('\n').at(-1)).toMatch(
    /^Not equal: 2 differ, \$25\.50 in the ledger and \$40\.34 at the v/,
  );
});

test('a refund behind its back is money back that the ledger does not know: exit code 1', async () => {
  rig = await startDriftRig();
  const { first } = await run();
  const { id } = await rig.behind('/v1/refunds', `payment_intent=${first}&amount=200`);
  const { state, rows, totals } = await rig.compare();
  expect(state).toBe('differs');
  expect(rows).toEqual([
    {
      type: 'row',
      why: 'refund',
      vendor: 'stripe',
      account: 'stripe',
      vendor_id: id,
      record_id: 'cus_1',
      call_id: expect.stringMatching(/^call_/),
      ledger_usd: 0,
      vendor_usd: 2,
      detail: `refunded elsewhere: money back of ${first} that the ledger does not know`,
    },
  ]);
  expect(totals).toMatchObject([{ ledger_usd: 16.5, vendor_usd: 18.5 }]);
  const { code, stdout } = await rig.cli('--job', 'job');
  expect(code).toBe(1);
  expect(stdout).toMatch(/^refund +\$0\.00 +\$2\.00 +cus_1 +re_\w+ +call_\w+ +refunded elsewhere/m);
});

test('a capture, and a cancel, behind its back differ by what the vendor counts now: exit code 1', async () => {
  rig = await startDriftRig();
  const key = await rig.issue('stripe');
  const { id: captured } = await rig.pay(key, authorised(1_000));
  const { id: canceled } = await rig.pay(key, authorised(300));
  const { id: confirmed } = await rig.pay(key, 'amount=800&currency=usd');
  expect((await rig.compare()).state).toBe('equal');
  await rig.behind(`/v1/payment_intents/${captured}/capture`, 'amount_to_capture=250');
  await rig.behind(`/v1/payment_intents/${canceled}/cancel`);
  await rig.behind(`/v1/payment_intents/${confirmed}/confirm`, 'payment_method=pm_card_visa');
  const { state, rows } = await rig.compare();
  expect(state).toBe('differs');
  // What was held in full for a confirm elsewhere is equal once that came.
  expect(rows.map(({ why, vendor_id, ledger_usd, vendor_usd }) => [why, vendor_id, ledger_usd, vendor_usd])).toEqual([
    ['value', captured, 10, 2.5],
    ['value', canceled, 3, 0],
  ]);
  const { code, stdout } = await rig.cli('--key', key.key_id, '--json');
  expect(code).toBe(1);
  const lines = stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as { type: string });
  expect(lines.map(({ type }) => type)).toEqual(['row', 'row', 'total', 'end']);
  expect(JSON.parse(JSON.stringify(lines[2]))).toMatchObject({ ledger_usd: 21, vendor_usd: 10.5 });
});

test('a Twilio price that came after the last look differs; without one nothing can be said: exit codes 1 and 2', async () => {
  const late = { firstMs: 5, longestMs: 20, everyMs: 5, perSecond: 10_000, giveUpMs: 60 };
  rig = await startDriftRig({ late });
  const key = await rig.issue('twilio');
  const sid = await rig.text(key, '+14155550100');
  await until('it is given up', async () => (await metric('keybrake_waiting_for_price_calls')) === 0 || undefined);
  const before = await rig.cli('--job', 'job');
  expect(before.code).toBe(2);
  expect(before.stdout).toMatch(
    /twilio: 1 not read \(\$0\.02\): Twilio has no price for it yet\nCould not be read: 1 of/,
  );

  await rig.sandbox.advance();
  const { state, rows } = await rig.compare();
  expect(state).toBe('differs');
  expect(rows).toMatchObject([{ why: 'price', vendor_id: sid, ledger_usd: 0.02, vendor_usd: 0.0113 }]);
  expect(rows[0]?.detail).toMatch(/after the ledger had given it up/);
  expect((await rig.cli('--job', 'job')).code).toBe(1);
});

test('texts whose prices the ledger has are equal; a text behind its back is unaccounted', async () => {
  rig = await startDriftRig({ late: { firstMs: 5, longestMs: 20, everyMs: 5, perSecond: 10_000 } });
  const key = await rig.issue('twilio');
  await parallel(5, 5, (n) => rig.text(key, `+1415555010${n}`));
  await rig.sandbox.advance();
  await until(
    'the prices are there',
    async () => (await metric('keybrake_waiting_for_price_calls')) === 0 || undefined,
  );
  expect(await rig.compare()).toMatchObject({ state: 'equal', totals: [{ objects: 5, ledger_usd: 0.0565 }] });
  const { sid } = await rig.textBehind('+14155550109');
  await rig.sandbox.advance();
  expect((await rig.compare()).rows).toMatchObject([{ why: 'unaccounted', vendor_id: sid, vendor_usd: 0.0113 }]);
});

test('Resend is not read, and never called equal: exit code 2', async () => {
  rig = await startDriftRig();
  const key = await rig.issue('resend');
  await rig.mail(key);
  await rig.pay(await rig.issue('stripe'), paid(500));
  const { code, stdout } = await rig.cli('--job', 'job');
  expect(code).toBe(2);
  expect(stdout).toMatch(/resend: 1 not read \(\$0\.0009\): Resend tells no price, and a sending key cannot read/);
  expect(stdout).toMatch(/^Could not be read: 1 of it\. What could be is equal: \$5\.00\.\n$/m);
  expect(rig.reads('/emails')).toEqual([]);
});

test('a vendor, an account or a proxy that does not answer is no difference and no equality: exit code 2', async () => {
  rig = await startDriftRig();
  const key = await rig.issue('stripe');
  await rig.pay(key, paid(500));
  rig.sandbox.setFaults({ error500Before: 1, all: true }, 'stripe');
  const down = await rig.cli('--job', 'job');
  expect([down.code, down.stdout]).toEqual([2, expect.stringMatching(/2 not read \(\$5\.00\): stripe answered 500/)]);
  expect(down.stdout).toMatch(/^Could not be read: 2 of it\./m);
  rig.sandbox.setFaults({}, 'stripe');
  rig.sandbox.reset();
  const gone = await rig.compare();
  expect(gone.rows).toMatchObject([{ why: 'gone', ledger_usd: 5, vendor_usd: 0 }]);
  const unnamed = await rig.cli();
  expect([unnamed.code, unnamed.stderr]).toEqual([2, 'keybrake: Say which run: --label, --job or --key.\n']);
  expect((await rig.cli('--job', 'job', '--state', 'settled')).stderr).toMatch(/for whole runs/);
  const env = { KEYBRAKE_URL: 'http://127.0.0.1:9', KEYBRAKE_API_KEY: rig.proxy.apiKey };
  const nobody = await keybrake(['audit', '--reconcile', '--job', 'job'], { env });
  expect([nobody.code, nobody.stderr]).toEqual([
    2,
    expect.stringMatching(/could not be read: No answer from the proxy/),
  ]);
});

test('what differs stands in columns, however long the ids of its records are', async () => {
  rig = await startDriftRig();
  const key = await rig.issue('stripe');
  await rig.pay(key, paid(500), undefined, 'customer-of-a-long-name');
  await rig.pay(key, paid(700), undefined, 'short');
  rig.sandbox.reset();
  const { stdout } = await rig.cli('--job', 'job');
  const [titles = '', ...rows] = stdout.split('\n').slice(0, 3);
  const at = rows.map((row) => [row.search('pi_'), row.search('call_')]);
  expect(at).toEqual(rows.map(() => [titles.indexOf('VENDOR ID'), titles.indexOf('CALL ID')]));
});

test('payouts and transfers are read by their ids; one that failed later differs', async () => {
  const stub = await startVendorStub();
  try {
    rig = await startDriftRig({ accounts: { stripe: { vendor: 'stripe', secret: 'sk_test_x', upstream: stub.url } } });
    const key = await rig.issue('stripe');
    const payout = { id: 'po_1', object: 'payout', amount: 700, currency: 'usd', status: 'pending' };
    const transfer = { id: 'tr_1', object: 'transfer', amount: 200, currency: 'usd' };
    stub.script({ status: 200, body: payout }, { status: 200, body: transfer });
    await rig.pay(key, 'amount=700&currency=usd', '/v1/payouts');
    await rig.pay(key, 'amount=200&currency=usd&destination=acct_1', '/v1/transfers');
    const read = new Map<string, object>([
      ['/v1/payouts/po_1', { ...payout, status: 'failed' }],
      ['/v1/transfers/tr_1', transfer],
    ]);
    stub.answer(({ path }) => ({ status: 200, body: read.get(path) ?? { object: 'list', data: [], has_more: false } }));
    const { rows, totals } = await rig.compare();
    expect(rows).toMatchObject([{ why: 'value', vendor_id: 'po_1', ledger_usd: 7, vendor_usd: 0 }]);
    expect(totals).toMatchObject([{ objects: 2, ledger_usd: 9, vendor_usd: 2 }]);
  } finally {
    await stub.stop();
  }
});

test('450 calls are compared in pages, at the pace of the account, with a 429 waited out', async () => {
  rig = await startDriftRig();
  const key = await rig.issue('stripe', { usd_cap: 10_000 });
  await parallel(450, 16, () => rig.pay(key, paid(100)));
  rig.sandbox.setFaults({ rate429: { first: 1 }, all: true }, 'stripe');
  const compared = await rig.compare();
  expect(compared).toMatchObject({ state: 'equal', calls: 450, totals: [{ objects: 450, ledger_usd: 450 }] });
  expect(compared.lines.filter(({ type }) => type === 'progress').length).toBeGreaterThan(3);
  expect(rig.reads('/v1/charges').length).toBeGreaterThanOrEqual(5);
}, 60_000);

test('a reader that leaves ends the reading', async () => {
  rig = await startDriftRig();
  const key = await rig.issue('stripe', { usd_cap: 10_000 });
  await parallel(60, 16, () => rig.pay(key, paid(100)));
  rig.sandbox.setFaults({ delayMs: 30, all: true }, 'stripe');
  const headers = { authorization: `Bearer ${rig.proxy.apiKey}` };
  const asked = get(`${rig.proxy.url}/vault/drift?job_id=job`, { headers }).on('error', () => undefined);
  await until('it reads', () => rig.reads('/v1/payment_intents/').length > 8 || undefined);
  asked.destroy();
  const seen = rig.reads('/v1/payment_intents/').length;
  // As many reads again as were to come would take less time than this.
  await new Promise((resolve) => setTimeout(resolve, 500));
  expect(rig.reads('/v1/payment_intents/').length - seen).toBeLessThanOrEqual(16);
});

test('only the admin may ask, and only for a run', async () => {
  rig = await startDriftRig();
  const ask = (query: string, key: string) =>
    fetch(`${rig.proxy.url}/vault/drift${query}`, { headers: { authorization: `Bearer ${key}` } });
  expect((await ask('?job_id=job', rig.proxy.workerKey)).status).toBe(403);
  expect((await ask('', rig.proxy.apiKey)).status).toBe(400);
  expect((await ask('?job=job', rig.proxy.apiKey)).status).toBe(400);
  expect(await rig.compare('nothing')).toMatchObject({ state: 'equal', calls: 0, totals: [] });
});

async function metric(name: string): Promise<number> {
  const text = await (await fetch(`${rig.proxy.url}/metrics`)).text();
  const line = text.split('\n').find((one) => one.startsWith(`${name} `));
  return Number(line?.split(' ')[1]);
}

test.each([
  ['--job', /There is no job nowhere/],
  ['--key', /There is no key nowhere/],
  ['--label', /There is no key with the label nowhere/],
])('a run that never was is not told as equal: %s', async (flag, words) => {
  rig = await startDriftRig();
  const { code, stdout, stderr } = await rig.cli(flag, 'nowhere');
  expect([code, stdout, stderr]).toEqual([2, '', expect.stringMatching(words)]);
});
