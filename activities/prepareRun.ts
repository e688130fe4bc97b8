/** `keybrake.prepare`: the raw input becomes a plan, or a failure that names every wrong field. */
import type { Limits, LimitedPlan } from './contract/limits';
import type { Plan } from './contract/plan';
import type { VendorView } from '../proxy/endpoints';
import { beating } from './beat';
import { parseInput } from './input';
import type { Runtime } from './runtime';
import { prepare, readChunks, type SourceEnv } from './sources';
import type { PrepareInput } from './types';

export async function prepareRun(runtime: Runtime, { input, facts }: PrepareInput): Promise<LimitedPlan> {
  const { env, limits } = runtime;
  const plan = await beating(async () => prepare(input, facts, env, await vendorsFor(runtime, { input, facts })));
  return limits === undefined ? plan : { ...(await recut(plan, limits, env)), limits };
}

/** The proxy's vendors. What is wrong whatever they are is told also while the proxy does not answer. */
async function vendorsFor({ client }: Runtime, { input, facts }: PrepareInput): Promise<readonly VendorView[]> {
  try {
    return await client.listVendors();
  } catch (error) {
    parseInput(input, facts);
    throw error;
  }
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
