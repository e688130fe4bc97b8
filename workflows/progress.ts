/** Reads the spend from the proxy while a run is open, ever more seldom, so that a long run's history stays short. */
import { callActivity, CONTROL, controlId } from './calls';
import { untilNextDay } from './day';
import type { RunKey } from './key';
import { limitsOf, type LimitedPlan } from '../activities/contract/limits';
import { ACTIVITIES } from '../activities/contract/plan';
import type { Run, Wait } from './run';
import { until } from './waiting';

/** A gap of a thirtieth of the run's age, or of its wait at a cap: about 160 readings in 4 hours, 220 in a day. */
const AGE_PART = 30;
/** The proxy's clock, by which a day ends, may be behind the workflow's. */
const CLOCK_MARGIN_MS = 2_000;

/** Polls until the run winds up. A reading that fails is left out: the next one tells. */
export function watchSpend(run: Run, plan: LimitedPlan): void {
  poll(run, plan).catch(() => undefined);
}

async function poll(run: Run, plan: LimitedPlan): Promise<void> {
  const startedAt = Date.now();
  const firstGapMs = limitsOf(plan).spendPollMs;
  let asked: Wait | undefined;
  for (;;) {
    const gapMs = Math.max(firstGapMs, (Date.now() - (run.wait?.since ?? startedAt)) / AGE_PART);
    const untilFreeMs = run.wait === undefined ? gapMs : Math.max(firstGapMs, untilNextDay() + CLOCK_MARGIN_MS);
    // At a cap the proxy is asked at once which one is spent: until that was heard, nothing tells that it is free again.
    const anew = (): boolean => run.wait !== undefined && run.wait !== asked;
    await until(() => run.ending || anew(), Math.round(Math.min(gapMs, untilFreeMs)));
    const { key } = run;
    if (run.ending || key === undefined) return;
    asked = run.wait;
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
