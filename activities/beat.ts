/** Heartbeats in the background: a worker that died, or never got the task, is noticed by their absence. */
import { Context } from '@temporalio/activity';

/** Beats while `work` runs, thrice in each heartbeat time-out; `details` are read at each beat. */
export async function beating<T>(work: () => Promise<T>, details?: () => unknown): Promise<T> {
  const context = Context.current();
  const { heartbeatTimeoutMs } = context.info;
  if (heartbeatTimeoutMs === undefined) return work();
  const timer = setInterval(() => context.heartbeat(details?.()), heartbeatTimeoutMs / 3);
  try {
    return await work();
  } finally {
    clearInterval(timer);
  }
}
