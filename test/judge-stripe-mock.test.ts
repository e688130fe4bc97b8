/**
 * An independent judge of what is forwarded to Stripe: `stripe-mock`, Stripe's own, checks each form against Stripe's
 * OpenAPI description and answers with its fixtures. It keeps nothing and knows no API v2.
 */
import type { IssuedKey } from '../proxy/contract';
import { stripeRoutes } from '../proxy/vendors/stripe-routes';
import { type TestProxy } from '../src/testing';
import { startTestProxy } from './support/proxy';
import { type Judge, startStripeMock } from './support/judges';
import { callerOf } from './support/rig';

const AMOUNT = 'amount=500&currency=usd';
const NOTE = 'metadata[order id]=7%26amount%3D1&expand[0]=customer';

/** For each mutating route of the table, what a caller might send. `:id` takes the id beside it. */
// prettier-ignore
const EXAMPLES: Readonly<Record<string, readonly [id: string, body: string]>> = {
  '/v1/payment_intents':                             ['', `${AMOUNT}&confirm=true&payment_method=pm_card_visa&customer=cus_1&capture_method=manual&payment_method_types[]=card&payment_method_types[]=link&description=a+b%20c&receipt_email=a%2Bb%40c.test&shipping[name]=N&shipping[address][line1]=%C3%A9&${NOTE}`],
  '/v1/payment_intents/:id':                         ['pi_1', `amount=700&description=x&${NOTE}`],
  '/v1/payment_intents/:id/confirm':                 ['pi_1', 'payment_method=pm_card_visa&return_url=https://a.test/?b=c%26d&off_session=true'],
  '/v1/payment_intents/:id/capture':                 ['pi_1', 'amount_to_capture=300&metadata[a]=b'],
  '/v1/payment_intents/:id/increment_authorization': ['pi_1', 'amount=1500&description=more'],
  '/v1/payment_intents/:id/apply_customer_balance':  ['pi_1', ''],
  '/v1/payment_intents/:id/verify_microdeposits':    ['pi_1', 'amounts[]=32&amounts[]=45'],
  '/v1/payment_intents/:id/cancel':                  ['pi_1', 'cancellation_reason=requested_by_customer'],
  '/v1/charges':                                     ['', `${AMOUNT}&source=tok_visa&capture=false&description=x`],
  '/v1/charges/:id/capture':                         ['ch_1', 'amount=300'],
  '/v1/charges/:id':                                 ['ch_1', 'description=x&fraud_details[user_report]=safe'],
  '/v1/refunds':                                     ['', 'payment_intent=pi_1&amount=300&reason=requested_by_customer&metadata[a]=b'],
  '/v1/charges/:id/refunds':                         ['ch_1', 'amount=300'],
  '/v1/refunds/:id/cancel':                          ['re_1', ''],
  '/v1/refunds/:id':                                 ['re_1', 'metadata[a]=b'],
  '/v1/transfers':                                   ['', `${AMOUNT}&destination=acct_1&transfer_group=g`],
  '/v1/transfers/:id/reversals':                     ['tr_1', 'amount=100'],
  '/v1/transfers/:id':                               ['tr_1', 'description=x'],
  '/v1/payouts':                                     ['', `${AMOUNT}&method=standard&statement_descriptor=x`],
  '/v1/payouts/:id/cancel':                          ['po_1', ''],
  '/v1/payouts/:id':                                 ['po_1', 'metadata[a]=b'],
  '/v1/topups':                                      ['', `${AMOUNT}&description=x`],
  '/v1/topups/:id/cancel':                           ['tu_1', ''],
  '/v1/topups/:id':                                  ['tu_1', 'description=x'],
  '/v1/invoices/:id/pay':                            ['in_1', 'payment_method=pm_1&off_session=true'],
  '/v1/invoices/:id/finalize':                       ['in_1', 'auto_advance=false'],
  '/v1/invoices/:id/void':                           ['in_1', ''],
  '/v1/checkout/sessions':                           ['', 'mode=payment&success_url=https://a.test/ok&line_items[0][price_data][currency]=usd&line_items[0][price_data][unit_amount]=500&line_items[0][price_data][product_data][name]=T&line_items[0][quantity]=2&payment_intent_data[capture_method]=manual'],
  '/v1/checkout/sessions/:id/expire':                ['cs_1', ''],
  '/v1/credit_notes':                                ['', 'invoice=in_1&refund_amount=200&credit_amount=100&amount=300&reason=duplicate'],
  '/v1/credit_notes/:id/void':                       ['cn_1', ''],
  '/v1/customers/:id/balance_transactions':          ['cus_1', 'amount=-500&currency=usd&description=x'],
  '/v1/billing/credit_grants':                       ['', 'amount[type]=monetary&amount[monetary][value]=500&amount[monetary][currency]=usd&customer=cus_1&category=paid&applicability_config[scope][price_type]=metered'],
  '/v1/billing/credit_grants/:id/void':              ['credgr_1', ''],
  '/v1/billing/credit_grants/:id/expire':            ['credgr_1', ''],
  '/v1/treasury/outbound_payments':                  ['', `${AMOUNT}&financial_account=fa_1&customer=cus_1&destination_payment_method=pm_1`],
  '/v1/treasury/outbound_payments/:id/cancel':       ['obp_1', ''],
  '/v1/treasury/outbound_transfers':                 ['', `${AMOUNT}&financial_account=fa_1&destination_payment_method=pm_1`],
  '/v1/treasury/outbound_transfers/:id/cancel':      ['obt_1', ''],
  '/v1/treasury/inbound_transfers':                  ['', `${AMOUNT}&financial_account=fa_1&origin_payment_method=pm_1`],
  '/v1/treasury/inbound_transfers/:id/cancel':       ['ibt_1', ''],
  '/v1/customers':                                   ['', `name=A&email=a@b.test&address[line1]=x&preferred_locales[]=de&${NOTE.replace('customer', 'sources')}`],
  '/v1/customers/:id':                               ['cus_1', 'name=B&invoice_settings[default_payment_method]=pm_1'],
  '/v1/customers/:id/tax_ids':                       ['cus_1', 'type=eu_vat&value=DE123456789'],
  '/v1/payment_methods':                             ['', 'type=card&card[token]=tok_visa'],
  '/v1/payment_methods/:id':                         ['pm_1', 'metadata[a]=b'],
  '/v1/payment_methods/:id/attach':                  ['pm_1', 'customer=cus_1'],
  '/v1/payment_methods/:id/detach':                  ['pm_1', ''],
  '/v1/setup_intents':                               ['', 'customer=cus_1&payment_method_types[]=card&usage=off_session'],
  '/v1/setup_intents/:id':                           ['seti_1', 'description=x'],
  '/v1/setup_intents/:id/confirm':                   ['seti_1', 'payment_method=pm_1'],
  '/v1/setup_intents/:id/cancel':                    ['seti_1', ''],
  '/v1/setup_intents/:id/verify_microdeposits':      ['seti_1', 'amounts[]=32&amounts[]=45'],
  '/v1/products':                                    ['', 'name=T&images[]=https://a.test/1.png&active=true'],
  '/v1/products/:id':                                ['prod_1', 'name=U'],
  '/v1/prices':                                      ['', 'unit_amount=500&currency=usd&product=prod_1'],
  '/v1/prices/:id':                                  ['price_1', 'active=false'],
  '/v1/coupons':                                     ['', 'percent_off=25&duration=once'],
  '/v1/coupons/:id':                                 ['co1', 'name=x'],
  '/v1/promotion_codes':                             ['', 'promotion[type]=coupon&promotion[coupon]=co1&code=SPRING'],
  '/v1/promotion_codes/:id':                         ['promo_1', 'active=false'],
  '/v1/tax_ids':                                     ['', 'type=eu_vat&value=DE123456789&owner[type]=self'],
};

const MUTATING = stripeRoutes.filter(({ method, path }) => method === 'POST' && !path.startsWith('/v2/'));

let judge: Judge;
let proxy: TestProxy;
let caller: ReturnType<typeof callerOf>;
beforeAll(async () => {
  judge = await startStripeMock();
  proxy = await startTestProxy({ upstream: judge.url });
  caller = callerOf(proxy.url);
}, 300_000);
afterAll(async () => {
  await caller.close();
  await proxy.close();
  await judge.close();
});

function issue(endpoint: string): Promise<IssuedKey> {
  const rest = { usd_cap: 1e6, expires_in: '1h', agent_run_label: 'test' };
  return proxy.client.issueKey({ vendor: 'stripe', allowed_endpoints: [endpoint], ...rest });
}

test('each route of the table that changes something has its example, and no other has', () => {
  expect(Object.keys(EXAMPLES).toSorted()).toEqual(MUTATING.map(({ path }) => path).toSorted());
});

/** Its fixtures of these tell no sum of money, so what was held for them stays held. */
const WITHOUT_MONEY = ['POST /v1/checkout/sessions', 'POST /v1/billing/credit_grants'];

test.each(MUTATING)('Stripe takes what is forwarded of $name', async ({ path, name }) => {
  const [id, body] = EXAMPLES[path] ?? ['', ''];
  const key = await issue(name);
  const answer = await caller.call(key.vault_key, { path: `/stripe${path.replace(':id', id)}`, body, key: name });
  const { spend } = await proxy.client.getKey(key.key_id);
  // No refusal by the proxy, no complaint of the judge about a field; and its fixture is understood.
  if (!WITHOUT_MONEY.includes(name)) {
    const met = { status: answer.status, error: answer.json.error?.message as unknown, ...spend.calls };
    expect(met).toMatchObject({ status: 200, error: undefined, settled: 1, held: 0, unknown: 0 });
    return;
  }
  expect(answer.json.error.message).toContain('the vendor answered 200');
  expect(spend.calls).toMatchObject({ settled: 0, held: 0, unknown: 1 });
  expect(spend.unknown_usd).toBeGreaterThan(0);
});

test('the judge complains about what Stripe does not take', async () => {
  const key = await issue('POST /v1/payment_intents');
  const answer = await caller.call(key.vault_key, { body: `${AMOUNT}&capture_metod=manual` });
  expect([answer.status, answer.json.error.type]).toEqual([400, 'invalid_request_error']);
});
