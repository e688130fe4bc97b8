/** What a call of a vendor of one's own costs: the field is read by its name, and by no reader otherwise. */
import { matchRoute, readPath, readRequest } from '../proxy/reading';
import { customVendor, type CustomRoute } from '../proxy/vendors/custom';

const ROUTES: readonly CustomRoute[] = [
  { method: 'POST', path: '/json', body: 'json', price: { micros: 100, times: 'pages.sum' } },
  { method: 'POST', path: '/list', body: 'json', price: { micros: 100, each: 'work.letters', times: 'sheets' } },
  { method: 'POST', path: '/form', body: 'form', price: { micros: 100, times: 'pages.sum' } },
  { method: 'POST', path: '/faxes/:id', body: 'json', price: 'free' },
  { method: 'POST', path: '/faxes/bulk', body: 'json', price: { micros: 100, times: 'pages' } },
  { method: 'POST', path: '/flat', body: 'form', price: { micros: 100, times: 'skips' } },
];
const vendor = customVendor('fax', {
  origin: 'https://api.fax.example',
  auth: { kind: 'bearer' },
  error: { message: '{message}' },
  routes: ROUTES,
});

function priceOf(path: string, bodyText: string) {
  const match = matchRoute(vendor, 'POST', path);
  if (match === undefined) throw new Error(`no route ${path}`);
  const kind = match.route.body;
  const headers = { 'content-type': kind === 'json' ? 'application/json' : 'application/x-www-form-urlencoded' };
  const request = readRequest({ method: 'POST', target: readPath(path), headers, bodyText, kind });
  return match.route.price(request, match.ids, { fx: {} });
}

test.each([
  ['/json', '{"pages":{"sum":3},"Note":"x"}', 300],
  ['/list', '{"work":{"letters":[{"sheets":2},{"sheets":1}]}}', 300],
  ['/form', 'pages[sum]=3&pages[kind]=a4', 300],
  ['/flat', 'skips=3&note=x', 300],
])('%s %s', (path, body, micros) => {
  expect(priceOf(path, body)).toEqual({ ok: true, price: { kind: 'fixed', micros, out: false } });
});

// Go's and .NET's readers do not mind the case, and take the last; Go takes U+017F for an s and U+212A for a k.
test.each([
  ['/json', '{"pages":{"sum":1},"Pages":{"sum":1000}}'],
  ['/json', '{"pages":{"sum":1,"SUM":1000}}'],
  ['/json', '{"pages":{"sum":1,"\\u017fum":1000}}'],
  ['/list', '{"work":{"letters":[]},"Work":{"letters":[{"sheets":9}]}}'],
  ['/list', '{"work":{"letters":[{"sheets":1,"Sheets":1000}]}}'],
  ['/form', 'pages[sum]=1&Pages[sum]=1000'],
  ['/form', 'pages[sum]=1&pages[Sum]=1000'],
  ['/flat', 'skips=1&SKIPS=1000'],
  ['/flat', 'skips=1&Skips[]=1000'],
])('a second field that some readers take for the one that is billed is refused: %s %s', (path, body) => {
  expect(priceOf(path, body)).toMatchObject({ ok: false, code: 'request_unpriceable' });
});

test('an id that some routers take for a word of another route is no id', () => {
  const routeOf = (path: string) => matchRoute(vendor, 'POST', path)?.route.path;
  expect(['/faxes/fx_1', '/faxes/bulk', '/faxes/BULK', '/faxes/Bulk', '/Faxes/fx_1'].map(routeOf)).toEqual([
    '/faxes/:id',
    '/faxes/bulk',
    undefined,
    undefined,
    undefined,
  ]);
});
