/** `keybrake.prepare`: the raw input becomes a plan, or a failure that names every wrong field. */
import { heartbeat } from '@temporalio/activity';
import type { LimitedPlan } from '../workflows/limits';
import type { Runtime } from './runtime';
import { prepare } from './sources';
import type { PrepareInput } from './types';

const BEAT_MS = 5_000;

export async function prepareRun({ env, limits }: Runtime, { input, facts }: PrepareInput): Promise<LimitedPlan> {
  const beat = setInterval(() => heartbeat(), BEAT_MS);
  try {
    const plan = await prepare(input, facts, env);
    return limits === undefined ? plan : { ...plan, limits };
  } finally {
    clearInterval(beat);
  }
}
