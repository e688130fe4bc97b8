/**
 * What the window sends: one record, one chunk of records, or one record of the user's own activity. Each unit knows
 * its activity id, how it is called, and how it is looked up when its outcome was lost.
 */
import { type ActivityOptions, ApplicationFailure, patched, proxyActivities } from '@temporalio/workflow';
import type { CallChunkInput, CallInput, CallRecordOutput, ChunkProgress, Counts } from '../activities/types';
import { bytesOf, callActivity, chunkCall, controlId, ownCall, vendorCall } from './calls';
import { runWithVault } from './context';
import type { RecordPointer } from '../activities/contract/headers';
import {
  ACTIVITIES,
  OUTCOMES,
  type Plan,
  type RecordRef,
  type ShardRange,
  type StopCode,
} from '../activities/contract/plan';

/** Records whose outcome must be read from the ledger. */
export interface Doubt {
  readonly refs?: readonly RecordRef[];
  readonly range?: ShardRange;
  /** What those came to that have no call in the ledger. */
  readonly otherwise: 'not_started' | 'failed' | 'unknown';
  /** What counts when the ledger cannot be asked; absent: they are unknown. */
  readonly told?: Counts;
}

export interface UnitResult {
  readonly counts: Counts;
  readonly stop?: StopCode;
  /** Set with `stop`: what remains to be sent, and the counts and doubts of what does not. */
  readonly rest?: { readonly unit: Unit; readonly counts: Counts; readonly doubts: readonly Doubt[] };
  readonly doubts?: readonly Doubt[];
}

export interface Unit {
  readonly activityId: string;
  /** About the bytes of its input. */
  readonly bytes: number;
  /** Undefined: it has no valid record id, so it fails without a call. */
  readonly call?: (keyId: string) => Promise<UnitResult>;
  /** For when the call's activity ended without an answer. */
  readonly lost: Doubt;
}

export interface UnitMaker {
  record(ref: RecordRef): Unit;
  /** `refs` where the source is no file. */
  chunk(range: ShardRange, refs?: readonly RecordRef[]): Unit;
}

/** Histories from before it end without a look-up of what is unknown in chunks. */
const CHUNK_DOUBTS = 'keybrake.chunk-doubts';

/** Is this run one that looks up at its end what its chunks left unknown? Its first answer holds for the whole run. */
export function looksUpChunks(): boolean {
  return patched(CHUNK_DOUBTS);
}

/** A run from before took the letters of a text for its bytes, of which one may have three. */
const TEXT_BYTES = 'keybrake.text-bytes';

/** Does this run reckon the sizes of its units in bytes? Its first answer holds for the whole run. */
export function sizesInBytes(): boolean {
  return patched(TEXT_BYTES);
}

interface UnitOptions {
  /** Records in flight inside a chunk. */
  readonly inside: number;
  /** As {@link sizesInBytes} answered: the sizes decide which units share a workflow task. */
  readonly inBytes: boolean;
  /** As {@link looksUpChunks} answered. */
  readonly namesUnknown: boolean;
}

/** Makes the units of a plan. */
export function unitMaker(plan: Plan, { inside, inBytes, namesUnknown }: UnitOptions): UnitMaker {
  const { call } = plan;
  const sizeOf = inBytes ? bytesOf : lettersOf;
  const sizeOfRef = ({ record }: RecordRef): number => (record === undefined ? 100 : sizeOf(record) + 100);
  const base = { jobId: plan.jobId, source: sourceOf(plan.source), recordId: plan.recordId, retry: plan.retry };
  const bytes = sizeOf({ ...base, call }) + 300;
  if (call.kind === 'endpoint') {
    const input = { ...base, call };
    const options = { ...vendorCall(plan.key.ttlMs), summary: `${call.method} ${call.path}` };
    return {
      record: (ref) => recordUnit(input, options, ref, bytes + sizeOfRef(ref)),
      chunk: (range, refs) =>
        chunkUnit(
          plan,
          { ...input, range, ...(refs && { refs }), concurrency: inside, namesUnknown },
          { bytes, sizeOfRef },
        ),
    };
  }
  const one = (ref: RecordRef) => ownUnit(plan, call.activity, { ...base, ref }, bytes + sizeOfRef(ref));
  return { record: one, chunk: (range) => one({ id: null, offset: range.start, length: 0, line: range.firstLine }) };
}

type CallBase = Omit<CallInput, 'keyId'>;

/** Of inline records, activities get the one that is in their ref. */
function sourceOf(source: Plan['source']): Plan['source'] {
  return source.kind === 'inline' ? { kind: 'inline', records: [] } : source;
}

type CallOptions = ActivityOptions & { readonly summary: string };

function recordUnit(input: CallBase, options: CallOptions, ref: RecordRef, bytes: number): Unit {
  const activityId = ref.activityId ?? ref.id ?? controlId('record', ref.offset);
  const unit: Unit = {
    activityId,
    bytes,
    lost: { refs: [ref], otherwise: 'not_started' },
    ...(ref.id !== null && {
      call: (keyId) =>
        callActivity(ACTIVITIES.callRecord, { ...input, keyId, ref }, { ...options, activityId }).then((answer) =>
          toResult(answer, ref, unit),
        ),
    }),
  };
  return unit;
}

function ownUnit(plan: Plan, activity: string, pointer: RecordPointer, bytes: number): Unit {
  const { ref } = pointer;
  const activityId = ref.activityId ?? ref.id ?? controlId('record', ref.offset);
  const options = { ...ownCall(plan.key.ttlMs), activityId, summary: `record of line ${ref.line}` };
  const unit: Unit = {
    activityId,
    bytes,
    lost: { refs: [ref], otherwise: 'failed' },
    ...(ref.id !== null && {
      call: (keyId) => {
        const header = { keyId, jobId: plan.jobId, record: pointer };
        return runWithVault({ header: () => header, inFlight: 0 }, async () => {
          const acts = proxyActivities({
            ...options,
            cancellationType: 'WAIT_CANCELLATION_COMPLETED',
            allowEagerDispatch: false,
          });
          // The worker's interceptor replaces the argument by the record, and the answer by its outcome.
          const answer: unknown = await acts[activity]?.({ id: ref.id, line: ref.line });
          return toResult(asOutcome(answer, activity), ref, unit);
        });
      },
    }),
  };
  return unit;
}

function asOutcome(answer: unknown, activity: string): CallRecordOutput {
  const outcome = (answer as Partial<CallRecordOutput> | null | undefined)?.outcome;
  if (outcome !== undefined && OUTCOMES.includes(outcome)) return answer as CallRecordOutput;
  throw ApplicationFailure.nonRetryable(
    `The worker that ran "${activity}" has no KeybrakePlugin: add new KeybrakePlugin() to its plugins.`,
    'keybrake.no_context',
  );
}

function toResult(answer: CallRecordOutput, ref: RecordRef, unit: Unit): UnitResult {
  // The proxy's reconciler may have learnt more by the end.
  const result: UnitResult =
    answer.outcome === 'unknown'
      ? { counts: {}, doubts: [{ refs: [ref], otherwise: 'unknown' }] }
      : { counts: { [answer.outcome]: 1 } };
  if (answer.stop === undefined) return result;
  return { ...result, stop: answer.stop, rest: { unit, counts: {}, doubts: [] } };
}

interface Sizes {
  /** Of what every unit holds. */
  readonly bytes: number;
  readonly sizeOfRef: (ref: RecordRef) => number;
}

function chunkUnit(plan: Plan, input: Omit<CallChunkInput, 'keyId'>, sizes: Sizes): Unit {
  const { range, refs, call } = input;
  const activityId = controlId('chunk', range.start);
  return {
    activityId,
    bytes: (refs ?? []).reduce((sum, ref) => sum + sizes.sizeOfRef(ref), sizes.bytes),
    lost: { ...(refs === undefined ? { range } : { refs }), otherwise: 'not_started' },
    call: async (keyId) => {
      const summary = `${call.method} ${call.path}, ${range.records} records from line ${range.firstLine}`;
      const options = { ...chunkCall(plan.key.ttlMs), activityId, summary };
      const answer = await callActivity(ACTIVITIES.callChunk, { ...input, keyId }, options);
      const { stop, progress, lost } = answer;
      const { counts, doubts } = withoutUnknown(answer);
      const all = lost === undefined ? doubts : [...doubts, { refs: lost, otherwise: 'not_started' as const }];
      if (stop === undefined) return { counts, doubts: all };
      const unit = chunkUnit(plan, { ...input, ...remainder(input, progress) }, sizes);
      return { counts, stop, rest: { unit, ...withoutUnknown(progress) }, doubts: all };
    },
  };
}

/** The proxy's reconciler may have learnt more by the end, as of a single record. */
function withoutUnknown({ counts, unknown = [] }: Pick<ChunkProgress, 'counts' | 'unknown'>): {
  readonly counts: Counts;
  readonly doubts: readonly Doubt[];
} {
  if (unknown.length === 0) return { counts, doubts: [] };
  // An attempt by a worker of the version before has counted some without naming them.
  const unnamed = Math.max(0, (counts.unknown ?? 0) - unknown.length);
  return { counts: { ...counts, unknown: unnamed }, doubts: [{ refs: unknown, otherwise: 'unknown' }] };
}

function remainder(
  { range, refs }: Pick<CallChunkInput, 'range' | 'refs'>,
  { offset, line, records }: ChunkProgress,
): Pick<CallChunkInput, 'range' | 'refs'> {
  const rest = { ...range, start: offset, firstLine: line, records: range.records - records };
  return { range: rest, ...(refs !== undefined && { refs: refs.slice(records) }) };
}

function lettersOf(value: object): number {
  return JSON.stringify(value).length;
}
