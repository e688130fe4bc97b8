/** What Stripe calls cost that pay out, or give credit: the amount and currency are in the request (VENDORS 2.3). */
import { valueIfAny } from '../form';
import { requestedMicros } from './stripe-currency';
import {
  amountMicros,
  currencyIn,
  idIn,
  nestedValue,
  type PriceOf,
  refuseUnknownCosts,
  takeOver,
  unpriceable,
  wholeText,
} from './stripe-fields';
import type { Price } from './vendor';

/** Transfers, payouts, top-ups and Treasury's payments. A transfer without an amount moves whatever there is. */
export const payOut: PriceOf = (body, _ids, terms) => {
  refuseUnknownCosts(body, ['amount', 'currency']);
  return out(amountMicros(body, terms));
};

const SIGNED_NUMBER = /^-?[1-9][0-9]{0,11}$/;

/** POST /v1/customers/:id/balance_transactions: below zero it gives credit, above it takes some away. */
export const adjustBalance: PriceOf = (body, _ids, terms) => {
  refuseUnknownCosts(body, ['amount', 'currency']);
  const text = valueIfAny(body, 'amount') ?? '';
  if (!SIGNED_NUMBER.test(text)) throw unpriceable('amount', 'Field "amount" must be a whole number, 1 to 12 digits.');
  return out(requestedMicros(Math.abs(Number(text)), currencyIn(body), terms, 'amount'));
};

const GRANT_PARTS = ['amount[type]', 'amount[monetary][value]', 'amount[monetary][currency]'];

/** POST /v1/billing/credit_grants: money only, not custom pricing units. */
export const grantCredit: PriceOf = (body, _ids, terms) => {
  refuseUnknownCosts(body, ['amount']);
  if (nestedValue(body, 'amount[type]', GRANT_PARTS) !== 'monetary') {
    throw unpriceable('amount', 'Field "amount[type]" must be monetary.');
  }
  const value = nestedValue(body, 'amount[monetary][value]', GRANT_PARTS);
  const currency = nestedValue(body, 'amount[monetary][currency]', GRANT_PARTS);
  return out(requestedMicros(wholeText(value, 'amount'), currency, terms, 'amount'));
};

const V2_PARTS = ['amount[value]', 'amount[currency]'];

/** POST /v2/money_management/…: `{"amount":{"value":500,"currency":"usd"}}`. */
export const payOutV2: PriceOf = (body, _ids, terms) => {
  refuseUnknownCosts(body, ['amount']);
  const value = nestedValue(body, 'amount[value]', V2_PARTS);
  const currency = nestedValue(body, 'amount[currency]', V2_PARTS);
  return out(requestedMicros(wholeText(value, 'amount'), currency, terms, 'amount'));
};

/** POST /v2/money_management/payout_intents/:id/confirm: the whole, also of one that was made elsewhere. */
export const confirmPayoutIntent: PriceOf = (body, ids) => {
  refuseUnknownCosts(body, []);
  const objectId = idIn(ids);
  return { ...takeOver(objectId, undefined), lookupPath: `/v2/money_management/payout_intents/${objectId}` };
};

function out(micros: number): Price {
  return { kind: 'fixed', micros, out: true };
}
