/** Your own workflow, with a vault key around the part that spends money. */
import { proxyActivities } from '@temporalio/workflow';
import { withVaultKey } from '../../workflows'; // 'keybrake-temporal/workflows'
import type * as activities from './activities';

export * from '../../workflows'; // pipelineRun beside your own workflows

const { chargeCustomer, textCustomer, mailCustomer } = proxyActivities<typeof activities>({
  startToCloseTimeout: '2 minutes',
});

/** Charges every customer, ten at a time, for at most $50 together. */
export async function monthlyBilling(customers: readonly activities.Customer[]): Promise<string[]> {
  return withVaultKey(
    {
      vendor: 'stripe',
      usdCap: 50,
      allowedEndpoints: ['POST /v1/payment_intents'],
      ttl: '1h',
      label: 'billing/embedded',
    },
    async () => {
      const charged: string[] = [];
      for (let i = 0; i < customers.length; i += 10) {
        charged.push(...(await Promise.all(customers.slice(i, i + 10).map((customer) => chargeCustomer(customer)))));
      }
      return charged;
    },
  );
}

export interface Shipped {
  readonly id: string;
  readonly phone: string;
  readonly mail: string;
}

/** A key is for one vendor: texts for at most $2, then e-mails for at most $1. */
export async function tellOfShipping(orders: readonly Shipped[]): Promise<void> {
  const terms = { ttl: '1h', label: 'shipping' };
  const texts = ['POST /2010-04-01/Accounts/:AccountSid/Messages.json'];
  await withVaultKey({ vendor: 'twilio', usdCap: 2, allowedEndpoints: texts, ...terms }, async () => {
    for (const { id, phone } of orders) await textCustomer(id, phone);
  });
  await withVaultKey({ vendor: 'resend', usdCap: 1, allowedEndpoints: ['POST /emails'], ...terms }, async () => {
    for (const { id, mail } of orders) await mailCustomer(id, mail);
  });
}
