/** What a workflow id names: a pipeline run, one of the user's own workflows with vault keys, or neither. */
import { QueryNotRegisteredError, type WorkflowHandle } from '@temporalio/client';
import type { VaultStatusView } from '../../workflows/definitions';
import { answerOf } from './waiting';

export type WorkflowKind =
  | { readonly kind: 'run' }
  | { readonly kind: 'vaults'; readonly vaults: readonly VaultStatusView[] }
  /** Its handlers show neither: `type` is what Temporal knows of it. */
  | { readonly kind: 'other'; readonly type: string }
  /** Its type is not the pack's, and no worker answers: why. */
  | { readonly kind: 'silent'; readonly type: string; readonly error: unknown };

/** Tells runs by their type, as that needs no worker, and other workflows by what they answer to. */
export async function kindOf(handle: WorkflowHandle): Promise<WorkflowKind> {
  const { type } = await handle.describe();
  if (type === 'pipelineRun') return { kind: 'run' };
  try {
    const vaults = await answerTo(handle, 'keybrake.status');
    if (Array.isArray(vaults)) return { kind: 'vaults', vaults: vaults as VaultStatusView[] };
    // A run within a workflow of another name, or under one.
    const run = await answerTo(handle, 'status');
    return typeof run === 'object' && run !== null && 'phase' in run ? { kind: 'run' } : { kind: 'other', type };
  } catch (error) {
    return { kind: 'silent', type, error };
  }
}

/** Undefined where the workflow has no such query. */
async function answerTo(handle: WorkflowHandle, query: string): Promise<unknown> {
  try {
    return await answerOf(handle, query);
  } catch (error) {
    if (error instanceof QueryNotRegisteredError) return undefined;
    throw error;
  }
}
