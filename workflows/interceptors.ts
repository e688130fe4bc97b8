/**
 * Workflow interceptors: the key id and job id go with every activity, local activity, child and continue-as-new, and
 * a terminal refusal reaches `withVaultKey` whatever the user's code does with the failure.
 * For manual bundling: `workflowInterceptorModules: [require.resolve('keybrake-temporal/workflow-interceptors')]`.
 */
import {
  type ActivityInput,
  type LocalActivityInput,
  type Next,
  patched,
  scheduleActivity,
  type WorkflowInboundCallsInterceptor,
  type WorkflowInterceptors,
  type WorkflowOutboundCallsInterceptor,
} from '@temporalio/workflow';
import { isTerminalRefusal, type TerminalRefusal } from '../proxy/contract';
import { currentVault, inheritedVault, inheritVault, type VaultContext } from './context';
import { readVaultHeader, withVaultHeader } from '../activities/contract/headers';
import { failureCode } from './failures';

/** The factory that Temporal calls for each workflow. */
export function interceptors(): WorkflowInterceptors {
  return { inbound: [inbound], outbound: [outbound] };
}

const inbound: WorkflowInboundCallsInterceptor = {
  execute(input, next) {
    inheritVault(readVaultHeader(input.headers));
    return next(input);
  },
};

const outbound: WorkflowOutboundCallsInterceptor = {
  scheduleActivity(input, next) {
    const vault = currentVault();
    return vault === undefined ? next(input) : scheduleInVault(input, next, vault);
  },

  async scheduleLocalActivity(input, next) {
    const vault = currentVault();
    return vault === undefined ? next(input) : scheduleLocalInVault(input, next, vault);
  },

  startChildWorkflowExecution(input, next) {
    return next({ ...input, headers: withVaultHeader(input.headers, currentVault()?.header()) });
  },

  // A key that this run issued ends with it; only one that it was started with goes on.
  continueAsNew(input, next) {
    return next({ ...input, headers: withVaultHeader(input.headers, inheritedVault()) });
  },
};

/** Temporal's default is TRY_CANCEL, which forgets a paid call that is under way (sdk-typescript PR 2442). */
async function scheduleInVault(
  input: ActivityInput,
  next: Next<WorkflowOutboundCallsInterceptor, 'scheduleActivity'>,
  vault: VaultContext,
): Promise<unknown> {
  const options = {
    ...input.options,
    cancellationType: input.options.cancellationType ?? ('WAIT_CANCELLATION_COMPLETED' as const),
    allowEagerDispatch: input.options.allowEagerDispatch ?? false,
  };
  const { keyId } = vault.header();
  vault.inFlight += 1;
  try {
    return await next({ ...input, options, headers: withVaultHeader(input.headers, vault.header()) });
  } catch (error) {
    const code = terminalCode(error);
    if (code === undefined || !(await vault.refused?.(code, keyId))) throw error;
  } finally {
    vault.inFlight -= 1;
  }
  return scheduleActivity(input.activityType, input.args, options);
}

async function scheduleLocalInVault(
  input: LocalActivityInput,
  next: Next<WorkflowOutboundCallsInterceptor, 'scheduleLocalActivity'>,
  vault: VaultContext,
): Promise<unknown> {
  const cancellationType = input.options.cancellationType ?? ('WAIT_CANCELLATION_COMPLETED' as const);
  const { keyId } = vault.header();
  vault.inFlight += 1;
  try {
    const headers = withVaultHeader(input.headers, vault.header());
    return await next({ ...input, options: { ...input.options, cancellationType }, headers });
  } catch (error) {
    const code = terminalCode(error);
    if (code !== undefined && patched(LOCAL_REFUSALS)) await vault.refused?.(code, keyId);
    throw error;
  } finally {
    vault.inFlight -= 1;
  }
}

/** A run from before, whose local activity met the cap, has gone on without hearing of it. */
const LOCAL_REFUSALS = 'keybrake.local-refusals';

/** An activity's failure is in an ActivityFailure; a local activity's comes as it is. */
function terminalCode(error: unknown): TerminalRefusal | undefined {
  const code = failureCode(error);
  return isTerminalRefusal(code) ? code : undefined;
}
