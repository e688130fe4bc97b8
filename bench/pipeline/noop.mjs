/**
 * What Temporal itself costs: the same window of activities that do nothing, as the SDK schedules them by default, and
 * with the options that a paid call needs. Runs in the workflow sandbox.
 */
import { proxyActivities, scheduleActivity } from '@temporalio/workflow';
import { SAFE, vendorCall } from '../../lib/workflows/calls.js';

const TTL_MS = 3_600_000;
const paid = { ...SAFE, ...vendorCall(TTL_MS), summary: 'POST /v1/payment_intents' };
const byDefault = proxyActivities({ startToCloseTimeout: '1 minute' });

const CALLS = {
  default: (record) => byDefault.nothing(record),
  paid: (record) => scheduleActivity('nothing', [record], { ...paid, activityId: `cus_${record}` }),
};

export async function noops(records, window, kind) {
  let next = 0;
  const lane = async () => {
    while (next < records) {
      next += 1;
      await CALLS[kind](next);
    }
  };
  await Promise.all(Array.from({ length: window }, lane));
}
