/** `vault()` as an activity of a worker has it, without a Temporal server: for tests of what goes over the wire. */
import { CallContext, callContexts } from '../../activities/callContext';
import { Runtime } from '../../activities/runtime';
import type { IssuedKey } from '../../proxy/contract';
import type { TestProxy } from '../../src/testing';

export type InActivity = <T>(key: IssuedKey, work: () => Promise<T>) => Promise<T>;

/** Runs `work` as an activity whose workflow pays with `key`. All share one worker's clients and tokens. */
export function activitiesAt({ url, workerKey }: Pick<TestProxy, 'url' | 'workerKey'>): {
  readonly inActivity: InActivity;
  close(): Promise<void>;
} {
  const runtime = new Runtime({ url, workerKey });
  return {
    inActivity: (key, work) => {
      const header = { keyId: key.key_id, jobId: key.job_id ?? key.key_id };
      const caller = { workflowId: 'test', activityId: 'test', attempt: 1 };
      return callContexts.run(new CallContext(runtime, header, caller), work);
    },
    close: async () => {
      await runtime.client.close();
      await runtime.dispatcher.close();
    },
  };
}
