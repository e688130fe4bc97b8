/** The ledger on SQLite syncs its log itself: nobody may hear of a commit before, or build on one that failed to. */
import type * as fs from 'node:fs';
import { Ledger } from '../proxy/ledger/ledger';
import { reserve } from '../proxy/ledger/reserve';
import { StoreError } from '../proxy/stores/store';
import { addKey, fixed, reserveInput, settledAt, STORES, type TestLedger, testLedger } from './support/ledger';

/** Takes the place of the sync while it is set. */
let mockSync: ((done: fs.NoParamCallback) => void) | undefined;
jest.mock('node:fs', () => {
  const real = jest.requireActual<typeof fs>('node:fs');
  const fdatasync = (fd: number, done: fs.NoParamCallback) =>
    mockSync === undefined ? real.fdatasync(fd, done) : mockSync(done);
  return { ...real, fdatasync };
});

describe.each(STORES.filter(({ name }) => name === 'sqlite'))('the sync of the ledger on $name', ({ open }) => {
  let at: TestLedger;
  beforeEach(() => {
    at = testLedger(open);
  });
  afterEach(() => {
    mockSync = undefined;
    return at.close();
  });

  test('a hold is answered only once its commit is on the disk', async () => {
    const facts = await addKey(at.ledger, { cap: 10 });
    const syncing = new Promise<fs.NoParamCallback>((resolve) => (mockSync = resolve));
    let answered = false;
    const held = at.ask(facts, { price: fixed(1) }).finally(() => (answered = true));
    const done = await syncing;
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(answered).toBe(false);
    done(null);
    expect((await held).kind).toBe('held');
  });

  test('a commit that cannot be synced is refused, and so is every later one', async () => {
    const facts = await addKey(at.ledger, { cap: 10 });
    mockSync = (done) => done(Object.assign(new Error('EIO'), { code: 'EIO' }));
    await expect(at.ask(facts, { price: fixed(1) })).rejects.toThrow(StoreError);
    mockSync = undefined;
    await expect(at.ask(facts, { price: fixed(1) })).rejects.toThrow(StoreError);
    await expect(at.ledger.store.ping()).rejects.toThrow('could not be synced');
  });

  test('a commit that fails leaves nothing behind in memory', async () => {
    const facts = await addKey(at.ledger, { cap: 10 });
    const { callId } = await at.ask(facts, { price: fixed(4) });
    const fail = () => {
      throw new StoreError('fails while it writes');
    };
    const failing = new Ledger({
      ...at.ledger.store,
      commit: (work) => at.ledger.store.commit((...given) => (work(...given), fail())),
    });
    await expect(
      failing.hold((rows, now) => reserve(rows, now, reserveInput(facts, { price: fixed(5) }))),
    ).rejects.toThrow(StoreError);
    expect(await at.budget(`key:${facts.keyId}`)).toMatchObject({ held_micros: 4, n_held: 1 });
    expect(await at.end(callId, settledAt(4))).toMatchObject({ changed: true, call: { cost_micros: 4 } });
    expect(await at.budget(`key:${facts.keyId}`)).toMatchObject({ held_micros: 0, settled_micros: 4, n_held: 0 });
  });
});
