/** The signals, updates and queries of the pack's workflows: versioned contract. */
import { defineQuery, defineSignal, defineUpdate } from '@temporalio/workflow';
import type { KeyState, Spend, TerminalRefusal } from '../proxy/contract';
import type { Counts } from '../activities/types';
import type { OutcomeCounts } from '../activities/contract/plan';

/** Ends a run: its key is revoked first. The argument is a reason: nothing, a text, or `{"reason": "…"}`. */
export const revokeSignal = defineSignal<[reason?: unknown]>('revoke');
export const pauseSignal = defineSignal<[reason?: unknown]>('pause');
export const resumeSignal = defineSignal<[reason?: unknown]>('resume');

/** A new cap in dollars: `750`, `{"usd": 750}` or `{"usdCap": 750}`. */
export const raiseCapUpdate = defineUpdate<RaisedCap, [cap: unknown]>('raiseCap');
export const statusQuery = defineQuery<RunStatusView>('status');

export interface RaisedCap {
  readonly usdCap: number;
}

/** What the query `status` answers. */
export interface RunStatusView {
  readonly phase: Phase;
  readonly label: string | null;
  readonly jobId: string | null;
  readonly keyId: string | null;
  readonly keyState: KeyState | null;
  readonly usdCap: number | null;
  readonly spend: Spend | null;
  readonly records: OutcomeCounts & { readonly total: number | null };
  readonly inFlight: number;
  /** Why the run stops or waits; null while it runs. */
  readonly reason: string | null;
}

export type Phase = 'preparing' | 'running' | 'paused' | 'waiting_for_cap' | 'ending' | 'ended';

/** Between a root and its shards. */
export interface Control {
  readonly keyId: string;
  /** Grows with each raise of the cap and each new key, so that late news of an earlier refusal are told apart. */
  readonly epoch: number;
  readonly paused: boolean;
  /** Grows with every change: signals of one workflow to another do not always arrive in their order. */
  readonly version?: number;
}

export const controlSignal = defineSignal<[Control]>('keybrake.control');
export const heldSignal = defineSignal<[Held]>('keybrake.held');
export const progressSignal = defineSignal<[ShardProgress]>('keybrake.progress');

/** A shard met a refusal that no further call can pass. */
export interface Held {
  readonly shard: number;
  readonly code: TerminalRefusal;
  readonly epoch: number;
}

export interface ShardProgress {
  readonly shard: number;
  readonly counts: Counts;
}

/** In users' own workflows, beside their handlers. */
export const vaultRevokeSignal = defineSignal<[reason?: unknown]>('keybrake.revoke');
export const vaultStatusQuery = defineQuery<readonly VaultStatusView[]>('keybrake.status');

export interface VaultStatusView {
  readonly label: string;
  readonly jobId: string;
  readonly keyId: string;
  /** What stops it: a refusal code; null while it runs. */
  readonly stop: string | null;
  readonly ended: boolean;
}

/** A reason out of whatever a signal brought: a text, `{"reason": "…"}`, nothing, or anything else. */
export function reasonOf(argument: unknown): string | undefined {
  const value = typeof argument === 'object' && argument !== null && 'reason' in argument ? argument.reason : argument;
  if (typeof value !== 'string' || value.trim() === '') return undefined;
  return value.trim().slice(0, REASON_CHARS_MAX);
}

const REASON_CHARS_MAX = 500;
