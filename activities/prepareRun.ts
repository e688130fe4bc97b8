/** `keybrake.prepare`: the raw input becomes a plan, or a failure that names every wrong field. */
import { CARRIED_BYTES_MAX, type Limits, LIMITS, type LimitedPlan } from './contract/limits';
import type { Plan } from './contract/plan';
import type { VendorView } from '../proxy/endpoints';
import { beating } from './beat';
import { parseInput } from './input';
import { invalidInput } from './inputIssues';
import type { Runtime } from './runtime';
import { prepare, readChunks, type SourceEnv } from './sources';
import type { PrepareInput } from './types';

export async function prepareRun(runtime: Runtime, { input, facts }: PrepareInput): Promise<LimitedPlan> {
  const { env, limits: given = {} } = runtime;
  const plan = await beating(async () => prepare(input, facts, env, await vendorsFor(runtime, { input, facts })));
  checkSize(plan);
  const limits = { ...given, ...limitsForCall(plan, given) };
  if (Object.keys(limits).length === 0) return withFewerShards(plan);
  return { ...withFewerShards(await recut(plan, limits, env), limits), limits };
}

/** The plan, or its call, is carried in many an activity's input. */
function checkSize(plan: Plan): void {
  const bytes = Buffer.byteLength(JSON.stringify(plan));
  if (bytes <= CARRIED_BYTES_MAX) return;
  const message = `is too large: ${bytes} bytes with all its defaults, and at most ${CARRIED_BYTES_MAX} fit into a history`;
  throw invalidInput([{ path: '', message }]);
}

/**
 * Every call and every shard carries the call's parameters into a history: with an e-mail's whole text among them, fewer
 * fit. Empty where they fit as they are.
 */
export function limitsForCall({ call, source, recordId }: Plan, given: Partial<Limits> = {}): Partial<Limits> {
  const limits = { ...LIMITS, ...given };
  const pointer = source.kind === 'inline' ? {} : source;
  const bytes = Buffer.byteLength(JSON.stringify({ call, source: pointer, recordId })) + UNIT_BYTES;
  const units = Math.max(1, Math.floor(limits.historyBytes / bytes));
  const most = {
    unitsPerPage: units,
    activitiesInRoot: units,
    unitsPerShardRun: units,
    // They start in one workflow task.
    shardsRunning: Math.max(1, Math.floor(limits.bytesPerTask / bytes)),
  };
  return Object.fromEntries(Object.entries(most).filter(([name, max]) => max < limits[name as keyof typeof most]));
}

/**
 * Every shard carries the plan into the root's history, which does not continue as new: Temporal ends it at 50 MB. So of a
 * large plan neighbours are joined.
 */
export function withFewerShards(plan: Plan, given: Partial<Limits> = {}): Plan {
  const { historyBytes } = { ...LIMITS, ...given };
  const { shards, source } = plan;
  const carried = { ...plan, shards: [], source: source.kind === 'inline' ? {} : source };
  const most = Math.max(1, Math.floor((2 * historyBytes) / (Buffer.byteLength(JSON.stringify(carried)) + UNIT_BYTES)));
  const each = Math.ceil(shards.length / most);
  if (each <= 1) return plan;
  const joined = shards.flatMap((first, index) => {
    if (index % each > 0) return [];
    const part = shards.slice(index, index + each);
    const records = part.reduce((sum, shard) => sum + shard.records, 0);
    return [{ ...first, index: index / each, end: part.at(-1)?.end ?? first.end, records }];
  });
  return { ...plan, shards: joined };
}

/** What a call and its answer bring into the history beside the call's parameters. */
const UNIT_BYTES = 1_000;

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
