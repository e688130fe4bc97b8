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

/** {@link beating} beside a user's own activity, whose details stay: the next attempt may go on from them. */
export function beatingForUser<T>(work: () => Promise<T>): Promise<T> {
  const context = Context.current();
  const { heartbeat } = context;
  let last: unknown = context.info.heartbeatDetails;
  const remembering = (details?: unknown): void => {
    last = details;
    heartbeat(details);
  };
  Object.assign(context, { heartbeat: remembering });
  return beating(work, () => last);
}
