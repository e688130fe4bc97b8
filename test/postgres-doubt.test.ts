/** What a process knows of a commit whose answer it did not hear, and what it does then. */
import { finish } from '../proxy/ledger/finish';
import { Ledger } from '../proxy/ledger/ledger';
import { reserve } from '../proxy/ledger/reserve';
import { openPostgres, type SharedStore } from '../proxy/stores/postgres/postgres';
import { StoreError } from '../proxy/stores/store';
import { addKey, claimOf, endedAs, fixed, reserveInput, settledAt } from './support/ledger';
import { cluster } from './support/postgres';
import { until } from './support/rig';
import { startWire, type Wire } from './support/wire';

let url: string;
let wire: Wire;
const stores: SharedStore[] = [];
beforeEach(async () => {
  const server = await cluster();
  url = await server.newDatabase();
  wire = await startWire(server.port);
});
afterEach(async () => {
  await wire.close();
  await Promise.all(stores.splice(0).map((store) => store.close()));
});

async function open(at = url): Promise<Ledger> {
  const store = await openPostgres(at);
  stores.push(store);
  return new Ledger(store);
}

describe('a lost answer to COMMIT', () => {
  async function holdOver(moment: Parameters<Wire['cutAt']>[0]) {
    const ledger = await open(wire.over(url));
    const facts = await addKey(ledger, { cap: 10 });
    const input = reserveInput(facts, { price: fixed(3), claim: claimOf(moment) });
    const cut = wire.cutAt(moment);
    const answer = ledger.hold((rows, now) => reserve(rows, now, input).kind).catch((error: unknown) => error);
    await cut;
    const held = async () =>
      (await (await open()).submit((rows) => rows.get('budgets', `key:${facts.keyId}`)))!.held_micros;
    return { ledger, answer: await answer, held, callId: input.call.callId };
  }

  test('of a commit that was written: it is asked what became of it, and the call goes on', async () => {
    const { answer, held, ledger, callId } = await holdOver('commit answered');
    expect(answer).toBe('held');
    expect(await held()).toBe(3);
    await ledger.record((rows, now) => finish(rows, now, callId, endedAs('released')));
    expect(await held()).toBe(0);
  });

  test('of a commit that never reached the server: no call goes out, and nothing is held', async () => {
    const { answer, held } = await holdOver('commit asked');
    expect(answer).toBeInstanceOf(StoreError);
    expect(answer).toMatchObject({ uncertain: false });
    expect(await held()).toBe(0);
  });

  test('that cannot be learned either: no call goes out, and the hold is given back once the server is there', async () => {
    const ledger = await open(wire.over(url));
    const facts = await addKey(ledger, { cap: 10 });
    const input = reserveInput(facts, { price: fixed(3) });
    const cut = wire.cutAt('commit answered').then(() => wire.refuse(true));
    const { callId } = input.call;
    const answer = ledger.hold((rows, now) => reserve(rows, now, input).kind, callId);
    await expect(answer).rejects.toMatchObject({ name: 'StoreError', uncertain: true });
    await cut;
    const other = await open();
    const heldMicros = async () =>
      (await other.submit((rows) => rows.get('budgets', `key:${facts.keyId}`)))!.held_micros;
    expect(await heldMicros()).toBe(3);
    wire.refuse(false);
    await until('it is given back', async () => (await heldMicros()) === 0 || undefined);
    expect((await other.submit((rows) => rows.get('calls', callId)))?.state).toBe('released');
    // It has heard so, and does not try again when the wire is gone.
    await ledger.idle();
  });

  test('what has happened at the vendor is recorded once, whichever way the answer was lost', async () => {
    for (const moment of ['commit asked', 'commit answered'] as const) {
      const { ledger, callId, answer } = await holdOver(moment).then(async (first) => {
        if (first.answer === 'held') return first;
        const facts = await addKey(first.ledger, { cap: 10 });
        const input = reserveInput(facts, { price: fixed(3) });
        await first.ledger.hold((rows, now) => reserve(rows, now, input));
        return { ...first, callId: input.call.callId, answer: 'held' };
      });
      expect(answer).toBe('held');
      const cut = wire.cutAt(moment);
      const recorded = ledger.record((rows, now) => finish(rows, now, callId, settledAt(2)));
      await cut;
      expect((await recorded).call).toMatchObject({ state: 'settled', cost_micros: 2 });
      const budget = await ledger.submit((rows) =>
        rows.get('budgets', rows.get('calls', callId)!.key_id && `key:${rows.get('calls', callId)!.key_id}`),
      );
      expect(budget).toMatchObject({ settled_micros: 2, held_micros: 0, n_settled: 1 });
    }
  });
});
