/** Ids of one process sort in the order they were made: listings and their cursors rest on it. */
import { newId } from '../proxy/ids';

afterEach(() => jest.restoreAllMocks());

test.each([
  ['more than a millisecond has room for', (index: number) => 2e12 + Math.floor(index / 5_000)],
  ['while the clock steps back', (index: number) => 3e12 - index],
])('%s', (_, clock) => {
  let made = 0;
  jest.spyOn(Date, 'now').mockImplementation(() => clock((made += 1)));
  const ids = Array.from({ length: 20_000 }, () => newId('call'));
  expect(ids).toEqual(ids.toSorted());
  expect(new Set(ids).size).toBe(ids.length);
});
