/** Your own activities: the official SDKs, bound to this run's vault key and to this customer's record. */
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

/** Texts one customer. Twilio knows no idempotency keys; the proxy does, so a retry sends no second text. */
export async function textCustomer(id: string, phone: string): Promise<string> {
  const { twilio } = vault(id);
  const { sid } = await twilio.messages.create({ to: phone, from: '+15005550006', body: 'Your order is on its way.' });
  return sid;
}

/** Writes to one customer. What Resend says is in `error`, as ever; what the proxy refuses is thrown. */
export async function mailCustomer(id: string, mail: string): Promise<string> {
  const { resend } = vault(id);
  const { data, error } = await resend.emails.send({
    from: 'Shop <shop@example.com>',
    to: [mail],
    subject: 'Your order',
    text: 'It is on its way.',
  });
  if (error !== null) throw new Error(`${error.name}: ${error.message}`);
  return data.id;
}
