/** Templates and forms: what of a record reaches the vendor. */
import * as fc from 'fast-check';
import { fieldsIn, parseTemplate, renderCall, renderParams, renderPath } from '../activities/template';
import { toForm } from '../activities/bodies';

const RECORD = {
  id: 'cus_1',
  amount_cents: 4200,
  live: false,
  note: '',
  gone: null,
  tags: ['a'],
  home: { city: 'Köln' },
};

describe('parameters', () => {
  test.each([
    ['{{amount_cents}}', 4200],
    ['{{ amount_cents }}', 4200],
    ['{{live}}', false],
    ['{{note}}', ''],
    ['{{home.city}}', 'Köln'],
    ['{{tags.0}}', 'a'],
    ['bill of {{id}}, {{amount_cents}} cents', 'bill of cus_1, 4200 cents'],
    [' {{amount_cents}}', ' 4200'],
    ['plain {text}', 'plain {text}'],
    [7, 7],
    [null, null],
  ])('%j becomes %j', (value, expected) => {
    expect(renderParams({ value }, RECORD)).toEqual({ ok: true, params: { value: expected } });
  });

  test.each([
    ['{{missing}}', 'missing', 'is missing'],
    ['{{gone}}', 'gone', 'is null'],
    ['{{tags}}', 'tags', 'is not a single value'],
    ['{{home}}', 'home', 'is not a single value'],
    ['x {{toString}}', 'toString', 'is missing'],
    ['{{__proto__.x}}', '__proto__.x', 'is missing'],
  ])('%j makes the record invalid, naming the field', (value, field, reason) => {
    expect(renderParams({ deep: [{ value }] }, RECORD)).toEqual({ ok: false, field, reason });
  });

  test.each([2 ** 53, 1e21, Infinity, NaN])('the inexact number %p is not sent', (amount) => {
    expect(renderParams({ amount: '{{amount}}' }, { amount })).toMatchObject({ ok: false, field: 'amount' });
  });

  test('a field with a dot in its own name wins over the path', () => {
    expect(renderParams({ v: '{{a.b}}' }, { 'a.b': 1, a: { b: 2 } })).toEqual({ ok: true, params: { v: 1 } });
  });

  test('what a record holds is never itself a template', () => {
    const record = { id: '{{amount_cents}}', amount_cents: 1 };
    expect(renderParams({ v: '{{id}}', w: 'x{{id}}' }, record)).toEqual({
      ok: true,
      params: { v: '{{amount_cents}}', w: 'x{{amount_cents}}' },
    });
  });

  test('the fields of nested parameters are found with their places', () => {
    expect(fieldsIn({ amount: '{{a}}', metadata: { run: 'x{{b}}{{c}}' }, list: ['{{d}}'] }, 'params')).toEqual([
      { path: 'params.amount', field: 'a' },
      { path: 'params.metadata.run', field: 'b' },
      { path: 'params.metadata.run', field: 'c' },
      { path: 'params.list.0', field: 'd' },
    ]);
  });

  test('any text either parses or says why', () => {
    fc.assert(
      fc.property(fc.array(fc.constantFrom('{', '}', '{{', '}}', 'a', ' ')), (pieces) => {
        const template = parseTemplate(pieces.join(''));
        const told = template.ok
          ? template.parts.every((part) => typeof part === 'string' || part.field !== '')
          : template.reason !== '';
        expect(told).toBe(true);
      }),
    );
  });
});

describe('paths', () => {
  test('a field is percent-encoded and stays within its segment', () => {
    expect(renderPath('/v1/pi/{{id}}/capture', { id: 'a/b?c#d é' })).toEqual({
      ok: true,
      path: '/v1/pi/a%2Fb%3Fc%23d%20%C3%A9/capture',
    });
    expect(renderPath('/v1/pi/pi_{{n}}', { n: 7 })).toEqual({ ok: true, path: '/v1/pi/pi_7' });
  });

  test.each(['', ' ', '.', '..', null, undefined, {}, '\ud800'])('the value %j cannot stand in a path', (id) => {
    expect(renderPath('/v1/pi/{{id}}/capture', { id })).toMatchObject({ ok: false, field: 'id' });
  });
});

describe('forms', () => {
  test.each([
    [{ amount: 4200, currency: 'usd' }, 'amount=4200&currency=usd'],
    [{ metadata: { run: 'a b', 'é&=': '&=+' } }, 'metadata[run]=a%20b&metadata[%C3%A9%26%3D]=%26%3D%2B'],
    [{ expand: ['x', 'y'] }, 'expand[0]=x&expand[1]=y'],
    [{ items: [{ price: 'p', n: 1 }] }, 'items[0][price]=p&items[0][n]=1'],
    [{ live: true, off: false, unset: null }, 'live=true&off=false&unset='],
    [{ none: [], empty: {} }, ''],
  ])('%j is %s', (params, form) => {
    expect(toForm(params)).toBe(form);
  });

  test('Stripe’s own library writes the same', () => {
    // eslint-disable-next-line typescript/no-require-imports -- not exported by the package
    const { queryStringifyRequestData } = require('../node_modules/stripe/cjs/utils.js');
    const scalar = fc.oneof(fc.string({ unit: 'grapheme' }), fc.integer(), fc.boolean(), fc.constant(null));
    const name = fc.string({ minLength: 1 }).filter((text) => !/[[\]{}!*()']/.test(text) && text !== '__proto__');
    fc.assert(
      fc.property(fc.dictionary(name, fc.oneof(scalar, fc.array(scalar), fc.dictionary(name, scalar))), (params) => {
        expect(decodeURIComponent(toForm(params))).toBe(decodeURIComponent(queryStringifyRequestData(params)));
      }),
    );
  });
});

describe('a call', () => {
  const call = {
    kind: 'endpoint',
    method: 'POST',
    path: '/v1/payment_intents/{{id}}/confirm',
    params: { amount: '{{amount_cents}}' },
  } as const;

  test('is rendered whole', () => {
    expect(renderCall(call, RECORD)).toEqual({
      ok: true,
      method: 'POST',
      path: '/v1/payment_intents/cus_1/confirm',
      params: { amount: 4200 },
    });
  });

  test('fails for a missing field of its path and of its parameters', () => {
    expect(renderCall(call, { amount_cents: 1 })).toMatchObject({ ok: false, field: 'id' });
    expect(renderCall(call, { id: 'x' })).toMatchObject({ ok: false, field: 'amount_cents' });
  });
});
