/** Whether a worker is there, by who has polled a task queue of late. */
import type { WorkflowClient } from '@temporalio/client';

/** What a worker polls for, by the number that Temporal's API has for it. */
const TASKS = { workflows: 1, activities: 2 } as const;

export type Polled = keyof typeof TASKS;

export async function isPolled(
  { workflowService, options }: Pick<WorkflowClient, 'workflowService' | 'options'>,
  taskQueue: string,
  what: Polled,
): Promise<boolean> {
  const { pollers } = await workflowService.describeTaskQueue({
    namespace: options.namespace,
    taskQueue: { name: taskQueue },
    // oxlint-disable-next-line typescript/no-unsafe-enum-assignment -- the enum is in a package we do not depend on
    taskQueueType: TASKS[what],
  });
  return (pollers ?? []).length > 0;
}
