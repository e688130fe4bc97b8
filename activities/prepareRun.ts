/** `keybrake.prepare`: the raw input becomes a plan, or a failure that names every wrong field. */
import type { Limits, LimitedPlan } from './contract/limits';
import type { Plan } from './contract/plan';
import { beating } from './beat';
import type { Runtime } from './runtime';
import { prepare, readChunks, type SourceEnv } from './sources';
import type { PrepareInput } from './types';

export async function prepareRun({ env, limits }: Runtime, { input, facts }: PrepareInput): Promise<LimitedPlan> {
  const plan = await beating(() => prepare(input, facts, env));
  return limits === undefined ? plan : { ...(await recut(plan, limits, env)), limits };
}

/** The plan in shards of another size. */
async function recut(plan: Plan, { recordsPerShard }: Partial<Limits>, env: SourceEnv): Promise<Plan> {
  const { source } = plan;
  const [first] = plan.shards;
  if (recordsPerShard == null || first === undefined || source.kind === 'activity') return plan;
  const end = plan.shards.at(-1)?.end ?? first.end;
  const range = { limit: Number.MAX_SAFE_INTEGER, end, recordsPerChunk: recordsPerShard };
  const { chunks } = await readChunks(source, { offset: first.start, line: first.firstLine }, range, env);
  return { ...plan, shards: chunks };
}
