/** Who pays what of a payment when keys say different dollars for its currency: a model that counts in that currency. */
import fc from 'fast-check';
import { countedIn, revalue, takeOver } from '../proxy/ledger/spend';
import type { Share } from '../proxy/stores/tables';
import { toMicros } from '../proxy/vendors/stripe-currency';

const payerOf = (key: string) => ({ key, budgets: [`key:${key}`] });
const rates = fc.array(fc.integer({ min: 2_000, max: 50_000 }), { minLength: 1, maxLength: 3 });
const step = fc.record({ by: fc.nat(2), minor: fc.nat(100_000), takesOver: fc.nat(3).map((chance) => chance === 0) });

test('each key pays its part of the currency at its own rate, whoever raises and lowers the payment', () => {
  fc.assert(
    fc.property(rates, fc.array(step, { maxLength: 12 }), (tenThousandths, steps) => {
      const rate = tenThousandths.map((number) => number / 10_000);
      let shares: readonly Share[] = [];
      let model: { by: number; minor: number }[] = [];
      const settled = new Map<string, number>();
      for (const { by: any, minor, takesOver } of steps) {
        const by = any % rate.length;
        const value = toMicros(minor, 'eur', { fx: { eur: rate[by]! } })!;
        const rateOf = (key: string) => rate[by]! / rate[Number(key)]!;
        const payer = payerOf(String(by));
        const change = takesOver ? takeOver(shares, payer, value) : revalue(shares, payer, value, rateOf);
        shares = change.shares;
        for (const [id, micros] of change.changes) settled.set(id, (settled.get(id) ?? 0) + micros);
        model = takesOver ? [{ by, minor }] : modelled(model, by, minor);
        expect(change.value).toBe(shares.reduce((sum, { micros }) => sum + micros, 0));
        if (!takesOver && minor > 0) expect(Math.abs(countedIn(shares, rateOf) - value)).toBeLessThanOrEqual(60);
      }
      rate.forEach((dollars, key) => {
        const parts = model.filter(({ by }) => by === key).reduce((sum, { minor }) => sum + minor, 0);
        // Each step rounds by a few millionths of a dollar.
        expect(Math.abs((settled.get(`key:${key}`) ?? 0) - parts * dollars * 10_000)).toBeLessThanOrEqual(400);
      });
    }),
  );
});

function modelled(before: { by: number; minor: number }[], by: number, minor: number) {
  let fall = before.reduce((sum, part) => sum + part.minor, 0) - minor;
  if (fall < 0) return [...before, { by, minor: -fall }];
  const after: { by: number; minor: number }[] = [];
  for (const part of before.toReversed()) {
    const back = Math.min(part.minor, fall);
    fall -= back;
    if (part.minor > back) after.unshift({ ...part, minor: part.minor - back });
  }
  return after;
}

test.each([1e-12, 1e-7, 0.001, 1, 1e6])(
  'a key that says %d dollars for a euro gives nothing of another’s back',
  (eur) => {
    const paid = toMicros(10_000, 'eur', { fx: { eur: 1.2 } })!;
    const shares = [{ ...payerOf('a'), micros: paid }];
    const { changes } = revalue(shares, payerOf('b'), toMicros(10_000, 'eur', { fx: { eur } })!, () => eur / 1.2);
    expect(changes.get('key:a') ?? 0).toBe(0);
  },
);
