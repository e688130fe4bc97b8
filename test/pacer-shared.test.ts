/** The part of an account's pace that one of several processes has, on a clock that the test sets. */
import { Pacer, type Slot, type Turn } from '../proxy/pace';
import { FakeClock } from './support/fakeClock';

let clock: FakeClock;
beforeEach(() => {
  clock = new FakeClock();
});

const pacerOf = (maxRps: number | undefined) => new Pacer({ maxRps, queueMax: 1_000, clock });

/** Callers in order; what they have got so far, and when. */
function queue(pacer: Pacer, count: number) {
  const got: { caller: number; at: number; turn: Turn }[] = [];
  for (let caller = 0; caller < count; caller += 1) {
    void pacer.wait({ waitMs: 60_000 }).then((turn) => got.push({ caller, at: clock.now(), turn }));
  }
  return got;
}

const slots = (got: readonly { turn: Turn }[]) =>
  got.flatMap(({ turn }): Slot[] => (turn.kind === 'slot' ? [turn.slot] : []));

describe('an account that several processes share', () => {
  test('gives each its share: slots come as much later, those that are promised too', async () => {
    const pacer = pacerOf(30);
    const got = queue(pacer, 21);
    pacer.share(1 / 3);
    await clock.pass(1_000);
    expect(got.map(({ at }) => Math.round(at))).toEqual(Array.from({ length: 11 }, (_, index) => index * 100));
    pacer.share(1);
    await clock.pass(1_000);
    expect(got).toHaveLength(21);
    expect(got.at(-1)!.at - got.at(-2)!.at).toBeCloseTo(1_000 / 30);
  });

  test('that was slowed down by the vendor is slow in every share', () => {
    const pacer = pacerOf(60);
    pacer.answered(pacer.take()!, { retryAfterMs: undefined });
    pacer.share(1 / 3);
    expect(pacer.rps).toBeCloseTo(15);
    pacer.share(1 / 2);
    expect(pacer.rps).toBeCloseTo(22.5);
  });

  test('lets nothing leave while it is held, and those who waited then go in order', async () => {
    const pacer = pacerOf(10);
    pacer.hold();
    const got = queue(pacer, 3);
    await clock.pass(2_000);
    expect([got, pacer.take(), clock.timers]).toEqual([[], undefined, 3]);
    pacer.release();
    await clock.pass(200);
    expect(got.map(({ caller, at }) => [caller, at])).toEqual([
      [0, 2_000],
      [1, 2_050],
      [2, 2_150],
    ]);
  });

  test('is not held where the vendor alone knows the limit', () => {
    const pacer = pacerOf(undefined);
    pacer.hold();
    expect(pacer.take()).toBeDefined();
  });

  test('slows down once for what another process heard of the same burst, and tells of its own once', async () => {
    const pacer = pacerOf(100);
    const told: unknown[] = [];
    pacer.onLimited((limit) => told.push(limit));
    const got = queue(pacer, 5);
    await clock.pass(40);
    for (const slot of slots(got)) pacer.answered(slot, { retryAfterMs: undefined });
    pacer.limitedElsewhere({ retryAfterMs: undefined });
    expect([pacer.rps, told]).toEqual([75, [{ retryAfterMs: undefined }]]);
    await clock.pass(600);
    pacer.limitedElsewhere({ retryAfterMs: 2_000 });
    expect(pacer.rps).toBeLessThan(60);
    const later = queue(pacer, 1);
    await clock.pass(1_999);
    expect(later).toHaveLength(0);
    await clock.pass(1);
    expect([later.length, told.length]).toEqual([1, 1]);
  });
});
