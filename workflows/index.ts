/**
 * Workflows of keybrake-temporal, safe in the workflow sandbox. Temporal bundles workflows from one module, so re-export
 * them from yours: `export * from 'keybrake-temporal/workflows'`.
 */
export { pipelineRun } from './pipelineRun';
export { pipelineShard, type ShardInput, type ShardResult } from './pipelineShard';
export { type Vault, type VaultKeyOptions, type VaultKeySettings, withVaultKey } from './withVaultKey';
export {
  pauseSignal,
  type Phase,
  type RaisedCap,
  raiseCapUpdate,
  resumeSignal,
  revokeSignal,
  type RunStatusView,
  statusQuery,
  vaultRevokeSignal,
  vaultStatusQuery,
  type VaultStatusView,
} from './definitions';
export type { Outcome, OutcomeCounts, RunReport, RunStatus } from '../activities/contract/plan';
