/** What a dead process left behind is taken over, whatever is wrong with one row of it. */
import { pino } from 'pino';
import { reserve } from '../proxy/ledger/reserve';
import { Burial, recover } from '../proxy/recover';
import { addKey, fixed, reserveInput, STORES, testLedger } from './support/ledger';

/** Beyond the page that is looked at at once. */
const MANY = 501;
const MINUTE_MS = 60_000;

describe.each(STORES)('$name', (store) => {
  let tested: ReturnType<typeof testLedger>;
  beforeEach(() => (tested = testLedger(store.open)));
  afterEach(() => tested.close());

  async function held(count: number): Promise<{ readonly ids: readonly string[]; readonly keyId: string }> {
    const facts = await addKey(tested.ledger, { cap: count });
    const inputs = Array.from({ length: count }, () => reserveInput(facts, { price: fixed(1) }));
    await Promise.all(inputs.map((input) => tested.ledger.hold((rows, now) => reserve(rows, now, input))));
    return { ids: inputs.map(({ call }) => call.callId), keyId: facts.keyId };
  }

  /** What nobody can be given the money back from. */
  const damage = (keyId: string) => tested.ledger.submit((rows) => rows.remove('budgets', `key:${keyId}`));
  const stateOf = (id: string) => tested.ledger.submit((rows) => rows.get('calls', id)!.state);

  function log() {
    const lines: string[] = [];
    const complaints = () =>
      lines
        .map((line) => JSON.parse(line) as { level: number; call_id?: string })
        .filter(({ level }) => level === 50)
        .map(({ call_id: id }) => id);
    return { complaints, logger: pino({}, { write: (line: string) => void lines.push(line) }) };
  }

  test('a held call that cannot be finished is named, and the others become unknown', async () => {
    const [bad, good] = [await held(1), await held(1)];
    await damage(bad.keyId);
    const { logger, complaints } = log();
    expect(await recover(tested.ledger, logger)).toBe(1);
    expect([await stateOf(bad.ids[0]!), await stateOf(good.ids[0]!)]).toEqual(['held', 'unknown']);
    expect(complaints()).toEqual([bad.ids[0]]);
  });

  test('a whole page of calls that cannot be finished does not hide those after them', async () => {
    const [bad, good] = [await held(MANY), await held(1)];
    await damage(bad.keyId);
    expect(await recover(tested.ledger, log().logger)).toBe(1);
    expect(await stateOf(good.ids[0]!)).toBe('unknown');
  });

  test('a call that cannot be finished is complained of once a minute, however many rounds there are', async () => {
    const { ids, keyId } = await held(1);
    await damage(keyId);
    const { logger, complaints } = log();
    const burial = new Burial(tested.ledger, logger, (after) => Promise.resolve(after === undefined ? ids : []));
    for (const now of [0, 2_000, MINUTE_MS - 1]) expect(await burial.round(now)).toBe(0);
    expect(complaints()).toHaveLength(1);
    await burial.round(MINUTE_MS);
    expect(complaints()).toHaveLength(2);
  });
});
