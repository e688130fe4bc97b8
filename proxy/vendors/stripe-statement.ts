/**
 * What Stripe says of its objects. All money that payments move is in charges, also that of PaymentIntents. A refund
 * changes neither a PaymentIntent nor what its charge has captured: only the charge's `amount_refunded` tells of it.
 */
import { encodeForm } from '../form';
import { at } from '../json';
import type { Listed, Listing, ObjectRead, Statement } from './statement';
import { chargeValue, idOf, objectOf, paymentIntentValue, refundValue } from './stripe-value';
import { invoiceValue, sessionValue, valueOf } from './stripe-value-out';
import type { PricingTerms, Route, Valuation } from './vendor';

type ValueOf = (status: number, answer: unknown, terms: PricingTerms) => Valuation | undefined;

interface Kind {
  readonly id: RegExp;
  readonly list: string;
  readonly value: ValueOf;
  /** Payments: the filter of the list of refunds. */
  readonly refundsBy?: 'payment_intent' | 'charge';
}

// prettier-ignore
const KINDS: readonly Kind[] = [
  { id: /^pi_/,        list: '/v1/payment_intents',             value: paymentIntentValue, refundsBy: 'payment_intent' },
  { id: /^(?:ch|py)_/, list: '/v1/charges',                     value: chargeValue,        refundsBy: 'charge' },
  { id: /^(?:re|pyr)_/, list: '/v1/refunds',                    value: refundValue },
  { id: /^tr_/,        list: '/v1/transfers',                   value: plain(valueOf('transfer')) },
  { id: /^po_/,        list: '/v1/payouts',                     value: plain(valueOf('payout')) },
  { id: /^tu_/,        list: '/v1/topups',                      value: plain(valueOf('topup')) },
  { id: /^in_/,        list: '/v1/invoices',                    value: plain(invoiceValue) },
  { id: /^cs_/,        list: '/v1/checkout/sessions',           value: plain(sessionValue) },
  { id: /^cn_/,        list: '/v1/credit_notes',                value: plain(valueOf('creditNote')) },
  { id: /^credgr_/,    list: '/v1/billing/credit_grants',       value: plain(valueOf('creditGrant')) },
];

export const stripeStatement: Statement = {
  of(objectId) {
    const kind = KINDS.find(({ id }) => id.test(objectId));
    return kind && objectRead(kind, objectId);
  },
  made: (fromMs, toMs) =>
    listing(
      '/v1/charges',
      [
        ['created[gte]', String(Math.floor(fromMs / 1_000))],
        ['created[lte]', String(Math.ceil(toMs / 1_000))],
      ],
      chargeValue,
    ),
};

function objectRead({ list, value, refundsBy }: Kind, id: string): ObjectRead {
  const path = `${list}/${id}`;
  const read = {
    path,
    value: (answer: unknown, terms: PricingTerms) => value(200, answer, terms),
    untold: 'its amount is not understood, or there is no rate for its currency',
  };
  if (refundsBy === undefined) return read;
  const back = (answer: unknown): Listing | undefined =>
    mayBeRefunded(answer) ? listing('/v1/refunds', [[refundsBy, id]], refundValue) : undefined;
  if (refundsBy === 'charge') return { ...read, back };
  return { ...read, back, path: `${path}?${encodeForm([['expand[]', 'latest_charge']])}`, olderPath: path };
}

/** True also where the charge is not in the answer: API versions before 2022-11-15 have no `latest_charge`. */
function mayBeRefunded(payment: unknown): boolean {
  const latest = at(payment, ['object']) === 'charge' ? payment : at(payment, ['latest_charge']);
  if (latest === null) return false;
  return at(latest, ['amount_refunded']) !== 0;
}

const PAGE = 100;

function listing(list: string, filter: readonly (readonly [string, string])[], value: ValueOf): Listing {
  const pathAfter = (last?: string) => {
    const after = last === undefined ? [] : ([['starting_after', last]] as const);
    return `${list}?${encodeForm([...filter, ['limit', String(PAGE)], ...after])}`;
  };
  return {
    path: pathAfter(),
    page(answer, terms) {
      const data = at(answer, ['data']);
      if (!Array.isArray(data)) return undefined;
      const items = data.flatMap((object: unknown) => listed(object, value(200, object, terms)));
      const last = idOf(objectOf(data.at(-1)), '');
      return at(answer, ['has_more']) === true && last !== undefined ? { items, next: pathAfter(last) } : { items };
    },
  };
}

function listed(object: unknown, value: Valuation | undefined): Listed[] {
  const id = idOf(objectOf(object), '');
  if (id === undefined) return [];
  const payment = at(object, ['object']) === 'charge' ? at(object, ['payment_intent']) : undefined;
  const objectId = value?.objectId ?? (typeof payment === 'string' ? payment : id);
  const madeMs = Number(at(object, ['created'])) * 1_000;
  return [{ objectId, vendorId: id, valueMicros: value?.valueMicros ?? null, madeMs }];
}

/** As a route's value that needs to know nothing of the call. */
function plain(value: Route['value']): ValueOf {
  return (status, answer, terms) => value(status, answer, terms, NO_CALL);
}

const NO_CALL = {
  request: { method: 'GET', path: '', query: [], body: [], headers: {} },
  quoteMicros: 0,
};
