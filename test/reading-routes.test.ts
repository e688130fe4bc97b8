import { matchRoute, nearestRoute, parseAllowlistEntry } from '../proxy/reading';
import { stripe } from '../proxy/vendors/stripe';

describe('matchRoute', () => {
  test.each([
    ['POST', '/v1/payment_intents', 'POST /v1/payment_intents', {}],
    ['POST', '/v1/payment_intents/pi_1', 'POST /v1/payment_intents/:id', { id: 'pi_1' }],
    ['POST', '/v1/payment_intents/pi_1/confirm', 'POST /v1/payment_intents/:id/confirm', { id: 'pi_1' }],
    ['GET', '/v1/payment_intents/search', 'GET /v1/payment_intents/search', {}],
    ['GET', '/v1/payment_intents/pi_1', 'GET /v1/payment_intents/:id', { id: 'pi_1' }],
    ['GET', '/v1/charges/ch_1/refunds/re_1', 'GET /v1/charges/:id/refunds/:refund', { id: 'ch_1', refund: 're_1' }],
  ])('%s %s is %s', (method, path, name, ids) => {
    const match = matchRoute(stripe, method, path);
    expect([match?.route.name, match?.ids]).toEqual([name, ids]);
  });

  test.each([
    ['DELETE', '/v1/customers/cus_1'],
    ['PUT', '/v1/payment_intents'],
    ['POST', '/v1/subscriptions'],
    ['POST', '/v1/payment_intents/pi_1/confirm/x'],
    ['POST', '/v1/payment_intents/pi.1'],
    ['POST', '/v1/payment_intents/'],
    ['POST', `/v1/payment_intents/pi_${'1'.repeat(253)}`],
    ['POST', '/V1/payment_intents'],
    ['POST', '/v2/payment_intents'],
    ['POST', '/v1/charges/ch_1/refund'],
    ['GET /v1', '/v1/balance'],
  ])('%s %s is no route', (method, path) => {
    expect(matchRoute(stripe, method, path)).toBeUndefined();
  });

  test('every route of the table is found by its own name and by a path made from it', () => {
    for (const route of stripe.routes) {
      expect(route.name).toBe(`${route.method} ${route.path}`);
      expect(parseAllowlistEntry(stripe, route.name)).toEqual({ ok: true, name: route.name });
      expect(matchRoute(stripe, route.method, route.path.replaceAll(/:\w+/g, 'x_1'))?.route).toBe(route);
    }
  });
});

describe('allowlist entries', () => {
  test.each([
    'POST /v1/payment_intents/:id/confirm',
    'POST /v1/payment_intents/{id}/confirm',
    'POST /v1/payment_intents/{intent}/confirm',
    'POST /v1/payment_intents/:payment_intent/confirm',
    'POST /v1/payment_intents/*/confirm',
    ' post  /v1/payment_intents/*/confirm ',
  ])("%j is the table's name", (entry) => {
    expect(parseAllowlistEntry(stripe, entry)).toEqual({ ok: true, name: 'POST /v1/payment_intents/:id/confirm' });
  });

  test('an id does not stand for a named route', () => {
    expect(parseAllowlistEntry(stripe, 'GET /v1/payment_intents/*')).toEqual({
      ok: true,
      name: 'GET /v1/payment_intents/:id',
    });
  });

  test.each([
    ['POST /v1/payment_intent', 'POST /v1/payment_intents'],
    ['POST /v1/refund', 'POST /v1/refunds'],
    ['GET /v1/balances', 'GET /v1/balance'],
    ['POST /v1/payment_intents/{id}/confrim', 'POST /v1/payment_intents/:id/confirm'],
    ['POST /v1/payment_intents/pi_1/confirm', 'POST /v1/payment_intents/:id/confirm'],
    ['POST /v1/charges/:id/refund', 'POST /v1/charges/:id/refunds'],
    ['/v1/payment_intents', 'GET /v1/payment_intents'],
    ['POST v1/payment_intents', 'POST /v1/payment_intents'],
  ])('%s is unknown; %s is the nearest', (entry, nearest) => {
    expect(parseAllowlistEntry(stripe, entry)).toEqual({ ok: false, nearest });
    expect(nearestRoute(stripe, entry)).toBe(nearest);
  });

  test.each(['* /*', '*', 'POST /v1/*', 'POST /*', '* /v1/payment_intents', 'POST /v1/payment_intents/**', ''])(
    'a wildcard cannot turn unpriced routes into free ones: %j',
    (entry) => expect(parseAllowlistEntry(stripe, entry).ok).toBe(false),
  );

  test('a very long entry costs little', () => {
    expect(parseAllowlistEntry(stripe, `POST /${'x'.repeat(1_000_000)}`).ok).toBe(false);
  });

  test('a vendor without routes has no nearest one', () => {
    expect(parseAllowlistEntry({ ...stripe, routes: [] }, 'POST /v1/refunds')).toEqual({ ok: false });
  });
});
