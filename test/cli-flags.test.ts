/** Values of flags that could be taken for something else. */
import { parseUsd } from '../src/cli/parse';
import { readInputs } from '../src/cli/runInput';

test.each(['0,500', '1.5,000', '1234,567', '1,20', '1,200,', '1e3', '0x10', '-5', 'NaN', '5 USD', ''])(
  'dollars of which it is not clear how many they are, "%s", are refused',
  (text) => {
    expect(() => parseUsd(text)).toThrow('Give US dollars');
  },
);

test('dollars with commas between thousands are understood', () => {
  expect(['500', '$1,200', '12,345,678.90', '0.5'].map(parseUsd)).toEqual([500, 1_200, 12_345_678.9, 0.5]);
});

test.each([
  ['a=1', 'a=2'],
  ['a=1', 'a[b]=2'],
  ['a[b]=2', 'a=1'],
  ['a[b]=1', 'a[b][c]=2'],
])('parameters of which one would hide the other, %s and %s, are refused by their name', async (...param) => {
  const flags = { source: 'x.csv', endpoint: 'POST /x', cap: 1, allow: [], param };
  await expect(readInputs([], flags)).rejects.toThrow(/^--param a(\[b\])* is given twice/);
});
