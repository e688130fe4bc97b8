import { matchRoute, readPath, readRequest } from '../proxy/reading';
import { stripe } from '../proxy/vendors/stripe';
import type { Pricing, PricingTerms } from '../proxy/vendors/vendor';

const TERMS: PricingTerms = { fx: { eur: 1.2 } };

function read(path: string, body: string) {
  const match = matchRoute(stripe, 'POST', path);
  if (match === undefined) throw new Error(`no route for ${path}`);
  const kind = match.route.body;
  const headers = { 'content-type': kind === 'json' ? 'application/json' : 'application/x-www-form-urlencoded' };
  const request = readRequest({ method: 'POST', target: readPath(path), headers, bodyText: body, kind });
  return { match, request };
}

function priceOf(path: string, body: string): Pricing {
  const { match, request } = read(path, body);
  return match.route.price(request, match.ids, TERMS);
}

function valueOf(route: string, answer: object, status = 200) {
  const row = stripe.routes.find(({ name }) => name === `POST ${route}`);
  if (row === undefined) throw new Error(`no route ${route}`);
  const request = { method: 'POST', path: route, query: [], body: [], headers: {} };
  return row.value(status, answer, TERMS, { request, quoteMicros: 0 });
}

const fixed = (micros: number, out: boolean) => ({ ok: true, price: { kind: 'fixed', micros, out } });
const V2 = '/v2/money_management';
const LINE = 'line_items[0][price_data][currency]=usd&line_items[0][price_data][unit_amount]=500';
const SESSION = `mode=payment&success_url=https%3A%2F%2Fa.test&${LINE}&line_items[0][quantity]=3`;

describe('money out and credit cost the amount of the request', () => {
  test.each([
    ['/v1/transfers', 'amount=700&currency=usd&destination=acct_1'],
    ['/v1/payouts', 'amount=700&currency=usd&destination=ba_1&method=instant'],
    ['/v1/topups', 'amount=700&currency=usd&source=src_1'],
    ['/v1/customers/cus_1/balance_transactions', 'amount=-700&currency=usd'],
    ['/v1/customers/cus_1/balance_transactions', 'amount=700&currency=usd'],
    ['/v1/billing/credit_grants', 'amount[type]=monetary&amount[monetary][value]=700&amount[monetary][currency]=usd'],
    ['/v1/treasury/outbound_payments', 'amount=700&currency=usd&financial_account=fa_1'],
    ['/v1/treasury/outbound_transfers', 'amount=700&currency=usd&financial_account=fa_1'],
    ['/v1/treasury/inbound_transfers', 'amount=700&currency=usd&financial_account=fa_1'],
    [`${V2}/outbound_payments`, '{"amount":{"value":700,"currency":"usd"},"from":{},"to":{"recipient":"acct_1"}}'],
    [`${V2}/inbound_transfers`, '{"amount":{"value":700,"currency":"usd"}}'],
    [`${V2}/payout_intents`, '{"amount":{"currency":"usd","value":7e2}}'],
  ])('POST %s %s', (path, body) => {
    expect(priceOf(path, body)).toEqual(fixed(7_000_000, true));
  });

  test('checkout: the sum of its lines', () => {
    expect(priceOf('/v1/checkout/sessions', SESSION)).toEqual(fixed(15_000_000, false));
    const euro = LINE.replaceAll('[0]', '[1]').replace('=usd', '=eur');
    const two = `${SESSION}&${euro}&line_items[1][quantity]=1&line_items[1][price_data][product_data][name]=x`;
    expect(priceOf('/v1/checkout/sessions', two)).toEqual(fixed(21_000_000, false));
  });

  test.each([
    ['/v1/invoices/in_1/pay', 'off_session=true', { kind: 'object', objectId: 'in_1', total: null, takesOver: true }],
    ['/v1/invoices/in_1/pay', 'paid_out_of_band=true', { kind: 'free', objectId: 'in_1' }],
    [
      '/v1/invoices/in_1/finalize',
      'auto_advance=false',
      { kind: 'object', objectId: 'in_1', total: null, takesOver: false },
    ],
    ['/v1/credit_notes', 'invoice=in_1&amount=500', { kind: 'refund', objectId: 'in_1', minor: 500 }],
    [
      '/v1/credit_notes',
      'invoice=in_1&refund_amount=300&credit_amount=400&out_of_band_amount=0',
      { kind: 'refund', objectId: 'in_1', minor: 700 },
    ],
    ['/v1/credit_notes', 'invoice=in_1&amount=900&refund_amount=300', { kind: 'refund', objectId: 'in_1', minor: 900 }],
    [
      '/v1/payment_intents/pi_1/apply_customer_balance',
      '',
      { kind: 'object', objectId: 'pi_1', total: null, takesOver: true },
    ],
    [
      '/v1/payment_intents/pi_1/verify_microdeposits',
      'amounts[]=32&amounts[]=45',
      { kind: 'object', objectId: 'pi_1', total: null, takesOver: true },
    ],
    [
      `${V2}/payout_intents/x_1/confirm`,
      '',
      { kind: 'object', objectId: 'x_1', total: null, takesOver: true, lookupPath: `${V2}/payout_intents/x_1` },
    ],
  ])('POST %s %s', (path, body, price) => {
    expect(priceOf(path, body)).toEqual({ ok: true, price });
  });

  test.each([
    '/v1/payouts/po_1/cancel',
    '/v1/topups/tu_1/cancel',
    '/v1/refunds/re_1/cancel',
    '/v1/invoices/in_1/void',
    '/v1/credit_notes/cn_1/void',
    '/v1/checkout/sessions/cs_1/expire',
    '/v1/billing/credit_grants/cg_1/void',
    '/v1/treasury/outbound_payments/obp_1/cancel',
    `${V2}/outbound_payments/obp_1/cancel`,
    `${V2}/payout_intents/pin_1/cancel`,
  ])('POST %s lowers what its object counts', (path) => {
    expect(priceOf(path, '')).toEqual({ ok: true, price: { kind: 'free', objectId: path.split('/').at(-2) } });
  });
});

describe('what cannot be priced is refused', () => {
  const S = '/v1/checkout/sessions';
  test.each([
    ['/v1/transfers', 'currency=usd&destination=acct_1', 'amount'],
    ['/v1/payouts', 'amount=5', 'currency'],
    ['/v1/topups', 'amount=-5&currency=usd', 'amount'],
    ['/v1/customers/cus_1/balance_transactions', 'amount=0&currency=usd', 'amount'],
    ['/v1/customers/cus_1/balance_transactions', 'amount=--5&currency=usd', 'amount'],
    ['/v1/billing/credit_grants', 'amount[type]=custom_pricing_unit&amount[custom_pricing_unit][value]=5', 'amount'],
    ['/v1/billing/credit_grants', 'amount=500', 'amount'],
    [`${V2}/outbound_payments`, '{"amount":{"value":7.5,"currency":"usd"}}', 'amount'],
    [`${V2}/outbound_payments`, '{"amount":{"value":-7,"currency":"usd"}}', 'amount'],
    [`${V2}/outbound_payments`, '{"amount":{"value":[7],"currency":"usd"}}', 'amount'],
    [`${V2}/outbound_payments`, '{"amount":{"value":7,"currency":"usd","scale":2}}', 'amount'],
    [`${V2}/outbound_payments`, '{"amount":7}', 'amount'],
    [`${V2}/outbound_payments`, '{"amount":{"value":7,"currency":"usd"},"Amount":{"value":900}}', 'Amount'],
    [`${V2}/outbound_payments`, '[{"amount":{"value":7,"currency":"usd"}}]', 'amount'],
    ['/v1/invoices/pi_1/pay', '', 'invoice'],
    ['/v1/invoices/in_1/pay', 'amount=5', 'amount'],
    ['/v1/credit_notes', 'invoice=in_1&lines[0][amount]=500', 'lines'],
    ['/v1/credit_notes', 'invoice=in_1&amount=5&refunds[0][refund]=re_1', 'refunds'],
    ['/v1/credit_notes', 'invoice=in_1', 'amount'],
    ['/v1/credit_notes', 'amount=5', 'invoice'],
    [S, SESSION.replace('payment', 'subscription'), 'mode'],
    [S, 'mode=payment', 'line_items'],
    [S, 'mode=payment&line_items[0][price]=price_1&line_items[0][quantity]=1', 'line_items'],
    [S, `mode=payment&${LINE}`, 'line_items'],
    [S, SESSION.replace('unit_amount]', 'unit_amount_decimal]'), 'line_items'],
    [S, `${SESSION}&line_items[0][adjustable_quantity][enabled]=true`, 'line_items'],
    [S, `${SESSION}&line_items[0][tax_rates][0]=txr_1`, 'line_items'],
    [S, SESSION.replace('=500', '=999999999999').replace('=3', '=9'), 'line_items'],
    [S, `${SESSION}&line_items[00][quantity]=9`, 'line_items'],
    [S, `${SESSION}&line_items[0][price_data][recurring][interval]=day`, 'line_items'],
    [S, `${SESSION}&shipping_options[0][shipping_rate]=shr_1`, 'shipping_options'],
    [S, `${SESSION}&automatic_tax[enabled]=true`, 'automatic_tax'],
    [S, `${SESSION}&optional_items[0][price]=p&optional_items[0][quantity]=9`, 'optional_items'],
    [S, `${SESSION}&after_expiration[recovery][enabled]=true`, 'after_expiration'],
    [S, `${SESSION}&payment_intent_data[transfer_data][destination]=acct_1`, 'payment_intent_data'],
    [S, `${SESSION}&payment_intent_data[application_fee_amount]=5`, 'payment_intent_data'],
    ['/v1/payment_intents/pi_1/apply_customer_balance', 'amount=5', 'amount'],
  ])('POST %s %s', (path, body, field) => {
    expect(priceOf(path, body)).toMatchObject({ ok: false, code: 'request_unpriceable', details: { field } });
  });

  test.each([
    'POST /v1/subscriptions',
    'POST /v1/subscription_items',
    'POST /v1/subscription_schedules',
    'POST /v1/quotes/qt_1/accept',
    'POST /v1/payment_links',
    'POST /v1/invoices',
    'POST /v1/invoiceitems',
    'POST /v1/invoices/in_1/send',
    'POST /v1/issuing/authorizations/iauth_1/approve',
    'POST /v1/terminal/readers/tmr_1/process_payment_intent',
    'POST /v1/climate/orders',
    'POST /v1/forwarding/requests',
    'POST /v1/payouts/po_1/reverse',
    'POST /v1/checkout/sessions/cs_1',
    'POST /v1/charges/ch_1/refund',
    `POST ${V2}/outbound_setup_intents`,
    'DELETE /v1/customers/cus_1',
  ])('%s has no known price: it is no route', (call) => {
    const [method = '', path = ''] = call.split(' ');
    expect(matchRoute(stripe, method, path)).toBeUndefined();
  });
});

describe('money goes to another account only where that is what the route is for', () => {
  test.each([
    ['/v1/transfers', 'amount=5&currency=usd&destination=acct_1', undefined],
    ['/v1/payouts', 'amount=5&currency=usd&destination=ba_1', undefined],
    ['/v1/payouts', 'amount=5&currency=usd&destination[account]=ba_1', 'destination'],
    ['/v1/transfers', 'amount=5&currency=usd&on_behalf_of=acct_1', 'on_behalf_of'],
    ['/v1/charges', 'amount=5&currency=usd&destination=acct_1', 'destination'],
    ['/v1/topups', 'amount=5&currency=usd&destination=acct_1', 'destination'],
    ['/v1/setup_intents', 'on_behalf_of=acct_1', 'on_behalf_of'],
    ['/v1/transfers/tr_1/reversals', 'refund_application_fee=true', 'refund_application_fee'],
  ])('POST %s %s', (path, body, field) => {
    const { match, request } = read(path, body);
    expect(stripe.redirection(request, match.route)?.field).toBe(field);
  });

  test('and never by a header', () => {
    const { match, request } = read('/v1/transfers', 'amount=5&currency=usd&destination=acct_1');
    const redirected = { ...request, headers: { 'stripe-account': 'acct_2' } };
    expect(stripe.redirection(redirected, match.route)).toMatchObject({ code: 'account_not_allowed' });
  });
});

describe('what answers say', () => {
  const transfer = { id: 'tr_1', object: 'transfer', amount: 700, currency: 'usd', reversed: true };
  const payout = { id: 'po_1', object: 'payout', amount: 700, currency: 'usd' };
  const topup = { id: 'tu_1', object: 'topup', amount: 700, currency: 'usd' };
  const grant = {
    id: 'cg_1',
    object: 'billing.credit_grant',
    amount: { type: 'monetary', monetary: { value: 700, currency: 'usd' } },
  };
  const v2 = { id: 'obp_1', object: 'v2.money_management.outbound_payment', amount: { value: 700, currency: 'usd' } };
  const invoice = {
    id: 'in_1',
    object: 'invoice',
    currency: 'usd',
    amount_due: 900,
    amount_paid: 200,
    amount_remaining: 700,
  };
  const session = { id: 'cs_1', object: 'checkout.session', currency: 'usd', amount_total: 700 };

  test.each<[string, object, number | undefined]>([
    ['/v1/transfers', transfer, 7_000_000],
    ['/v1/transfers', { ...transfer, object: 'payout' }, undefined],
    ['/v1/payouts', { ...payout, status: 'in_transit' }, 7_000_000],
    ['/v1/payouts', { ...payout, status: 'failed' }, 0],
    ['/v1/payouts/:id/cancel', { ...payout, status: 'canceled' }, 0],
    ['/v1/payouts', { ...payout, status: 'something_new' }, undefined],
    ['/v1/topups', { ...topup, status: 'pending' }, 7_000_000],
    ['/v1/topups/:id/cancel', { ...topup, status: 'reversed' }, 0],
    [
      '/v1/credit_notes',
      { id: 'cn_1', object: 'credit_note', status: 'issued', amount: 700, currency: 'eur' },
      8_400_000,
    ],
    [
      '/v1/credit_notes/:id/void',
      { id: 'cn_1', object: 'credit_note', status: 'void', amount: 700, currency: 'usd' },
      0,
    ],
    [
      '/v1/customers/:id/balance_transactions',
      { id: 'cb_1', object: 'customer_balance_transaction', amount: -700, currency: 'usd' },
      7_000_000,
    ],
    ['/v1/billing/credit_grants', { ...grant, voided_at: null }, 7_000_000],
    ['/v1/billing/credit_grants/:id/void', { ...grant, voided_at: 1 }, 0],
    [
      '/v1/treasury/outbound_payments',
      { id: 'obp_1', object: 'treasury.outbound_payment', status: 'posted', amount: 700, currency: 'usd' },
      7_000_000,
    ],
    [
      '/v1/treasury/outbound_payments',
      { id: 'obp_1', object: 'treasury.outbound_payment', status: 'returned', amount: 700, currency: 'usd' },
      0,
    ],
    [`${V2}/outbound_payments`, { ...v2, status: 'processing' }, 7_000_000],
    [`${V2}/outbound_payments/:id/cancel`, { ...v2, status: 'canceled' }, 0],
    [`${V2}/outbound_payments`, { ...v2, status: 'posted', amount: 700 }, undefined],
    ['/v1/invoices/:id/finalize', { ...invoice, status: 'open' }, 9_000_000],
    ['/v1/invoices/:id/pay', { ...invoice, status: 'paid', amount_paid: 900, amount_remaining: 0 }, 9_000_000],
    ['/v1/invoices/:id/void', { ...invoice, status: 'void', amount_paid: 0 }, 0],
    ['/v1/checkout/sessions', { ...session, status: 'open' }, 7_000_000],
    ['/v1/checkout/sessions', { ...session, status: 'complete' }, 7_000_000],
    ['/v1/checkout/sessions/:id/expire', { ...session, status: 'expired' }, 0],
    ['/v1/checkout/sessions', { ...session, status: 'open', amount_total: null }, undefined],
  ])('POST %s %j', (route, answer, micros) => {
    expect(valueOf(route, answer)?.valueMicros).toBe(micros);
  });

  test('a decline moved nothing', () => {
    const declined = { error: { type: 'card_error', code: 'card_declined' } };
    expect(valueOf('/v1/invoices/:id/pay', declined, 402)).toMatchObject({ objectId: null, valueMicros: 0 });
  });

  test('a look-up of an invoice tells what it asks for, and where it is', () => {
    expect(stripe.lookupPath('in_1')).toBe('/v1/invoices/in_1');
    const seen = stripe.lookupValue({ ...invoice, status: 'open' }, TERMS);
    expect(seen).toMatchObject({ objectId: 'in_1', amountMicros: 9_000_000, valueMicros: 9_000_000 });
    expect(stripe.currencyOf(v2)).toBe('usd');
  });
});
