/** Whatever a vendor answers: reading it never throws, or the money of a call that was sent would be held for ever. */
import * as fc from 'fast-check';
import type { IssuedKey } from '../proxy/contract';
import { judge } from '../proxy/judge';
import { rateLimitIn } from '../proxy/rateLimit';
import { createVendors } from '../proxy/vendors';
import type { Price, Route, Sought, Vendor } from '../proxy/vendors/vendor';
import { type Rig, startRig } from './support/rig';
import { startVendorStub, type VendorStub } from './support/vendorStub';

const TERMS = { fx: {} };
const PRICES: readonly Price[] = [{ kind: 'free' }, { kind: 'fixed', micros: 5_000_000, out: false }];
const STATUSES = [200, 201, 204, 302, 400, 402, 404, 409, 429, 500];

// prettier-ignore
const NAMES = [
  'id', 'object', 'amount', 'currency', 'status', 'error', 'type', 'payment_intent', 'charge', 'data', 'has_more',
  'errors', 'index', 'name', 'message', 'code', 'sid', 'price', 'price_unit', 'messages', 'next_page_uri', 'to', 'from',
  'body', 'date_created', 'latest_charge', 'amount_refunded', 'captured', 'amount_captured', 'amount_received',
  'amount_capturable', 'last_payment_error', 'monetary', 'value', 'voided_at', 'amount_paid', 'amount_remaining',
  'amount_total', 'request', 'idempotency_key', '__proto__', 'constructor', 'toString', 'valueOf', 'last_event',
];
// prettier-ignore
const VALUES = [
  'pi_1', 'ch_1', 're_1', 'in_1', 'cs_1', 'po_1', 'evt_1', 'SM11', 'CA11', 'usd', 'jpy', 'bhd', 'constructor', 'succeeded',
  'requires_capture', 'canceled', 'failed', 'payment_intent', 'charge', 'refund', 'transfer', 'payout', 'invoice',
  'checkout.session', 'credit_note', 'card_error', 'open', 'paid', 0, -5, 1.5, 1e300, 5, 500, null, true, '-0.0075', '1e5', '',
  'x'.repeat(5_000),
];
const { tree } = fc.letrec((tie) => ({
  tree: fc.oneof(
    { maxDepth: 4 },
    fc.constantFrom<unknown>(...VALUES),
    fc.array(tie('tree'), { maxLength: 3 }),
    fc.dictionary(fc.constantFrom(...NAMES), tie('tree'), { maxKeys: 12 }),
  ),
}));
const sentAs = (status: number, answer: unknown) =>
  ({ kind: 'answered', status, headers: {}, body: Buffer.from(JSON.stringify(answer)) }) as const;

function readByRoute(vendor: Vendor, route: Route, status: number, answer: unknown): void {
  const json = route.path.endsWith('batch') ? [{ from: 'a@b', to: 'c@d' }] : {};
  const request = { method: route.method, path: route.path, query: [], body: [], json, headers: {} };
  for (const price of PRICES) {
    for (const first of [true, false]) {
      const parts = { vendor, route, price, request, terms: TERMS, first };
      const verdict = judge({ sent: sentAs(status, answer), ...parts });
      if (verdict.state !== 'settled') continue;
      const { spend } = verdict;
      const { vendorId } = 'object' in spend ? spend.object : spend;
      // An index of Postgres takes no text above 2,704 bytes.
      expect([route.name, (vendorId ?? '').length <= 255]).toEqual([route.name, true]);
      const micros = 'object' in spend ? spend.object.valueMicros : spend.micros;
      expect([route.name, micros, Number.isSafeInteger(micros) && micros >= 0]).toEqual([route.name, micros, true]);
    }
  }
  const text = [
    ['To', '+1'],
    ['From', '+2'],
    ['Body', 'x'],
  ] as const;
  const times = { key: 'k', fromMs: 0, toMs: 1 };
  const sought: Sought = { path: route.path, ids: { id: 'pi_1' }, ...times, request: { ...request, body: text } };
  route.find?.read(answer, sought);
  route.find?.show(answer, sought);
  route.find?.changed?.shows(answer, sought);
}

const IDS = ['pi_1', 'ch_1', 're_1', 'tr_1', 'po_1', 'tu_1', 'in_1', 'cs_1', 'cn_1', 'credgr_1', 'SM1', 'CA1'];

function readByStatement({ statement }: Vendor, answer: unknown): void {
  if ('none' in statement) return;
  statement.made(0, 1, 'AC1').page(answer, TERMS);
  for (const read of IDS.map((id) => statement.of(id, 'AC1'))) {
    read?.value(answer, TERMS);
    read?.back?.(answer)?.page(answer, TERMS);
  }
}

test('no answer throws, and none counts less than nothing or a part of a micro-dollar', () => {
  const vendors = createVendors();
  const property = fc.property(tree, fc.constantFrom(...STATUSES), (answer, status) => {
    for (const vendor of vendors.values()) {
      rateLimitIn(vendor, sentAs(status, answer));
      vendor.lookupValue(answer, TERMS);
      vendor.currencyOf(answer);
      readByStatement(vendor, answer);
      for (const route of vendor.routes) readByRoute(vendor, route, status, answer);
    }
  });
  const checked = fc.check(property, {
    numRuns: 200,
    examples: [[{ object: 'payout', id: 'po_1', amount: 5, currency: 'usd', status: { toString: null } }, 200]],
  });
  expect(fc.defaultReportMessage(checked) ?? 'holds').toBe('holds');
});

describe('through the proxy', () => {
  let stub: VendorStub;
  let rig: Rig;
  let key: IssuedKey;
  beforeAll(async () => {
    stub = await startVendorStub();
    rig = await startRig({ proxy: { upstream: stub.url } });
    key = await rig.issue({ usd_cap: 9, allowed_endpoints: ['POST /v1/payouts'] });
  });
  afterAll(async () => {
    await rig.close();
    await stub.stop();
  });

  test('a payout whose status is no text is unknown, and not held for ever', async () => {
    stub.script({
      status: 200,
      body: { object: 'payout', id: 'po_1', amount: 500, currency: 'usd', status: { toString: null } },
    });
    const { code } = await rig.call(key.vault_key, { path: '/v1/payouts', body: 'amount=500&currency=usd' });
    expect(code).toBe('outcome_unknown');
    expect((await rig.client.getKey(key.key_id)).spend).toMatchObject({ held_usd: 0, unknown_usd: 5 });
  });
});
