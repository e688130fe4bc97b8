/** Your own workflow, with a vault key around the part that spends money. */
import { proxyActivities } from '@temporalio/workflow';
import { withVaultKey } from '../../workflows'; // 'keybrake-temporal/workflows'
import type * as activities from './activities';

export * from '../../workflows'; // pipelineRun beside your own workflows

const { chargeCustomer } = proxyActivities<typeof activities>({ startToCloseTimeout: '2 minutes' });

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
