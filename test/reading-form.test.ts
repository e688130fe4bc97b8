import * as fc from 'fast-check';
import { Refusal } from '../proxy/contract';
import {
  decodeBody,
  encodeForm,
  FORM_DEPTH_MAX,
  FORM_FIELDS_MAX,
  readForm,
  readQuery,
  wholeNumber,
  wholeNumberIfAny,
} from '../proxy/reading';
import type { FormPairs } from '../proxy/vendors/vendor';
import { refusedField } from './support/refused';

describe('readForm', () => {
  test.each<[string, FormPairs]>([
    ['', []],
    ['a=', [['a', '']]],
    ['a=b%20c+d', [['a', 'b c d']]],
    ['a=1%2B1', [['a', '1+1']]],
    ['am%6Funt=5', [['amount', '5']]],
    ['a=x=y', [['a', 'x=y']]],
    ['description=x;amount=999', [['description', 'x;amount=999']]],
    // prettier-ignore
    ['m[a]=1&m[order%20id]=2&m%5Bc%5D=3', [['m[a]', '1'], ['m[order id]', '2'], ['m[c]', '3']]],
    // prettier-ignore
    ['expand[]=a&expand[]=b', [['expand[]', 'a'], ['expand[]', 'b']]],
    // prettier-ignore
    ['t[0]=card&t[1]=link', [['t[0]', 'card'], ['t[1]', 'link']]],
    ['n=%E2%82%AC', [['n', '€']]],
  ])('%j is read', (text, pairs) => {
    expect(readForm(text)).toEqual(pairs);
    expect(readQuery(text)).toEqual(pairs);
  });

  test.each([
    ['amount=1&amount=999999', 'amount'],
    ['amount=1&am%6Funt=999999', 'amount'],
    ['amount=1&%61mount=999999', 'amount'],
    ['amount=1&amount[x]=2', 'amount'],
    ['amount[x]=2&amount=1', 'amount'],
    ['amount=1&amount[]=2', 'amount'],
    ['a[]=1&a[0]=2', 'a'],
    ['a[b]=1&a[b][c]=2', 'a[b]'],
    ['a[b]=1&a[b]=2', 'a[b]'],
    ['a[][b]=1', 'a[][b]'],
    ['[amount]=1', '[amount]'],
    ['amount]=1', 'amount]'],
    ['amount[=1', 'amount['],
    ['amount[a=1', 'amount[a'],
    ['amount[a]]=1', 'amount[a]]'],
    ['amount[a]b=1', 'amount[a]b'],
    ['+amount=1', ' amount'],
    ['amount%00=1', 'amount\0'],
    ['amount%0a=1', 'amount\n'],
    ['metadata[a%00]=1', 'metadata[a\0]'],
    ['%EF%BB%BFamount=1', '\uFEFFamount'],
    ['=1', 'body'],
    ['amount', 'body'],
    ['a=1&', 'body'],
    ['a=1&&b=2', 'body'],
    ['&a=1', 'body'],
    ['a=%', 'body'],
    ['a=%4', 'body'],
    ['a=%zz', 'body'],
    ['a=%ff', 'body'],
    ['a=%c0%ae', 'body'],
    ['a=%ed%a0%80', 'body'],
  ])('%j is refused: another reader may read it otherwise', (text, field) => {
    expect(refusedField(() => readForm(text))).toBe(field);
  });

  test('more fields or brackets than the limits are refused; the limits themselves are allowed', () => {
    const tooDeep = `a${'[b]'.repeat(FORM_DEPTH_MAX + 1)}`;
    expect(refusedField(() => readForm(`${tooDeep}=1`))).toBe(tooDeep);
    expect(refusedField(() => readForm('a[]=1&'.repeat(FORM_FIELDS_MAX).concat('b=1')))).toBe('body');
    const fields = Array.from({ length: FORM_FIELDS_MAX }, (_, i) => `a${i}=1`).join('&');
    expect(readForm(fields)).toHaveLength(FORM_FIELDS_MAX);
    expect(readForm(`a${'[b]'.repeat(FORM_DEPTH_MAX)}=1`)).toHaveLength(1);
  });

  const word = fc.stringMatching(/^[a-z_0-9]{1,8}$/);
  const inner = fc.string({ unit: 'grapheme', minLength: 1, maxLength: 8 }).filter((s) => !hasBracketOrControl(s));
  const name = fc
    .tuple(word, fc.array(inner, { maxLength: 3 }), fc.boolean())
    .map(([root, path, list]) => root + path.map((part) => `[${part}]`).join('') + (list ? '[]' : ''));
  const somePairs = fc.array(fc.tuple(name, fc.string({ unit: 'grapheme' })), { maxLength: 8 });

  test('what is encoded is read back as the same pairs, also by an independent reader', () => {
    let accepted = 0;
    fc.assert(
      fc.property(somePairs, (pairs) => {
        const text = encodeForm(pairs);
        expect([...new URLSearchParams(text)]).toEqual(pairs);
        const read = readOrUndefined(text);
        if (read === undefined) return;
        accepted += 1;
        expect(read).toEqual(pairs);
        expect(encodeForm(read)).toBe(text);
      }),
      { numRuns: 2_000 },
    );
    expect(accepted).toBeGreaterThan(500);
  });

  test('of any bytes that are read at all, an independent reader reads the same, before and after', () => {
    const piece = fc.constantFrom(
      ...'ab=&+%[]; '.split(''),
      '%61',
      '%3d',
      '%26',
      '%5B',
      '%2B',
      '%ff',
      'é',
      '%c3%a9',
      '[]',
      '[x]',
    );
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 16 }), (pieces) => {
        const text = pieces.join('');
        const pairs = readOrUndefined(text);
        if (pairs === undefined) return;
        expect(pairs).toEqual([...new URLSearchParams(text)]);
        expect(pairs).toEqual([...new URLSearchParams(encodeForm(pairs))]);
      }),
      { numRuns: 20_000 },
    );
  });

  test('no two accepted pairs claim one scalar', () => {
    fc.assert(
      fc.property(somePairs, (pairs) => {
        const read = readOrUndefined(encodeForm(pairs)) ?? [];
        const scalars = read.map(([field]) => field).filter((field) => !field.endsWith('[]'));
        expect(new Set(scalars).size).toBe(scalars.length);
      }),
    );
  });
});

function hasBracketOrControl(text: string): boolean {
  // oxlint-disable-next-line no-control-regex
  return /[[\]\x00-\x1f\x7f]/.test(text);
}

function readOrUndefined(text: string): FormPairs | undefined {
  try {
    return readForm(text);
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    return undefined;
  }
}

describe('decodeBody', () => {
  test.each([[[0xff]], [[0xc0, 0xaf]], [[0xed, 0xa0, 0x80]], [[0x61, 0xe2, 0x82]]])('%j is no UTF-8', (bytes) => {
    expect(refusedField(() => decodeBody(Uint8Array.from(bytes)))).toBe('body');
  });

  test('a byte order mark is not swallowed, so the first name stays what was sent', () => {
    expect(
      refusedField(() => readForm(decodeBody(Uint8Array.from([0xef, 0xbb, 0xbf, 0x61, 0x3d, 0x31])))),
    ).toBeDefined();
  });
});

describe('wholeNumber', () => {
  test.each(['1', '500', '999999999999'])('%s is read', (text) => {
    expect(wholeNumber([['amount', text]], 'amount')).toBe(Number(text));
  });

  // prettier-ignore
  test.each([
    '', '0', '00', '0500', '+500', '-5', '5.0', '5.', '5e2', '1e3', '0x10', '0b1', ' 5', '5 ', '5\n', '1_000', '1,000',
    '٥', '５', 'NaN', 'Infinity', '1000000000000', 'true', '5\0',
  ])('%j is refused as an amount', (text) => {
    expect(refusedField(() => wholeNumber([['amount', text]], 'amount'))).toBe('amount');
    expect(refusedField(() => wholeNumberIfAny([['amount', text]], 'amount'))).toBe('amount');
  });

  test.each<[string, FormPairs]>([
    ['missing', []],
    ['only nested', [['amount[x]', '5']]],
    ['a list', [['amount[]', '5']]],
    // prettier-ignore
    ['given twice', [['amount', '5'], ['amount', '5']]],
    // prettier-ignore
    ['plain and nested', [['amount', '5'], ['amount[x]', '5']]],
  ])('an amount that is %s is refused', (_what, pairs) => {
    expect(refusedField(() => wholeNumber(pairs, 'amount'))).toBe('amount');
  });

  test('an optional amount may be absent, but not hidden in a nested name', () => {
    expect(wholeNumberIfAny([['amounts', '5']], 'amount')).toBeUndefined();
    expect(refusedField(() => wholeNumberIfAny([['amount[0]', '5']], 'amount'))).toBe('amount');
  });
});
