import * as fc from 'fast-check';
import { at, canonicalJson, leaves, readJson, repeatedName } from '../proxy/json';
import { encodeBody, fingerprint, readPath, readRequest } from '../proxy/reading';
import { Refusal } from '../proxy/contract';
import { refusedField } from './support/refused';

const JSON_TYPE = { 'content-type': 'application/json' };

function post(bodyText: string, headers: Record<string, string> = JSON_TYPE) {
  return readRequest({ method: 'POST', target: readPath('/emails'), headers, bodyText, kind: 'json' });
}

describe('JSON is read in one way or not at all', () => {
  test.each([
    ['{"amount":1,"amount":999999}', 'amount'],
    ['{"amount":1,"am\\u006funt":999999}', 'amount'],
    ['{"a":{"to":1,"b":2,"to":3}}', 'to'],
    ['[{"a":1},{"a":1,"a":2}]', 'a'],
    ['{"a":"}{","a":1}', 'a'],
    ['{"a\\"":1,"a\\"":2}', 'a"'],
    // After an object with the name \, V8 in Node 24.19 reads the name " as \.
    ['{"amount":0,"\\\\":1}', '\\'],
    ['{"amount":0,"\\"":1}', '"'],
    ['{"__proto__":{"amount":1}}', '__proto__'],
    ['{"":1}', ''],
    ['{"amount[value]":1}', 'amount[value]'],
    ['{"a\\u0000":1}', 'a\u0000'],
    ['{"amount":9007199254740993}', 'body'],
    ['{"amount":1e400}', 'body'],
    ['{"amount":1,}', 'body'],
    ["{'amount':1}", 'body'],
    ['{"amount":0x10}', 'body'],
    ['{"amount":01}', 'body'],
    ['{"a":1} {"a":2}', 'body'],
    ['{"a":NaN}', 'body'],
    ['\ufeff{"a":1}', 'body'],
    ['"a"', 'body'],
    ['5', 'body'],
    ['null', 'body'],
    [`${'['.repeat(40)}${']'.repeat(40)}`, 'body'],
  ])('%s is refused', (text, field) => {
    expect(refusedField(() => readJson(text))).toBe(field);
  });

  test('equal names in different objects, and names that only look alike, are fine', () => {
    const text = '[{"to":"a","b":{"to":1}},{"to":"b","To":1,"x":"{\\"to\\":1,\\"to\\":2}"}]';
    expect(readJson(text)).toEqual(JSON.parse(text));
  });

  test('whatever JSON holds is read as JSON.parse reads it, and written so that it is read the same', () => {
    const name = fc.stringMatching(/^[a-zA-Z0-9_ 'é{},:]{1,8}$/).filter((text) => text !== '__proto__');
    const { tree } = fc.letrec((tie) => ({
      leaf: fc.oneof(
        fc.string(),
        fc.maxSafeInteger(),
        fc.boolean(),
        fc.constant(null),
        fc.double({ noNaN: true, noDefaultInfinity: true, min: -1e9, max: 1e9 }),
      ),
      tree: fc.oneof({ depthSize: 'small' }, tie('leaf'), fc.array(tie('tree')), fc.dictionary(name, tie('tree'))),
    }));
    fc.assert(
      fc.property(fc.oneof(fc.array(tree), fc.dictionary(name, tree)), (value) => {
        const text = JSON.stringify(value);
        const read = readJson(text);
        expect(read).toEqual(JSON.parse(text));
        expect(JSON.parse(canonicalJson(read))).toEqual(JSON.parse(text));
        expect(canonicalJson(readJson(canonicalJson(read)))).toBe(canonicalJson(read));
      }),
    );
  });

  test('its leaves are named as a form names them', () => {
    expect(leaves({ amount: { value: 500, currency: 'usd' }, list: [true, null], none: [] })).toEqual([
      ['amount[value]', '500'],
      ['amount[currency]', 'usd'],
      ['list[0]', 'true'],
      ['list[1]', ''],
    ]);
  });

  test('a path finds own values only', () => {
    expect(at({ data: [{ id: 'a' }] }, ['data', '0', 'id'])).toBe('a');
    expect(at({ data: {} }, ['data', 'constructor'])).toBeUndefined();
    expect(at(null, ['id'])).toBeUndefined();
  });
});

describe('a JSON request', () => {
  test('is forwarded as what was read, names in order', () => {
    const { text, headers } = encodeBody(post(' {"to" : "a@b.test", "from":"x"}\n'), 'json');
    expect(text).toBe('{"from":"x","to":"a@b.test"}');
    expect(headers).toEqual(JSON_TYPE);
  });

  test('without a body sends none, and declares none', () => {
    expect(encodeBody(post(''), 'json')).toEqual({ text: '', headers: {} });
  });

  test('is the same request in any order and spacing, and another with another type of value', () => {
    const one = fingerprint(post('{"a":1,"b":["x","y"]}'));
    expect(fingerprint(post('{ "b": ["x","y"], "a": 1.0 }'))).toBe(one);
    expect(fingerprint(post('{"a":"1","b":["x","y"]}'))).not.toBe(one);
    expect(fingerprint(post('{"a":1,"b":["y","x"]}'))).not.toBe(one);
    expect(fingerprint(post('{"a":1,"b":["x","y"],"c":[]}'))).not.toBe(one);
  });

  test.each([
    'application/x-www-form-urlencoded',
    'text/plain',
    'application/json; charset=utf-16',
    'application/json5',
  ])('declared as %s is refused', (type) =>
    expect(refusedField(() => post('{"a":1}', { 'content-type': type }))).toBe('content-type'),
  );

  test('_method is refused in it too', () => {
    expect(refusedField(() => post('{"_method":"DELETE"}'))).toBe('_method');
  });
});

describe('flat forms', () => {
  const repeats = new Set(['MediaUrl']);
  const flat = (bodyText: string, url = '/2010-04-01/Accounts/AC1/Messages.json', method = 'POST') => {
    const headers = { 'content-type': 'application/x-www-form-urlencoded' };
    return readRequest({ method, target: readPath(url), headers, bodyText, kind: 'flat', repeats });
  };

  test('lists are repeated, and nothing else is', () => {
    expect(flat('To=%2B1&MediaUrl=a&MediaUrl=b').body).toEqual([
      ['To', '+1'],
      ['MediaUrl', 'a'],
      ['MediaUrl', 'b'],
    ]);
    expect(refusedField(() => flat('Body=a&Body=b'))).toBe('Body');
    expect(refusedField(() => flat('Body=a&B%6Fdy=b'))).toBe('Body');
    expect(refusedField(() => flat('Body[]=a'))).toBe('Body[]');
    expect(refusedField(() => flat('Body'))).toBe('body');
  });

  test('whatever is accepted, every reader of a form reads the same', () => {
    const piece = fc.constantFrom(
      'To=%2B1',
      'To',
      'T%6F=2',
      '=',
      '&',
      'Body=a',
      'body=b',
      '[]',
      '[0]=x',
      '+',
      '%',
      ';',
      'MediaUrl=c',
      '%00',
      '%26To=3',
      'é',
    );
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 8 }), (pieces) => {
        let request;
        try {
          request = flat(pieces.join(''));
        } catch (error) {
          if (!(error instanceof Refusal)) throw error;
          return;
        }
        const { text } = encodeBody(request, 'flat');
        const reader = new URLSearchParams(text ?? '');
        expect([...reader]).toEqual(request.body);
        for (const name of ['To', 'Body']) expect(reader.getAll(name).length).toBeLessThan(2);
      }),
      { numRuns: 3_000 },
    );
  });

  test('a query may compare dates', () => {
    const url = '/2010-04-01/Accounts/AC1/Messages.json?DateSent%3E=2026-01-01&PageSize=50';
    expect(flat('', url, 'GET').query[0]).toEqual(['DateSent>', '2026-01-01']);
  });

  test('a phone number may stand in a path, and only there a plus', () => {
    expect(readPath('/lookups/v2/PhoneNumbers/+14155550100').path).toBe('/lookups/v2/PhoneNumbers/+14155550100');
    expect(readPath('/lookups/v2/PhoneNumbers/%2B14155550100').path).toBe('/lookups/v2/PhoneNumbers/+14155550100');
    for (const url of ['/a/+', '/a/+1b', '/a/b+1', '/a/++1', '/a/+1/+1b']) {
      expect(refusedField(() => readPath(url))).toBe('path');
    }
  });
});

test.each(['\\"', '\\\n', '"\\'])(
  'a text of megabytes that no quotation mark ends is read once, not from each %j in it',
  (piece) => {
    expect(repeatedName(`{"a":1,"a${piece.repeat(300_000)}`)).toBeUndefined();
  },
);
