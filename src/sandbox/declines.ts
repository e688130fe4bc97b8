import { StripeFailure } from './errors';
import type { PaymentIntent } from './objects';

/** Why a card was declined. */
export interface Decline {
  readonly code: string;
  readonly decline_code: string;
  readonly message: string;
}

const GENERIC: Decline = {
  code: 'card_declined',
  decline_code: 'generic_decline',
  message: 'Your card was declined.',
};

/** The first pattern that is part of a declined token decides the reason; else it is generic. */
const REASONS: readonly (readonly [RegExp, Decline])[] = [
  [/insufficient/i, { ...GENERIC, decline_code: 'insufficient_funds', message: 'Your card has insufficient funds.' }],
  [/lost/i, { ...GENERIC, decline_code: 'lost_card' }],
  [/stolen/i, { ...GENERIC, decline_code: 'stolen_card' }],
  [/expired/i, { code: 'expired_card', decline_code: 'expired_card', message: 'Your card has expired.' }],
  [
    /cvc/i,
    { code: 'incorrect_cvc', decline_code: 'incorrect_cvc', message: "Your card's security code is incorrect." },
  ],
];

/** Why a charge with this payment method and customer is declined, or undefined. `forced` is an injected decline. */
export function declineOf(forced: boolean, method: string | null, customer: string | null): Decline | undefined {
  for (const token of [method, customer]) {
    if (token === null || !/decline/i.test(token)) continue;
    return REASONS.find(([pattern]) => pattern.test(token))?.[1] ?? GENERIC;
  }
  return forced ? GENERIC : undefined;
}

/** The 402 of a declined card; for a PaymentIntent the object is embedded. It is stored under the idempotency key. */
export function cardDeclined(decline: Decline, chargeId: string, intent?: PaymentIntent): StripeFailure {
  const embedded = intent === undefined ? {} : { payment_intent: intent };
  const doc_url = `https://stripe.com/docs/error-codes/${decline.code.replaceAll('_', '-')}`;
  return new StripeFailure(402, { ...decline, charge: chargeId, doc_url, ...embedded, type: 'card_error' }, true);
}
