/** What a dead process left behind is taken over, whatever is wrong with one row of it. */
import { pino } from 'pino';
import { reserve } from '../proxy/ledger/reserve';
import { recover } from '../proxy/recover';
import { addKey, fixed, reserveInput, STORES, testLedger } from './support/ledger';

test.each(STORES)(
  '$name: a held call that cannot be finished is named, and the others become unknown',
  async (store) => {
    const tested = testLedger(store.open);
    const { ledger } = tested;
    const keys = [await addKey(ledger, { cap: 10 }), await addKey(ledger, { cap: 10 })];
    const inputs = keys.map((facts) => reserveInput(facts, { price: fixed(1) }));
    for (const input of inputs) await ledger.hold((rows, now) => reserve(rows, now, input));
    await ledger.submit((rows) => rows.remove('budgets', `key:${keys[0]!.keyId}`));

    const lines: string[] = [];
    expect(await recover(ledger, pino({}, { write: (line: string) => void lines.push(line) }))).toBe(1);
    const [first, second] = inputs.map(({ call }) => call.callId);
    const states = await ledger.submit((rows) => [first!, second!].map((id) => rows.get('calls', id)!.state));
    expect(states).toEqual(['held', 'unknown']);
    const errors = lines
      .map((line) => JSON.parse(line) as { level: number; call_id?: string })
      .filter((l) => l.level === 50);
    expect(errors.map(({ call_id: id }) => id)).toEqual([first]);
    await tested.close();
  },
);
