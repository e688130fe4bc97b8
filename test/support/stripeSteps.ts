/** Random steps on PaymentIntents, as calls to Stripe, and the most that each may need: VENDORS 2.2, not the code. */
import fc from 'fast-check';
import type { Faults, SandboxCharge } from '../../src/sandbox';

/** Of one minor unit. */
export const MICROS = { usd: 10_000, eur: 12_000, jpy: 6_800 };
export type Currency = keyof typeof MICROS;
export const FX = { eur: 1.2, jpy: 0.0068 };
const INTENTS = '/v1/payment_intents';
/** What happens between proxy and vendor at the first sending, and at the caller's retries with the same key. */
export const FAULTS = {
  none: [],
  dropBefore: [{ dropBefore: 1 }],
  dropAfter: [{ dropAfter: 1 }],
  error500Before: [{ error500Before: 1 }],
  error500After: [{ error500After: 1 }],
  dropTwice: [{ dropAfter: 1 }, { dropAfter: 1 }],
} as const satisfies Record<string, readonly Faults[]>;

/** In minor units. */
const amount = fc.integer({ min: 1, max: 1_500 });
/** Which of the intents that may be in the state for it; one of all, if `wild`. */
const which = { object: fc.nat(20), wild: fc.nat(5).map((chance) => chance === 0) };
/** Of the intent's amount; undefined: the step gives none. */
const percent = (max: number) => fc.integer({ min: 10, max });
const maybe = (max: number) => fc.option(percent(max), { nil: undefined, freq: 3 });
export const step = fc.record({
  /** Who acts, of the one or two keys; who repeats it after a fault, and who once more when it is done. */
  by: fc.nat(1),
  retriedBy: fc.nat(1),
  repeatedBy: fc.option(fc.nat(1), { nil: undefined, freq: 3 }),
  fault: fc.oneof(
    { weight: 3, arbitrary: fc.constant('none' as const) },
    { weight: 1, arbitrary: fc.constantFrom(...(Object.keys(FAULTS) as (keyof typeof FAULTS)[])) },
  ),
  act: fc.oneof(
    {
      weight: 4,
      arbitrary: fc.record({
        op: fc.constant('create' as const),
        amount,
        currency: fc.constantFrom<Currency>('usd', 'usd', 'eur', 'jpy'),
        confirm: fc.boolean(),
        manual: fc.boolean(),
        how: fc.constantFrom('pays', 'pays', 'pays', 'declines', 'asks the customer'),
        elsewhere: fc.nat(7).map((chance) => chance === 0),
      }),
    },
    { weight: 2, arbitrary: fc.record({ op: fc.constant('update' as const), ...which, percent: percent(300) }) },
    { weight: 3, arbitrary: fc.record({ op: fc.constant('confirm' as const), ...which, percent: maybe(600) }) },
    { weight: 3, arbitrary: fc.record({ op: fc.constant('capture' as const), ...which, percent: maybe(120) }) },
    {
      weight: 4,
      arbitrary: fc.record({
        op: fc.constant('increment' as const),
        ...which,
        percent: fc.integer({ min: 90, max: 250 }),
      }),
    },
    { weight: 1, arbitrary: fc.record({ op: fc.constant('cancel' as const), ...which }) },
    { weight: 2, arbitrary: fc.record({ op: fc.constant('refund' as const), ...which, percent: maybe(120) }) },
  ),
});
export type Step = typeof step extends fc.Arbitrary<infer T> ? T : never;
type Create = Extract<Step['act'], { op: 'create' }>;
export type Change = Exclude<Step['act'], Create>;
/** An act with its amount in minor units. */
export type Act = Create | { readonly op: Change['op']; readonly amount: number | undefined };

/** The states in which a vendor takes each change. */
export const STATES: Readonly<Record<Change['op'], RegExp>> = {
  update: /^requires_(?:payment_method|confirmation|action)$/,
  confirm: /^requires_(?:payment_method|confirmation|action)$/,
  capture: /^requires_capture$/,
  increment: /^requires_capture$/,
  cancel: /^requires_/,
  refund: /^succeeded$/,
};

export const world = fc.record({
  caps: fc.array(fc.integer({ min: 5, max: 60 }), { minLength: 1, maxLength: 2 }),
  latch: fc.boolean(),
  oneJob: fc.boolean(),
});

/** What the vendor's books say of it, in micro-dollars: V of VENDORS 2.2, and what was refunded. */
export interface Books {
  readonly row: SandboxCharge;
  readonly value: number;
  /** Of one minor unit of its currency. */
  readonly micros: number;
  readonly refunded: number;
}

/** The change with its amount. */
export function resolved(change: Change, books: Books): Act {
  const share = 'percent' in change ? change.percent : undefined;
  if (share === undefined) return { op: change.op, amount: undefined };
  return { op: change.op, amount: Math.max(1, Math.round((books.row.amount * share) / 100)) };
}

/** The most that a step can need beside what is spent already: what it asks for less what its payer pays of it. */
export function needs(act: Act, books: Books | undefined, own: number): number {
  if (act.op === 'create') return act.amount * MICROS[act.currency];
  if (books === undefined || act.op === 'cancel') return 0;
  const { row, value, micros } = books;
  switch (act.op) {
    case 'update':
    case 'increment':
      return Math.max(0, (act.amount ?? 0) * micros - value);
    case 'confirm':
    case 'capture':
      return Math.max(0, Math.max((act.amount ?? row.amount) * micros, value) - own);
    case 'refund':
    default:
      // Without an amount it is the rest; at most the whole payment is held for that.
      return act.amount === undefined ? Math.max(value, row.amount * micros) : act.amount * micros;
  }
}

/** The act as a call to Stripe. */
export function request(act: Act, intentId: string | undefined): { path: string; body: string } {
  const id = intentId ?? '';
  const form = (fields: Readonly<Record<string, string | number | undefined>>): string => {
    const given = new URLSearchParams();
    for (const [name, value] of Object.entries(fields)) if (value !== undefined) given.append(name, String(value));
    return given.toString();
  };
  switch (act.op) {
    case 'create': {
      const { amount: sum, currency, confirm, manual, how } = act;
      const customer = how === 'declines' ? 'cus_decline' : undefined;
      const method = how === 'asks the customer' ? 'pm_card_authenticationRequired' : undefined;
      const more = { confirm: String(confirm), capture_method: manual ? 'manual' : undefined };
      return { path: INTENTS, body: form({ amount: sum, currency, ...more, customer, payment_method: method }) };
    }
    case 'update':
      return { path: `${INTENTS}/${id}`, body: form({ amount: act.amount }) };
    case 'confirm':
      return { path: `${INTENTS}/${id}/confirm`, body: form({ amount_to_confirm: act.amount }) };
    case 'capture':
      return { path: `${INTENTS}/${id}/capture`, body: form({ amount_to_capture: act.amount }) };
    case 'increment':
      return { path: `${INTENTS}/${id}/increment_authorization`, body: form({ amount: act.amount }) };
    case 'cancel':
      return { path: `${INTENTS}/${id}/cancel`, body: '' };
    case 'refund':
    default:
      return { path: '/v1/refunds', body: form({ payment_intent: id, amount: act.amount }) };
  }
}
