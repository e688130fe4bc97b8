/** Reads the spend from the proxy while a run is open, ever more seldom, so that a long run's history stays short. */
import { callActivity, CONTROL, controlId } from './calls';
import type { RunKey } from './key';
import { limitsOf, type LimitedPlan } from '../activities/contract/limits';
import { ACTIVITIES } from '../activities/contract/plan';
import type { Run } from './run';
import { until } from './waiting';

/** A gap of a thirtieth of the run's age: about 160 readings in 4 hours, 220 in a day. */
const AGE_PART = 30;

/** Polls until the run winds up. A reading that fails is left out: the next one tells. */
export function watchSpend(run: Run, plan: LimitedPlan): void {
  poll(run, plan).catch(() => undefined);
}

async function poll(run: Run, plan: LimitedPlan): Promise<void> {
  const startedAt = Date.now();
  const firstGapMs = limitsOf(plan).spendPollMs;
  for (;;) {
    const gapMs = Math.max(firstGapMs, (Date.now() - startedAt) / AGE_PART);
    if (await until(() => run.ending, Math.round(gapMs))) return;
    const { key } = run;
    if (key === undefined) return;
    const spend = await readSpend(run, key);
    if (spend !== undefined && !run.ending) run.learn(spend, key.id);
  }
}

async function readSpend(run: Run, key: RunKey) {
  try {
    return await run.work.run(() =>
      callActivity(
        ACTIVITIES.spend,
        { keyId: key.id, jobId: key.jobId },
        {
          ...CONTROL,
          activityId: controlId('spend'),
          summary: 'spend so far',
          startToCloseTimeout: 20_000,
          scheduleToCloseTimeout: 60_000,
          retry: { maximumAttempts: 2 },
        },
      ),
    );
  } catch {
    return undefined;
  }
}
