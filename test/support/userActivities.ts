/** A user's own activities that call the vendor through `vault()`. */
import { vault } from '../../activities';

export function userActivities(seen: { keyIds: Set<string> }) {
  const pay = async (id: string, suffix?: string): Promise<string> => {
    const { stripe, keyId } = vault(id, suffix);
    seen.keyIds.add(keyId);
    const intent = await stripe.paymentIntents.create({
      amount: 1_000,
      currency: 'usd',
      customer: id,
      payment_method: 'pm_card_visa',
      confirm: true,
      // What differs, so that a repeated key without a suffix would be told.
      ...(suffix !== undefined && { metadata: { suffix } }),
    });
    return intent.id;
  };
  return {
    async charge(id: string, delayMs = 0): Promise<string> {
      if (delayMs > 0) await new Promise((resolve) => setTimeout(resolve, delayMs));
      return pay(id);
    },
    async swallow(id: string): Promise<string> {
      return pay(id).catch(() => 'swallowed');
    },
    async twoCalls(id: string): Promise<string[]> {
      return [await pay(id), await pay(id, 'second')];
    },
    async chargeByFetch(id: string): Promise<number> {
      const { fetch } = vault(id);
      const body = new URLSearchParams({
        amount: '1000',
        currency: 'usd',
        customer: id,
        payment_method: 'pm_card_visa',
        confirm: 'true',
      });
      const first = await fetch('/v1/payment_intents', { method: 'POST', body });
      const again = await fetch('https://api.stripe.com/v1/payment_intents', { method: 'POST', body });
      const refused = await fetch('/v1/refunds', { method: 'POST', body });
      if (again.headers.get('idempotent-replayed') !== 'true') throw new Error('executed twice');
      return first.status * 1_000 + refused.status;
    },
    async seesNoVault(id: string): Promise<string> {
      return vault(id).keyId;
    },
    async context(): Promise<string> {
      return pay(undefined as never);
    },
  };
}
