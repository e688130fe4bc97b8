/** Prices that come after the call, on the ledger alone. */
import fc from 'fast-check';
import type { KeyFacts } from '../proxy/ledger/facts';
import { finish, type Outcome } from '../proxy/ledger/finish';
import { giveUpPrice, hasten, settlePrice, takeLook } from '../proxy/ledger/late';
import { valueOfMessage } from '../proxy/vendors/twilio-value';
import type { Valuation } from '../proxy/vendors/vendor';
import { addKey, fixed, reserveInput, STORES, type TestLedger, testLedger } from './support/ledger';
import { reserve } from '../proxy/ledger/reserve';
import { utcDay } from '../proxy/ledger/budgets';

const TERMS = { fx: {} };
const TIMES = { firstMs: 1_000, longestMs: 8_000 };

function settledAs(object: Valuation, mode: 'pays_rise' | 'lowers', lookAfterMs = 0): Outcome {
  const spend = { object: { ...object, objectId: object.objectId! }, mode };
  return { state: 'settled', httpStatus: 200, code: null, spend, answer: null, lookAfterMs };
}

/** What Twilio shows of a message on its way, the price at the very end. */
function showings(sid: string, end: 'delivered' | 'undelivered' | 'failed' | 'canceled', price: number | null) {
  const shown = (status: string, micros: number | null) => {
    return { sid, status, price: micros === null ? null : `-${(micros / 1e6).toFixed(6)}`, price_unit: 'USD' };
  };
  return [shown('queued', null), shown('sent', null), shown(end, null), shown(end, price)];
}

describe.each(STORES)('prices that come later, on $name', ({ open }) => {
  let at: TestLedger;
  beforeEach(() => {
    at = testLedger(open);
  });
  afterEach(() => at.close());

  let made = 0;
  /** A message that was sent, and settled at its quote. Answers its call and its sid. */
  async function send(facts: KeyFacts, quote: number, from: number | null = null, lookAfterMs = 0) {
    const sid = `SM${String((made += 1)).padStart(32, '0')}`;
    const { callId } = await at.ask(facts, { price: fixed(quote) });
    const value = valueOfMessage({ sid, status: 'queued', price: null }, TERMS, { micros: quote, from })!;
    await at.end(callId, settledAs(value, 'pays_rise', lookAfterMs));
    return { callId, sid, objectId: `stripe/${sid}` };
  }
  const costOf = (callId: string) => at.ledger.submit((rows) => rows.get('calls', callId)!.cost_micros);
  const settledOn = async (id: string) => (await at.budget(id))!.settled_micros;
  const price = (objectId: string, micros: number) => at.ledger.record((rows) => settlePrice(rows, objectId, micros));
  const look = (objectId: string, inMs = 0) =>
    at.ledger.submit((rows, now) => takeLook(rows, now + inMs, objectId, TIMES)?.late);

  /** A free call of the same key whose answer shows the message. */
  async function read(facts: KeyFacts, shown: object) {
    const input = reserveInput(facts, { price: { kind: 'free' } });
    const value = valueOfMessage(shown, TERMS);
    await at.ledger.submit((rows, now) => {
      reserve(rows, now, input);
      const nothing = { micros: 0, out: false, vendorId: null };
      const silent: Outcome = { state: 'settled', httpStatus: 200, code: null, spend: nothing, answer: null };
      finish(rows, now, input.call.callId, value === undefined ? silent : settledAs(value, 'lowers'));
    });
  }

  test('a price moves every budget of the payer: key, job, day, and those above', async () => {
    const parent = await addKey(at.ledger, { cap: 1_000 });
    const facts = await addKey(at.ledger, { parent, daily: 500, job: { id: 'late', cap: 700 } });
    const { callId, objectId } = await send(facts, 200);
    expect(await price(objectId, 113)).toMatchObject({ byMicros: -87, call: { cost_micros: 113 } });
    const budgets = [...facts.budgets, `day:${facts.keyId}:${utcDay(Date.now())}`];
    expect(budgets).toHaveLength(4);
    for (const id of budgets) expect(await settledOn(id)).toBe(113);
    expect(await costOf(callId)).toBe(113);
  });

  test('the same price twice changes nothing, and nor does another one after it', async () => {
    const facts = await addKey(at.ledger, { cap: 1_000 });
    const { objectId } = await send(facts, 200);
    await price(objectId, 113);
    for (const again of [113, 1, 500]) expect(await price(objectId, again)).toBeUndefined();
    expect(await settledOn(`key:${facts.keyId}`)).toBe(113);
  });

  test('a rise is recorded above the cap, and the next call is refused', async () => {
    const facts = await addKey(at.ledger, { cap: 200 });
    const { objectId } = await send(facts, 200);
    await price(objectId, 350);
    expect(await settledOn(`key:${facts.keyId}`)).toBe(350);
    expect(await at.ask(facts, { price: fixed(1) })).toMatchObject({
      kind: 'refused',
      refusal: { code: 'cap_exhausted' },
    });
  });

  test('money that comes back un-latches nothing and revives no key', async () => {
    const facts = await addKey(at.ledger, { cap: 200 });
    const { objectId } = await send(facts, 200);
    expect(await at.ask(facts, { price: fixed(50) })).toMatchObject({ refusal: { code: 'cap_exhausted' } });
    await at.ledger.submit((rows) => rows.put('keys', { ...rows.get('keys', facts.keyId)!, revoked_at: 1 }));
    await price(objectId, 10);
    expect(await at.budget(`key:${facts.keyId}`)).toMatchObject({ settled_micros: 10, latched: 1 });
    expect(await at.ask(facts, { price: fixed(50) })).toMatchObject({ refusal: { code: 'key_revoked' } });
  });

  test('a price that never comes leaves the quote, and comes too late afterwards', async () => {
    const facts = await addKey(at.ledger, { cap: 1_000 });
    const { callId, objectId } = await send(facts, 200);
    await at.ledger.record((rows) => giveUpPrice(rows, objectId));
    expect(await at.ledger.store.countLate()).toBe(0);
    expect(await price(objectId, 113)).toBeUndefined();
    expect(await costOf(callId)).toBe(200);
  });

  test('a look is taken once; each next one is due after twice the time, and the longest is not exceeded', async () => {
    const facts = await addKey(at.ledger, { cap: 1_000 });
    const { objectId } = await send(facts, 200);
    expect(await look(objectId)).toMatchObject({ looks: 0 });
    expect(await look(objectId)).toBeUndefined();
    let elapsed = 0;
    for (const wait of [1_000, 2_000, 4_000, 8_000, 8_000]) {
      expect(await look(objectId, elapsed + wait - 200)).toBeUndefined();
      elapsed += wait + 200;
      expect(await look(objectId, elapsed)).toBeDefined();
    }
  });

  test('what is not due is not listed, and a scheduled message is not due before it is sent', async () => {
    const facts = await addKey(at.ledger, { cap: 10_000 });
    const hour = 3_600_000;
    const now = await send(facts, 1);
    await send(facts, 1, null, hour);
    const scheduled = await send(facts, 1, Date.now() + 24 * hour);
    const due = async (inMs: number) =>
      (await at.ledger.store.listLate({ dueAt: Date.now() + inMs, limit: 10 })).map((row) => row.object_id);
    expect(await due(0)).toEqual([now.objectId]);
    expect(await due(23 * hour)).toHaveLength(2);
    expect((await due(25 * hour)).at(-1)).toBe(scheduled.objectId);
    expect(await at.ledger.store.countLate()).toBe(3);
  });

  test('news hastens a look, but not within the gap after the last one, and never for what is known', async () => {
    const facts = await addKey(at.ledger, { cap: 1_000 });
    const { objectId } = await send(facts, 200, null, 60_000);
    const hint = (id: string) => at.ledger.submit((rows, now) => hasten(rows, now, id, 5_000));
    expect(await look(objectId)).toBeUndefined();
    expect(await hint(objectId)).toBe(true);
    expect(await look(objectId)).toBeDefined();
    await hint(objectId);
    expect(await look(objectId)).toBeUndefined();
    await price(objectId, 100);
    expect(await hint(objectId)).toBe(false);
    expect(await hint('stripe/SM_unknown')).toBe(false);
  });

  const news = fc.record({
    of: fc.nat(2),
    showing: fc.nat(3),
    by: fc.constantFrom('look' as const, 'look' as const, 'client' as const),
  });
  const message = fc.record({
    quote: fc.integer({ min: 0, max: 50 }),
    price: fc.integer({ min: 0, max: 60 }),
    end: fc.constantFrom('delivered' as const, 'undelivered' as const, 'canceled' as const),
  });

  test('whatever the order of late news, however often, the totals are those of the prices', () =>
    fc.assert(
      fc.asyncProperty(fc.array(message, { minLength: 3, maxLength: 3 }), fc.array(news), async (messages, order) => {
        const parent = await addKey(at.ledger, { cap: 1_000 });
        const facts = await addKey(at.ledger, { parent, daily: 1_000 });
        const sent = [];
        for (const one of messages) {
          const { quote, end } = one;
          const known = end === 'canceled' ? 0 : one.price;
          const { callId, sid, objectId } = await send(facts, quote);
          sent.push({ callId, objectId, known, shown: showings(sid, end, end === 'canceled' ? null : known) });
        }
        const last = sent.map((_, of) => ({ of, showing: 3, by: 'look' as const }));
        for (const { of, showing, by } of [...order, ...last]) {
          const { objectId, shown } = sent[of]!;
          const value = valueOfMessage(shown[showing], TERMS);
          if (by === 'client') await read(facts, shown[showing]!);
          else if (value !== undefined) await price(objectId, value.valueMicros);
        }
        const total = sent.reduce((sum, { known }) => sum + known, 0);
        const day = `day:${facts.keyId}:${utcDay(Date.now())}`;
        for (const id of [...facts.budgets, day]) expect(await settledOn(id)).toBe(total);
        for (const { callId, known } of sent) expect(await costOf(callId)).toBe(known);
      }),
      { numRuns: 60 },
    ));
});
