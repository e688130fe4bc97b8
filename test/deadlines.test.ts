/** Times that are the same for many: each is told of its own end, and of nobody else's. */
import { Deadlines } from '../proxy/deadlines';

test('each deadline expires once, in turn and not early, but for those that were cleared', async () => {
  const deadlines = new Deadlines(40);
  const started = performance.now();
  const expired: [name: string, afterMs: number][] = [];
  await new Promise<void>((resolve) => {
    const note = (name: string) => () => {
      expired.push([name, performance.now() - started]);
      if (name === 'last') resolve();
    };
    deadlines.set(note('first'));
    deadlines.clear(deadlines.set(note('cleared')));
    setTimeout(() => deadlines.set(note('last')), 15);
    // The timers of deadlines keep no process alive; this test has nothing else to stay for.
    setTimeout(() => {}, 500);
  });
  expect(expired.map(([name]) => name)).toEqual(['first', 'last']);
  expect(expired[0]?.[1]).toBeGreaterThanOrEqual(40);
  expect(expired[1]?.[1]).toBeGreaterThanOrEqual(55 - 1);
});

test('a deadline that is set after all others ended expires too', async () => {
  const deadlines = new Deadlines(10);
  deadlines.clear(deadlines.set(() => {}));
  await new Promise((resolve) => setTimeout(resolve, 30));
  const alive = setTimeout(() => {}, 500);
  const set = performance.now();
  await new Promise<void>((resolve) => deadlines.set(resolve));
  expect(performance.now() - set).toBeGreaterThanOrEqual(10);
  clearTimeout(alive);
});

test('a promise within its time is what it comes to, and one that takes longer is undefined', async () => {
  const deadlines = new Deadlines(20);
  const alive = setTimeout(() => {}, 500);
  expect(await deadlines.within(Promise.resolve('value'))).toBe('value');
  await expect(deadlines.within(Promise.reject(new Error('why')))).rejects.toThrow('why');
  expect(await deadlines.within(new Promise(() => {}))).toBeUndefined();
  clearTimeout(alive);
});
