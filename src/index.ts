/**
 * keybrake-temporal: vault keys with a dollar cap for every pipeline run. For workers, clients and programs; workflow
 * code imports `keybrake-temporal/workflows` instead, since nothing here may enter the workflow sandbox.
 */
export { KeybrakePlugin, type KeybrakePluginOptions } from './plugin';
export { type RunningWorker, type StartWorkerOptions, startWorker } from './worker';
export {
  type CallFilter,
  KeybrakeApiError,
  KeybrakeClient,
  type KeybrakeClientOptions,
  type KeyFilter,
} from '../proxy/client';
export type { BodyKind, VendorView } from '../proxy/endpoints';
export { formatUsd, REFUSALS, type RefusalCode, type RefusalDetails } from '../proxy/contract';
export type {
  CallState,
  CallView,
  IssuedKey,
  IssueKeyBody,
  JobView,
  KeyState,
  KeyView,
  RevokedKey,
  Spend,
  SummaryView,
} from '../proxy/contract';
export { DEFAULT_TASK_QUEUE, type Outcome, type RunReport, type RunStatus } from '../activities/contract/plan';
