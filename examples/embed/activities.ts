/** Your own activity: the official Stripe SDK, bound to this run's vault key and to this customer's record. */
import { vault } from '../../activities'; // 'keybrake-temporal/activities'

export interface Customer {
  readonly id: string;
  readonly amountCents: number;
}

/** Charges one customer. However often Temporal retries it, the customer is charged once per job. */
export async function chargeCustomer({ id, amountCents }: Customer): Promise<string> {
  const { stripe } = vault(id);
  const intent = await stripe.paymentIntents.create({
    amount: amountCents,
    currency: 'usd',
    customer: id,
    confirm: true,
  });
  return intent.id;
}
