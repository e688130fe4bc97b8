/** How fast calls may leave, on a clock that the test sets: no test here waits. */
import type { KeyFacts } from '../proxy/ledger/facts';
import { Pacer, type PacerOptions, type Slot, type Turn, type Waiting } from '../proxy/pace';
import { FakeClock } from './support/fakeClock';

let clock: FakeClock;
beforeEach(() => {
  clock = new FakeClock();
});

function pacerOf(maxRps: number | undefined, given: Partial<PacerOptions> = {}): Pacer {
  return new Pacer({ maxRps, queueMax: 1_000, clock, ...given });
}

/** Callers in order; what they have got so far, and when. */
function queue(pacer: Pacer, count: number, waiting: Partial<Waiting> = {}) {
  const got: { caller: number; at: number; turn: Turn }[] = [];
  for (let caller = 0; caller < count; caller += 1) {
    void pacer.wait({ waitMs: 60_000, ...waiting }).then((turn) => got.push({ caller, at: clock.now(), turn }));
  }
  return got;
}

const slots = (got: readonly { turn: Turn }[]) =>
  got.flatMap(({ turn }): Slot[] => (turn.kind === 'slot' ? [turn.slot] : []));

/** Answers to the vendor's own limit of so many in each second: `true` is one too many. */
function vendorOf(limit: number) {
  const seconds = new Map<number, number>();
  return () => {
    const second = Math.floor(clock.now() / 1_000);
    const count = (seconds.get(second) ?? 0) + 1;
    seconds.set(second, count);
    return count > limit;
  };
}

test('slots are given evenly and in order of coming', async () => {
  const pacer = pacerOf(20);
  const got = queue(pacer, 41);
  await clock.pass(2_000);
  expect(got.map(({ caller }) => caller)).toEqual(Array.from({ length: 41 }, (_, caller) => caller));
  expect(got.map(({ at }) => at)).toEqual(Array.from({ length: 41 }, (_, index) => index * 50));
  expect(clock.timers).toBe(0);
});

test('an idle account has saved up nothing: no burst follows', async () => {
  const pacer = pacerOf(20);
  await clock.pass(60_000);
  expect([pacer.take(), pacer.take()].map((slot) => slot !== undefined)).toEqual([true, false]);
});

test('nobody overtakes those who wait', async () => {
  const pacer = pacerOf(10);
  const got = queue(pacer, 3);
  await clock.pass(50);
  expect(got).toHaveLength(1);
  clock.stall(1_000);
  expect(pacer.take()).toBeUndefined();
  await clock.pass(0);
  expect(got).toHaveLength(2);
});

test('late timers are made up for, so that the rate is reached; a long stall is not', async () => {
  const pacer = pacerOf(100);
  const got = queue(pacer, 200);
  for (let turn = 0; turn < 20; turn += 1) {
    clock.stall(40);
    await clock.pass(0);
  }
  expect(got.length).toBeGreaterThan(75);
  const before = got.length;
  clock.stall(1_000);
  await clock.pass(0);
  expect(got.length - before).toBeLessThanOrEqual(7);
});

test('a slot that was not used goes to the next in the queue at once', async () => {
  const pacer = pacerOf(10);
  const slot = pacer.take();
  const got = queue(pacer, 2);
  await clock.pass(0);
  expect(got).toHaveLength(0);
  pacer.giveBack(slot!);
  await clock.pass(0);
  expect(got.map(({ caller }) => caller)).toEqual([0]);
  await clock.pass(100);
  expect(got).toHaveLength(2);
});

test('who cannot have a slot in time is sent away at once, each with a time of its own', async () => {
  const pacer = pacerOf(10);
  const got = queue(pacer, 100, { waitMs: 2_000 });
  await clock.pass(0);
  const full = got.flatMap(({ turn }) => (turn.kind === 'full' ? [turn.retryAfterSeconds] : []));
  // One leaves at once and twenty wait; the rest is told to come when it will be their turn.
  expect(full).toHaveLength(100 - 21);
  expect(full.slice(0, 3)).toEqual([3, 3, 3]);
  expect(full.at(-1)).toBe(10);
  expect(full).toEqual(full.toSorted((a, b) => a - b));
});

test('no more wait than may: the next is told when a slot is likely', async () => {
  const pacer = pacerOf(2, { queueMax: 4 });
  const got = queue(pacer, 6);
  await clock.pass(0);
  expect(got.map(({ caller, turn }) => [caller, turn.kind])).toEqual([
    [0, 'slot'],
    [5, 'full'],
  ]);
  expect(got[1]?.turn).toEqual({ kind: 'full', retryAfterSeconds: 3 });
});

test('a call that the account slowed down for leaves the queue when its time is over', async () => {
  const pacer = pacerOf(10);
  const slot = pacer.take();
  const got = queue(pacer, 1, { waitMs: 1_000 });
  pacer.answered(slot!, { retryAfterMs: 30_000 });
  await clock.pass(999);
  expect(got).toHaveLength(0);
  await clock.pass(1);
  expect(got.map(({ turn }) => turn)).toEqual([{ kind: 'full', retryAfterSeconds: 29 }]);
  expect(clock.timers).toBe(0);
});

test('a client that goes leaves the queue, and those behind it move up', async () => {
  const pacer = pacerOf(10);
  pacer.take();
  let leave = (): void => undefined;
  let stopped = 0;
  const listening = (gone: () => void) => {
    leave = gone;
    return () => void (stopped += 1);
  };
  const gone = queue(pacer, 1, { onGone: listening });
  const next = queue(pacer, 1);
  leave();
  await clock.pass(100);
  expect(gone.map(({ turn }) => turn.kind)).toEqual(['left']);
  expect(next.map(({ at, turn }) => [at, turn.kind])).toEqual([[100, 'slot']]);
  expect(stopped).toBe(1);
});

test('a dead key has left the queue when dismiss returns; others have not', async () => {
  const pacer = pacerOf(10);
  pacer.take();
  const facts = (keyId: string) => ({ keyId }) as KeyFacts;
  const dead = queue(pacer, 3, { facts: facts('dead') });
  const alive = queue(pacer, 1, { facts: facts('alive') });
  const own = queue(pacer, 1);
  pacer.dismiss(({ keyId }) => keyId === 'dead');
  await clock.pass(200);
  expect(dead.map(({ turn }) => turn.kind)).toEqual(['left', 'left', 'left']);
  expect([alive, own].map((got) => got.map(({ at }) => at))).toEqual([[100], [200]]);
});

test('the vendor’s Retry-After stops the account for so long', async () => {
  const pacer = pacerOf(10);
  const slot = pacer.take()!;
  pacer.answered(slot, { retryAfterMs: 3_000 });
  const got = queue(pacer, 1);
  await clock.pass(2_999);
  expect(got).toHaveLength(0);
  expect(pacer.take()).toBeUndefined();
  await clock.pass(1);
  expect(got).toHaveLength(1);
});

test('calls of one burst slow the account down once; a later one slows it down again', async () => {
  const pacer = pacerOf(100);
  const got = queue(pacer, 5);
  await clock.pass(40);
  for (const slot of slots(got)) pacer.answered(slot, { retryAfterMs: undefined });
  expect(pacer.rps).toBe(75);
  await clock.pass(500);
  const later = pacer.take()!;
  pacer.answered(later, { retryAfterMs: undefined });
  expect(pacer.rps).toBeLessThan(60);
});

test('the rate comes back little by little, and never above max_rps', async () => {
  const pacer = pacerOf(100);
  pacer.answered(pacer.take()!, { retryAfterMs: 0 });
  expect(pacer.rps).toBe(75);
  await clock.pass(1_000);
  expect(pacer.take()).toBeDefined();
  expect(pacer.rps).toBeCloseTo(80);
  await clock.pass(60_000);
  expect(pacer.take()).toBeDefined();
  expect(pacer.rps).toBe(100);
});

test('without a maximum nothing is paced until the vendor says so; then what it took tells the rate', async () => {
  const pacer = pacerOf(undefined);
  const taken = Array.from({ length: 500 }, () => pacer.take()!);
  expect(pacer.rps).toBe(Infinity);
  // A limiter is quicker than what it guards: it refuses before the first success is back.
  for (const slot of taken.slice(40)) pacer.answered(slot, { retryAfterMs: 1_000 });
  for (const slot of taken.slice(0, 40)) pacer.answered(slot, undefined);
  expect(pacer.rps).toBe(1 + 40 * 0.75);
});

test('a rate that the vendor set is forgotten when it has kept nobody waiting for a minute', async () => {
  const pacer = pacerOf(undefined);
  for (let call = 0; call < 10; call += 1) pacer.answered(pacer.take()!, undefined);
  pacer.answered(pacer.take()!, { retryAfterMs: undefined });
  expect(pacer.rps).toBe(7.5);
  await clock.pass(59_000);
  pacer.take();
  expect(pacer.rps).toBeLessThan(Infinity);
  await clock.pass(2_000);
  pacer.take();
  expect(pacer.rps).toBe(Infinity);
});

test.each([
  ['and max_rps at the limit', 20, 20],
  ['and no max_rps', 20, undefined],
  ['above what it takes', 20, 60],
])('1,000 calls to a vendor that takes 20 a second, %s: little is lost to refusals', async (_, limit, maxRps) => {
  const pacer = pacerOf(maxRps);
  const tooMany = vendorOf(limit);
  let left = 1_000;
  let refused = 0;
  const caller = async (): Promise<void> => {
    while (left > 0) {
      left -= 1;
      for (;;) {
        const turn = await pacer.wait({ waitMs: 600_000 });
        if (turn.kind !== 'slot') throw new Error(turn.kind);
        const limited = tooMany();
        pacer.answered(turn.slot, limited ? { retryAfterMs: undefined } : undefined);
        if (!limited) break;
        refused += 1;
      }
    }
  };
  let endedAt = 0;
  const all = Promise.all(Array.from({ length: 50 }, caller)).then(() => (endedAt = clock.now()));
  await clock.pass(80_000);
  expect(left).toBe(0);
  await all;
  expect(endedAt).toBeLessThan(65_000);
  expect(refused).toBeLessThan(100);
});
