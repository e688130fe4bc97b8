import * as fc from 'fast-check';
import { matchRoute, readForm, readPath, readRequest } from '../proxy/reading';
import { stripe } from '../proxy/vendors/stripe';
import type { Pricing, PricingTerms, VendorRequest } from '../proxy/vendors/vendor';

const TERMS: PricingTerms = { fx: { eur: 1.2, jpy: 0.0067, kwd: 3.25, isk: 0.0072, ugx: 0.00027, idr: 0.0000617 } };

/** The price of a POST, as the proxy finds it: read, matched, priced. */
function priceOf(path: string, body: string, terms: PricingTerms = TERMS): Pricing {
  const match = matchRoute(stripe, 'POST', path);
  if (match === undefined) throw new Error(`no route for ${path}`);
  const headers = { 'content-type': 'application/x-www-form-urlencoded' };
  const request = readRequest({ method: 'POST', target: readPath(path), headers, bodyText: body });
  return match.route.price(request, match.ids, terms);
}

function fixed(micros: number): Pricing {
  return { ok: true, price: { kind: 'fixed', micros, out: false } };
}

function object(total: { readonly minor: number } | null, takesOver: boolean): Pricing {
  return { ok: true, price: { kind: 'object', objectId: 'pi_1', total, takesOver } };
}

const CREATE = '/v1/payment_intents';
const PI = '/v1/payment_intents/pi_1';

describe('what a call can cost is never read too low', () => {
  test.each<[string, number]>([
    ['amount=500&currency=usd', 5_000_000],
    ['amount=1&currency=usd', 10_000],
    ['amount=99999999&currency=usd', 999_999_990_000],
    ['amount=500&currency=USD', 5_000_000],
    ['amount=500&currency=usd&amount_to_confirm=900&confirm=true', 9_000_000],
    ['amount=500&currency=usd&amount_to_confirm=400', 5_000_000],
    ['amount=500&currency=usd&metadata[amount]=1&amount_details[tax][total_tax_amount]=50', 5_000_000],
    ['amount=500&currency=usd&capture_method=manual&payment_method_options[card][request_overcapture]=x', 5_000_000],
    ['amount=500&currency=usd&transfer_group=order_1&shipping[name]=x&setup_future_usage=off_session', 5_000_000],
    ['amount=500&currency=eur', 6_000_000],
    ['amount=500&currency=jpy', 3_350_000],
    ['amount=5000&currency=kwd', 16_250_000],
    ['amount=5001&currency=kwd', 16_282_500],
    ['amount=500&currency=isk', 36_000],
    ['amount=500&currency=ugx', 135_000],
    ['amount=1&currency=idr', 1],
    ['amount=333&currency=idr', 206],
  ])('POST /v1/payment_intents %s costs at most %d micro-dollars', (body, micros) => {
    expect(priceOf(CREATE, body)).toEqual(fixed(micros));
  });

  test('POST /v1/charges costs its amount', () => {
    expect(priceOf('/v1/charges', 'amount=700&currency=usd&source=tok_visa')).toEqual(fixed(7_000_000));
  });

  test('a conversion is the exact product, rounded up to a whole micro-dollar', () => {
    const rate = fc.integer({ min: 1, max: 999_999 });
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 99_999_999 }), rate, (minor, scaled) => {
        const micros = stripe.toMicros(minor, 'eur', { fx: { eur: scaled / 10_000 } });
        expect(micros).toBe(Number((BigInt(minor) * BigInt(scaled) * 100n + 99n) / 100n));
      }),
    );
  });

  test('whatever the rate, a conversion is not below the product, and rises with the amount', () => {
    const rate = fc.double({ min: 1e-9, max: 1e3, noNaN: true });
    const currency = fc.constantFrom('eur', 'jpy', 'kwd', 'isk');
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 9_999_999 }), rate, currency, (minor, fx, code) => {
        const terms = { fx: { [code]: fx } };
        const unitsPerWhole = { eur: 100, isk: 100, jpy: 1, kwd: 1_000 }[code] ?? Number.NaN;
        const micros = stripe.toMicros(minor, code, terms) ?? Infinity;
        expect(micros).toBeGreaterThanOrEqual(((minor * fx) / unitsPerWhole) * 1e6 * (1 - 1e-12));
        expect(stripe.toMicros(minor + 1, code, terms) ?? Infinity).toBeGreaterThanOrEqual(micros);
        expect(micros === Infinity || Number.isSafeInteger(micros)).toBe(true);
      }),
    );
  });

  test('dollars need no rate, and a rate given for them is not used', () => {
    expect(stripe.toMicros(500, 'usd', { fx: { usd: 0.01 } })).toBe(5_000_000);
  });

  test.each([0, -1, Number.NaN, Infinity, 1e12])('a rate of %d is no rate', (eur) => {
    expect(stripe.toMicros(500, 'eur', { fx: { eur } })).toBeUndefined();
  });
});

describe('a call of several steps is priced on its PaymentIntent', () => {
  test.each<[string, string, Pricing]>([
    [PI, 'amount=1000000', object({ minor: 1_000_000 }, false)],
    [PI, 'payment_method=pm_1', object(null, false)],
    [PI, 'payment_method_data[type]=card&metadata[a]=b', object(null, false)],
    [PI, 'something_new=1', object(null, false)],
    [PI, 'metadata[amount]=1&description=x&expand[]=customer', { ok: true, price: { kind: 'free', objectId: 'pi_1' } }],
    [PI, '', { ok: true, price: { kind: 'free', objectId: 'pi_1' } }],
    [`${PI}/confirm`, '', object(null, true)],
    [`${PI}/confirm`, 'payment_method=pm_card_visa', object(null, true)],
    [`${PI}/confirm`, 'amount_to_confirm=900', object({ minor: 900 }, true)],
    [`${PI}/capture`, '', object(null, true)],
    [`${PI}/capture`, 'amount_to_capture=300&final_capture=true', object({ minor: 300 }, true)],
    [`${PI}/increment_authorization`, 'amount=1500', object({ minor: 1_500 }, false)],
    [`${PI}/cancel`, 'cancellation_reason=abandoned', { ok: true, price: { kind: 'free', objectId: 'pi_1' } }],
  ])('POST %s %s', (path, body, pricing) => {
    expect(priceOf(path, body)).toEqual(pricing);
  });

  test('a legacy charge is captured by its own amount field', () => {
    const price = { kind: 'object', objectId: 'ch_1', total: { minor: 300 }, takesOver: true };
    expect(priceOf('/v1/charges/ch_1/capture', 'amount=300')).toEqual({ ok: true, price });
  });

  test.each([
    ['/v1/refunds', 'payment_intent=pi_1&amount=300', { kind: 'refund', objectId: 'pi_1', minor: 300 }],
    ['/v1/refunds', 'payment_intent=pi_1&reason=fraudulent', { kind: 'refund', objectId: 'pi_1', minor: null }],
    ['/v1/refunds', 'charge=ch_1', { kind: 'refund', objectId: 'ch_1', minor: null }],
    ['/v1/refunds', 'charge=py_1&amount=5', { kind: 'refund', objectId: 'py_1', minor: 5 }],
    ['/v1/charges/ch_1/refunds', 'amount=5', { kind: 'refund', objectId: 'ch_1', minor: 5 }],
  ])('POST %s %s is money out against its payment', (path, body, price) => {
    expect(priceOf(path, body)).toEqual({ ok: true, price });
  });

  test.each([
    ['/v1/customers', 'email=a%40b.c&source=tok_visa'],
    ['/v1/customers/cus_1', 'metadata[balance]=5&default_source=card_1'],
    ['/v1/payment_methods/pm_1/attach', 'customer=cus_1'],
    ['/v1/charges/ch_1', 'metadata[a]=b'],
  ])('POST %s %s is free by name', (path, body) => {
    expect(priceOf(path, body)).toEqual({ ok: true, price: { kind: 'free' } });
  });

  test('every read is free', () => {
    const reads = stripe.routes.filter(({ method }) => method === 'GET');
    expect(reads.length).toBeGreaterThan(10);
    for (const { path, price } of reads) {
      const request = { method: 'GET', path, query: readForm('limit=1'), body: [], headers: {} };
      expect(price(request, {}, TERMS)).toEqual({ ok: true, price: { kind: 'free' } });
    }
  });
});

describe('what cannot be priced is refused, and the field is named', () => {
  // prettier-ignore
  test.each([
    [CREATE, 'currency=usd', 'request_unpriceable', 'amount'],
    [CREATE, 'amount=500', 'request_unpriceable', 'currency'],
    [CREATE, 'amount=%2B500&currency=usd', 'request_unpriceable', 'amount'],
    [CREATE, 'amount=0500&currency=usd', 'request_unpriceable', 'amount'],
    [CREATE, 'amount=0&currency=usd', 'request_unpriceable', 'amount'],
    [CREATE, 'amount=&currency=usd', 'request_unpriceable', 'amount'],
    [CREATE, 'amount[]=5&currency=usd', 'request_unpriceable', 'amount'],
    [CREATE, 'amount=999999999999&currency=usd', 'request_unpriceable', 'amount'],
    [CREATE, 'amount=5&currency=usd&amount_to_confirm=-9', 'request_unpriceable', 'amount_to_confirm'],
    [CREATE, 'amount=5&currency=usd&amount_to_confirm[0]=9', 'request_unpriceable', 'amount_to_confirm'],
    [CREATE, 'amount=5&currency[]=usd', 'request_unpriceable', 'currency'],
    [CREATE, 'amount=5&currency=usd&Amount=900', 'request_unpriceable', 'Amount'],
    [CREATE, 'amount=5&currency=usd&amount_to_capture=900', 'request_unpriceable', 'amount_to_capture'],
    [CREATE, 'amount=5&currency=usd&line_items[0][quantity]=9', 'request_unpriceable', 'line_items'],
    [CREATE, 'amount=5&currency=usd&presentment_currency=jpy', 'request_unpriceable', 'presentment_currency'],
    [CREATE, 'amount=5&currency=gbp', 'currency_not_allowed', 'currency'],
    [CREATE, 'amount=5&currency=', 'currency_not_allowed', 'currency'],
    [CREATE, 'amount=5&currency=__proto__', 'currency_not_allowed', 'currency'],
    [CREATE, 'amount=5&currency=constructor', 'currency_not_allowed', 'currency'],
    [CREATE, 'amount=5&currency=%20usd', 'currency_not_allowed', 'currency'],
    [CREATE, 'amount=5&currency=%E2%84%AAwd', 'currency_not_allowed', 'currency'],
    [PI, 'amount=5&currency=gbp', 'parameter_not_allowed', 'currency'],
    [PI, 'amount=500&currency=eur', 'parameter_not_allowed', 'currency'],
    [PI, 'currency=usd', 'parameter_not_allowed', 'currency'],
    [PI, 'currency[0]=eur', 'parameter_not_allowed', 'currency'],
    [PI, 'amount[0]=5', 'request_unpriceable', 'amount'],
    [PI, 'amount_to_confirm=5', 'request_unpriceable', 'amount_to_confirm'],
    [`${PI}/confirm`, 'amount=900', 'request_unpriceable', 'amount'],
    [`${PI}/confirm`, 'amount_to_confirm=1e9', 'request_unpriceable', 'amount_to_confirm'],
    [`${PI}/capture`, 'amount=900', 'request_unpriceable', 'amount'],
    [`${PI}/capture`, 'amount_to_capture=5&final_capture=false', 'parameter_not_allowed', 'final_capture'],
    [`${PI}/capture`, 'final_capture=0', 'parameter_not_allowed', 'final_capture'],
    [`${PI}/increment_authorization`, '', 'request_unpriceable', 'amount'],
    ['/v1/charges', 'amount=5', 'request_unpriceable', 'currency'],
    ['/v1/charges/ch_1/capture', 'amount_to_capture=5', 'request_unpriceable', 'amount_to_capture'],
    ['/v1/refunds', 'amount=5', 'request_unpriceable', 'payment_intent'],
    ['/v1/refunds', 'payment_intent=pi_1&charge=ch_1', 'request_unpriceable', 'payment_intent'],
    ['/v1/refunds', 'payment_intent=ch_1', 'request_unpriceable', 'payment_intent'],
    ['/v1/refunds', 'payment_intent=pi_1/../../accounts', 'request_unpriceable', 'payment_intent'],
    ['/v1/refunds', 'charge=ch_1%3Fexpand', 'request_unpriceable', 'charge'],
    ['/v1/refunds', 'charge=ch_1&amount=0', 'request_unpriceable', 'amount'],
    ['/v1/refunds', 'charge=ch_1&amount=5&currency=usd', 'request_unpriceable', 'currency'],
    ['/v1/refunds', 'charge=ch_1&origin=customer_balance', 'parameter_not_allowed', 'origin'],
    ['/v1/charges/ch_1/refunds', 'charge=ch_2', 'request_unpriceable', 'charge'],
    ['/v1/customers', 'balance=-5000', 'parameter_not_allowed', 'balance'],
    ['/v1/customers', 'plan=gold', 'parameter_not_allowed', 'plan'],
    ['/v1/customers', 'promotion_code=promo_1', 'parameter_not_allowed', 'promotion_code'],
    ['/v1/customers', 'first_charge=now', 'request_unpriceable', 'first_charge'],
    ['/v1/customers/cus_1', 'trial_end=now', 'parameter_not_allowed', 'trial_end'],
    ['/v1/customers/cus_1', 'bank_account=btok_1', 'parameter_not_allowed', 'bank_account'],
    ['/v1/customers/cus_1', 'balance=-5000', 'parameter_not_allowed', 'balance'],
    ['/v1/customers/cus_1', 'source=tok_visa', 'parameter_not_allowed', 'source'],
    ['/v1/customers/cus_1', 'card[number]=4242', 'parameter_not_allowed', 'card'],
  ])('POST %s %s: %s', (path, body, code, field) => {
    expect(priceOf(path, body)).toMatchObject({ ok: false, code, details: { field } });
  });

  test('a currency refusal names what would be allowed', () => {
    const pricing = priceOf(CREATE, 'amount=5&currency=gbp', { fx: { eur: 1.2 } });
    expect(pricing).toMatchObject({ reason: 'Currency "gbp" has no rate on this key; allowed: usd, eur.' });
  });
});

function createCall(body: string, headers: Readonly<Record<string, string>> = {}): VendorRequest {
  return { method: 'POST', path: CREATE, query: [], body: readForm(body), headers };
}

describe('money cannot be redirected', () => {
  test.each([
    ['application_fee_amount=5', 'application_fee_amount'],
    ['application_fee=5', 'application_fee'],
    ['transfer_data[destination]=acct_1', 'transfer_data'],
    ['transfer_data[amount]=5', 'transfer_data'],
    ['on_behalf_of=acct_1', 'on_behalf_of'],
    ['destination=acct_1', 'destination'],
    ['destination[account]=acct_1', 'destination'],
    ['reverse_transfer=true', 'reverse_transfer'],
    ['refund_application_fee=true', 'refund_application_fee'],
    ['%74ransfer_data[destination]=acct_1', 'transfer_data'],
  ])('%s', (body, field) => {
    expect(stripe.redirection(createCall(body))).toMatchObject({ code: 'parameter_not_allowed', field });
  });

  test.each([
    ['stripe-account', 'Stripe-Account'],
    ['stripe-context', 'Stripe-Context'],
  ])('by the header %s', (header, field) => {
    const refused = stripe.redirection(createCall('', { [header]: 'acct_1' }));
    expect(refused).toMatchObject({ code: 'account_not_allowed', field });
  });

  test('labels and metadata of the same name are harmless', () => {
    const harmless = 'transfer_group=a&metadata[destination]=Rome&metadata[transfer_data]=x&description=destination';
    expect(stripe.redirection(createCall(harmless, { 'stripe-version': 'v' }))).toBeUndefined();
  });
});
