/**
 * What goes into the pack's activities and comes out: the contract between the workflows and the worker. Types only,
 * so that workflow code may import it. Carried in histories: change it only by adding optional fields.
 */
import type { KeyState, Spend } from '../proxy/contract';
import type { SourcePointer } from './contract/headers';
import type { LimitedPlan } from './contract/limits';
import type {
  OutcomeCounts,
  ACTIVITIES,
  Outcome,
  Plan,
  PlannedCall,
  RecordPage,
  RecordRef,
  RecordResult,
  ShardRange,
  StopCode,
} from './contract/plan';

/** The facts of the run that an input cannot know. */
export interface PrepareInput {
  readonly input: unknown;
  readonly facts: { readonly workflowId: string; readonly firstExecutionRunId: string; readonly cronSchedule?: string };
}

/** What a vault key is issued for. Durations are `"4h"` or seconds, caps dollars. */
export interface KeyRequest {
  readonly vendor: Plan['key']['vendor'];
  readonly usdCap?: number;
  readonly dailyUsdCap?: number;
  readonly allowedEndpoints: readonly string[];
  readonly ttl: string | number;
  readonly lease?: string | number;
  readonly label: string;
  readonly jobId: string;
  readonly account?: string;
  readonly maxUsdPerCall?: number;
  readonly parentKeyId?: string;
  readonly fx?: Readonly<Record<string, number>>;
  readonly metadata?: Readonly<Record<string, string>>;
}

export interface IssueInput {
  readonly request: KeyRequest;
  /** Names this key among all that were ever issued; the same over retries and resets. */
  readonly identity: string;
  /** The request's job id is made of the workflow's ids: it is hashed where those would not do for one. */
  readonly jobIdByDefault?: boolean;
  /** The key that died: a new one is issued only if a run before a reset had issued it. */
  readonly replaces?: { readonly keyId: string; readonly issuedIn: string };
}

export interface IssuedVault {
  readonly keyId: string;
  /** Absent in histories from before: the request's. */
  readonly jobId?: string;
  /** Run id of the workflow run that asked for it. */
  readonly issuedIn: string;
  /** The cap that binds it: the job's, where a former run of the job has set one. Null: a daily cap alone. */
  readonly capUsd: number | null;
  readonly leaseMs: number;
  /** ISO 8601. */
  readonly expiresAt: string;
  /** False: the key in `replaces` stays the run's, dead as it is. */
  readonly fresh: boolean;
}

export interface KeyInput {
  readonly keyId: string;
  readonly jobId: string;
}

export interface RevokeInput {
  readonly keyId: string;
  readonly reason: string;
}

export interface RaiseInput extends KeyInput {
  readonly usdCap: number;
}

/** State and spend of a key and of its job. */
export interface VaultSpend {
  readonly state: KeyState;
  readonly capUsd: number | null;
  readonly exhaustedBy: string | null;
  readonly revokeReason: string | null;
  readonly spend: Spend;
  readonly jobSpend: Spend | null;
}

export interface PageInput extends KeyInput {
  readonly source: SourcePointer;
  readonly recordId: string;
  readonly range: ShardRange;
  readonly position: Position;
  readonly limit: number;
  /** Above 1, the page holds chunks of so many records. */
  readonly recordsPerChunk: number;
}

/** Where reading goes on; `cursor` is the user's own reader's. */
export interface Position {
  readonly offset: number;
  readonly line: number;
  readonly cursor?: unknown;
}

export interface PageOutput {
  readonly refs: readonly RecordRef[];
  /** Instead of refs, where records go by the chunk. */
  readonly chunks?: readonly ShardRange[];
  readonly next: RecordPage['next'];
}

export interface CallInput extends KeyInput {
  readonly source: SourcePointer;
  /** Name of the record id's field. */
  readonly recordId: string;
  readonly call: Extract<PlannedCall, { kind: 'endpoint' }>;
  readonly retry: Plan['retry'];
}

export interface CallRecordInput extends CallInput {
  readonly ref: RecordRef;
}

/** `stop`: the refusal ends the run's calls. */
export interface CallRecordOutput extends RecordResult {
  readonly stop?: StopCode;
}

export interface CallChunkInput extends CallInput {
  readonly range: ShardRange;
  /** The records themselves, where the source is no file. */
  readonly refs?: readonly RecordRef[];
  /** Records in flight inside this activity. */
  readonly concurrency: number;
  /** Whether the answer is to name the records whose outcome is unknown. */
  readonly namesUnknown?: boolean;
}

export type Counts = Readonly<Partial<Record<Outcome, number>>>;

/** How far a chunk has come without a gap, and what the records before that came to. Also its heartbeat. */
export interface ChunkProgress {
  readonly offset: number;
  readonly line: number;
  readonly records: number;
  readonly counts: Counts;
  /** Of those counted, the ones whose outcome is unknown, where they are to be named. */
  readonly unknown?: readonly RecordRef[];
}

export interface CallChunkOutput {
  /** Of every record that was called. */
  readonly counts: Counts;
  readonly stop?: StopCode;
  /** Where to go on, if the run goes on. */
  readonly progress: ChunkProgress;
  /** Records that were begun and have no outcome, because the chunk was told to end. */
  readonly lost?: readonly RecordRef[];
  /** Of those counted, the ones whose outcome is unknown, where they are to be named. */
  readonly unknown?: readonly RecordRef[];
}

export interface LookUpInput extends KeyInput {
  readonly source: SourcePointer;
  readonly recordId: string;
  /** Either records, or a range of the source. */
  readonly refs?: readonly RecordRef[];
  readonly range?: ShardRange;
}

export interface GuardInput extends KeyInput {
  readonly leaseMs: number;
}

/** Why the guard ended by itself. */
export interface GuardOutput {
  readonly stop: StopCode;
}

export interface WriteResultsInput extends KeyInput {
  readonly plan: Pick<Plan, 'source' | 'shards' | 'recordId' | 'results' | 'call'>;
}

export interface WrittenResults {
  readonly path: string;
  /** Outcomes of the lines written. */
  readonly records: OutcomeCounts;
}

/** The pack's activities by name. */
export interface KeybrakeActivities {
  [ACTIVITIES.prepare](input: PrepareInput): Promise<LimitedPlan>;
  [ACTIVITIES.page](input: PageInput): Promise<PageOutput>;
  [ACTIVITIES.callRecord](input: CallRecordInput): Promise<CallRecordOutput>;
  [ACTIVITIES.callChunk](input: CallChunkInput): Promise<CallChunkOutput>;
  [ACTIVITIES.issue](input: IssueInput): Promise<IssuedVault>;
  [ACTIVITIES.revoke](input: RevokeInput): Promise<{ readonly inFlight: number }>;
  [ACTIVITIES.raise](input: RaiseInput): Promise<{ readonly capUsd: number | null }>;
  [ACTIVITIES.spend](input: KeyInput): Promise<VaultSpend>;
  [ACTIVITIES.lookUp](input: LookUpInput): Promise<Counts>;
  [ACTIVITIES.guard](input: GuardInput): Promise<GuardOutput>;
  [ACTIVITIES.writeResults](input: WriteResultsInput): Promise<WrittenResults>;
}
