/**
 * Failures as workflow code sees them. A plain Error would retry the workflow task for ever, so none is thrown here, but
 * where just that helps.
 */
import {
  ActivityFailure,
  ApplicationFailure,
  ContinueAsNew,
  DeterminismViolationError,
  isCancellation,
  TemporalFailure,
} from '@temporalio/workflow';

const PREFIX = 'keybrake.';

/** `cap_exhausted` of a failure `keybrake.cap_exhausted`, however deep in its causes; undefined for others. */
export function failureCode(error: unknown): string | undefined {
  for (let cause = error; cause instanceof Error; cause = cause.cause) {
    if (cause instanceof ApplicationFailure && cause.type?.startsWith(PREFIX)) return cause.type.slice(PREFIX.length);
  }
  return undefined;
}

/** The failure at the bottom, where the words for people are. */
export function rootFailure(error: unknown): ApplicationFailure {
  let last = error;
  while (last instanceof TemporalFailure && last.cause instanceof Error) last = last.cause;
  if (last instanceof ApplicationFailure) return last;
  const message = last instanceof Error ? `${last.name}: ${last.message}` : String(last);
  return ApplicationFailure.nonRetryable(message, 'keybrake.internal');
}

/** The worker was set up wrongly: the workflow task is tried again, since another worker, or the next one, can do it. */
export class PluginMissing extends Error {
  override readonly name = 'PluginMissing';

  constructor() {
    super(
      'The worker of this workflow lacks the activities that issue vault keys: ' +
        'add new KeybrakePlugin() to its plugins. The run goes on then.',
    );
  }
}

/** Runs a workflow body so that whatever it throws ends the workflow instead of retrying its task. */
export async function endingInFailure<T>(body: () => Promise<T>): Promise<T> {
  try {
    return await body();
  } catch (error) {
    if (isCancellation(error)) throw error;
    // The user reads the reason itself, not that "Activity task failed".
    if (error instanceof ActivityFailure) throw rootFailure(error);
    if (error instanceof TemporalFailure) throw error;
    if (error instanceof PluginMissing) throw error;
    // The SDK's own signals: the run continues as new, or its code no longer fits its history.
    if (error instanceof ContinueAsNew || error instanceof DeterminismViolationError) throw error;
    throw rootFailure(error);
  }
}
