/** A stack, and a worker on it with a user's own workflows and activities beside the pack's. */
import { randomUUID } from 'node:crypto';
import { type Stack, startStack, startWorker } from './temporal';
import { userActivities } from './userActivities';

export interface UserWorker {
  readonly stack: Stack;
  readonly taskQueue: string;
  /** What the activities have seen in this test. */
  readonly seen: { readonly keyIds: Set<string> };
}

/**
 * Starts both before the tests of a file and stops them after: the stack is read in a test. `more` are activities beside
 * those of test/support/userActivities.
 */
export function useUserWorker(more: Record<string, (...args: never[]) => Promise<unknown>> = {}): UserWorker {
  const taskQueue = `user-${randomUUID()}`;
  const seen = { keyIds: new Set<string>() };
  let stack: Stack | undefined;
  let worker: Awaited<ReturnType<typeof startWorker>> | undefined;
  beforeAll(async () => {
    stack = await startStack();
    const activities = { ...userActivities(seen), ...more };
    worker = await startWorker(stack, taskQueue, {
      worker: { workflowsPath: require.resolve('./userWorkflows'), activities },
    });
  });
  beforeEach(() => seen.keyIds.clear());
  afterAll(async () => {
    await worker?.stop();
    await stack?.stop();
  });
  return {
    taskQueue,
    seen,
    get stack() {
      if (stack === undefined) throw new Error('The stack has not been started yet: read it in a test.');
      return stack;
    },
  };
}
