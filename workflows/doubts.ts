/** Records that were scheduled and left no outcome: the ledger knows what became of them. */
import { log } from '@temporalio/workflow';
import { callActivity, CONTROL, controlId, HEARTBEAT_MS } from './calls';
import type { LimitedPlan } from '../activities/contract/limits';
import { ACTIVITIES, type Outcome, type RecordRef, type ShardRange } from '../activities/contract/plan';
import type { Doubt } from './units';

const REFS_PER_LOOK_UP = 100;

/** Looks the records up by id and counts what is found. What cannot be looked up is unknown. */
export async function lookUpDoubts(
  plan: LimitedPlan,
  keyId: string,
  doubts: readonly Doubt[],
  counts: Record<Outcome, number>,
): Promise<void> {
  for (const question of questionsOf(doubts)) {
    const found = await ask(plan, keyId, question);
    for (const [outcome, count] of Object.entries(found)) {
      // Without a call row, the activity's own word counts.
      counts[outcome === 'not_started' ? question.otherwise : (outcome as Outcome)] += count;
    }
  }
}

type Question = Pick<Doubt, 'otherwise' | 'told'> &
  (
    | { readonly refs: readonly RecordRef[]; readonly range?: never }
    | { readonly range: ShardRange; readonly refs?: never }
  );

function questionsOf(doubts: readonly Doubt[]): Question[] {
  const ranges = doubts.flatMap(({ range, refs: _refs, ...doubt }) =>
    range === undefined ? [] : [{ ...doubt, range }],
  );
  const byAnswer = (['not_started', 'failed', 'unknown'] as const).flatMap((otherwise) => {
    const refs = doubts.filter((doubt) => doubt.otherwise === otherwise).flatMap((doubt) => doubt.refs ?? []);
    return Array.from({ length: Math.ceil(refs.length / REFS_PER_LOOK_UP) }, (_, part) => ({
      refs: refs.slice(part * REFS_PER_LOOK_UP, (part + 1) * REFS_PER_LOOK_UP),
      otherwise,
    }));
  });
  return [...ranges, ...byAnswer];
}

async function ask(
  plan: LimitedPlan,
  keyId: string,
  { refs, range, told }: Question,
): Promise<Partial<Record<Outcome, number>>> {
  const { jobId, recordId, source } = plan;
  const records = refs?.length ?? range?.records ?? 0;
  const start = refs?.[0]?.offset ?? range?.start ?? 0;
  const input = {
    keyId,
    jobId,
    recordId,
    source: refs !== undefined && source.kind === 'inline' ? { kind: 'inline' as const, records: [] } : source,
    ...(refs === undefined ? {} : { refs: refs.map(({ record: _record, ...ref }) => ref) }),
    ...(range === undefined ? {} : { range }),
  };
  try {
    return await callActivity(ACTIVITIES.lookUp, input, {
      ...CONTROL,
      startToCloseTimeout: 10 * 60_000,
      scheduleToCloseTimeout: 20 * 60_000,
      heartbeatTimeout: HEARTBEAT_MS,
      activityId: controlId('lookUp', start),
      summary: `what became of ${records} records`,
    });
  } catch (error) {
    log.error('Records could not be looked up: they are reported as unknown', { records, error: String(error) });
    return told ?? { unknown: records };
  }
}
