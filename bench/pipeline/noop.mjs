/** What Temporal itself costs: the same window of activities that do nothing. Runs in the workflow sandbox. */
import { proxyActivities } from '@temporalio/workflow';

const { nothing } = proxyActivities({ startToCloseTimeout: '1 minute' });

export async function noops(records, window) {
  let next = 0;
  const lane = async () => {
    while (next < records) {
      next += 1;
      await nothing(next);
    }
  };
  await Promise.all(Array.from({ length: window }, lane));
}
