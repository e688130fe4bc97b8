import { type Outcome } from '../proxy/ledger/finish';
import { addKey, endedAs, fixed, STORES, type TestLedger, testLedger } from './support/ledger';

const object = (valueMicros: number, amountMicros = valueMicros) => ({
  objectId: 'pi_1',
  valueMicros,
  amountMicros,
  currency: 'usd',
  out: false,
  vendorId: 'pi_1',
});
const worth = (value: number, mode: 'takes_over' | 'pays_rise' | 'lowers', amount?: number): Outcome => ({
  state: 'settled',
  httpStatus: 200,
  code: null,
  spend: { object: object(value, amount), mode },
  answer: null,
});
const onObject = (total: number | null, takesOver: boolean) =>
  ({ kind: 'object', objectId: 'pi_1', total: total === null ? null : { minor: total }, takesOver }) as const;

describe.each(STORES)('spend per vendor object on $name', ({ open }) => {
  let at: TestLedger;
  beforeEach(() => {
    const ledger = testLedger(open);
    // A minor unit is a micro-dollar here.
    const toMicros = (minor: number) => minor;
    at = { ...ledger, ask: (facts, given) => ledger.ask(facts, { toMicros, ...given }) };
  });
  afterEach(() => at.close());

  test('create, confirm and a partial capture of one object are one amount, and the rest goes back', async () => {
    const facts = await addKey(at.ledger, { cap: 700 });
    const created = await at.ask(facts, { price: fixed(500) });
    await at.end(created.callId, worth(500, 'pays_rise'));
    const confirmed = await at.ask(facts, { price: onObject(null, true) });
    expect(confirmed.kind).toBe('held');
    await at.end(confirmed.callId, worth(500, 'takes_over'));
    const captured = await at.ask(facts, { price: onObject(300, true) });
    await at.end(captured.callId, worth(300, 'takes_over', 500));
    expect(await at.budget(`key:${facts.keyId}`)).toMatchObject({
      settled_micros: 300,
      held_micros: 0,
      unknown_micros: 0,
    });
  });

  test('a raised amount must fit: only the rise is held', async () => {
    const facts = await addKey(at.ledger, { cap: 1_000 });
    await at.end((await at.ask(facts, { price: fixed(100) })).callId, worth(100, 'pays_rise'));
    expect((await at.ask(facts, { price: onObject(1_001, false) })).kind).toBe('refused');
    await at.ledger.submit((rows) =>
      rows.put('budgets', { ...rows.get('budgets', `key:${facts.keyId}`)!, latched: 0 }),
    );
    const raised = await at.ask(facts, { price: onObject(1_000, false) });
    expect(raised.kind).toBe('held');
    expect((await at.budget(`key:${facts.keyId}`))!.held_micros).toBe(900);
  });

  test.each([
    ['held', 'raised', 20],
    ['held', 'captured in part', 4],
    ['unknown', 'raised', 20],
    ['unknown', 'captured in part', 4],
  ] as const)(
    'the late answer to a call that is %s changes nothing about what it made and others have %s',
    async (...row) => {
      const [state, , value] = row;
      const [maker, other] = [await addKey(at.ledger, { cap: 100 }), await addKey(at.ledger, { cap: 100 })];
      const created = await at.ask(maker, { price: fixed(10) });
      if (state === 'unknown') await at.end(created.callId, endedAs('unknown'));
      await new Promise((resolve) => setTimeout(resolve, 2));
      const seen = { ...object(10), objectId: 'pi_1' };
      const changed = await at.ask(other, { price: onObject(value, value < 10), seen });
      await at.end(changed.callId, worth(value, value < 10 ? 'takes_over' : 'pays_rise', Math.max(10, value)));
      await at.end(created.callId, worth(10, 'pays_rise'));
      expect(await at.budget(`key:${other.keyId}`)).toMatchObject({ settled_micros: value, held_micros: 0 });
      expect(await at.budget(`key:${maker.keyId}`)).toMatchObject({
        settled_micros: 0,
        held_micros: 0,
        unknown_micros: 0,
      });
    },
  );

  test('another key that captures takes over the whole value, and the first payer gets its money back', async () => {
    const payer = await addKey(at.ledger, { cap: 1_000 });
    const taker = await addKey(at.ledger, { cap: 400 });
    await at.end((await at.ask(payer, { price: fixed(500) })).callId, worth(500, 'pays_rise'));
    expect((await at.ask(taker, { price: onObject(null, true) })).kind).toBe('refused');
    const part = await addKey(at.ledger, { cap: 600 });
    const captured = await at.ask(part, { price: onObject(null, true) });
    await at.end(captured.callId, worth(500, 'takes_over'));
    expect((await at.budget(`key:${payer.keyId}`))!.settled_micros).toBe(0);
    expect((await at.budget(`key:${part.keyId}`))!.settled_micros).toBe(500);
  });

  test('two keys of one job hand an object over without needing its value twice', async () => {
    const job = { id: `handover-${Date.now()}`, cap: 500 };
    const first = await addKey(at.ledger, { job });
    const second = await addKey(at.ledger, { job });
    await at.end((await at.ask(first, { price: fixed(500) })).callId, worth(500, 'pays_rise'));
    const captured = await at.ask(second, { price: onObject(null, true) });
    expect(captured.kind).toBe('held');
    await at.end(captured.callId, worth(500, 'takes_over'));
    expect((await at.budget(`job:${job.id}`))!.settled_micros).toBe(500);
  });

  test('a cancel gives back and never un-latches', async () => {
    const facts = await addKey(at.ledger, { cap: 500 });
    await at.end((await at.ask(facts, { price: fixed(500) })).callId, worth(500, 'pays_rise'));
    await at.ask(facts, { price: fixed(1) });
    const cancel = await at.ask(facts, { price: { kind: 'free', objectId: 'pi_1' } });
    await at.end(cancel.callId, worth(0, 'lowers'));
    expect(await at.budget(`key:${facts.keyId}`)).toMatchObject({ settled_micros: 0, latched: 1 });
    expect((await at.ask(facts, { price: fixed(1) })).kind).toBe('refused');
  });

  test('what is counted above the cap does not go on: only what lowers it does, until the cap is raised', async () => {
    const facts = await addKey(at.ledger, { cap: 500, onCap: 'refuse' });
    // The vendor says that it is worth more than was asked for.
    await at.end((await at.ask(facts, { price: fixed(500) })).callId, worth(600, 'pays_rise'));
    for (const takesOver of [true, false]) {
      expect(await at.ask(facts, { price: onObject(null, takesOver) })).toMatchObject({
        kind: 'refused',
        refusal: { code: 'cap_exhausted' },
      });
    }
    expect((await at.ask(facts, { price: { kind: 'free', objectId: 'pi_1' } })).kind).toBe('held');
    const captured = await at.ask(facts, { price: onObject(450, true) });
    expect(captured.kind).toBe('held');
    await at.end(captured.callId, worth(450, 'takes_over'));
    expect((await at.ask(facts, { price: onObject(450, true) })).kind).toBe('held');
  });

  test('a call that lowers a payment passes however dear the payment is for one call', async () => {
    const facts = await addKey(at.ledger, { cap: 5_000, maxCall: 500 });
    await at.end((await at.ask(facts, { price: fixed(500) })).callId, worth(600, 'pays_rise'));
    expect(await at.ask(facts, { price: onObject(null, true) })).toMatchObject({
      kind: 'refused',
      refusal: { code: 'per_call_cap_exceeded' },
    });
    expect((await at.ask(facts, { price: onObject(550, true) })).kind).toBe('held');
  });
});
