/** What a command waits for where no worker answers: without one Temporal keeps a run, or a question to it, for later. */
import { setTimeout as sleep } from 'node:timers/promises';
import { isGrpcDeadlineError, type WorkflowHandle } from '@temporalio/client';
import { isPolled } from './pollers';

const LOOK_MS = 2_000;
/** A worker that is busy answers late. */
const ANSWER_MS = 10_000;

/** Tells once that a run waits for a worker, until `ended` is aborted. */
export async function watchForWorker(
  handle: WorkflowHandle,
  ended: AbortSignal,
  tellIt: (text: string) => void,
): Promise<void> {
  while (!ended.aborted) {
    await sleep(LOOK_MS, undefined, { signal: ended }).catch(() => undefined);
    if (ended.aborted) return;
    const waits = await waitsForWorker(handle).catch(() => undefined);
    if (ended.aborted || waits === false) return;
    if (waits === undefined) continue;
    return tellIt(`Not going on: ${waits} To start one: keybrake worker; keybrake doctor looks for it.`);
  }
}

/** In words, where no worker polls the run's queue, or none answers; false where one does. */
async function waitsForWorker(handle: WorkflowHandle): Promise<string | false> {
  const deserted = await queueWithoutWorker(handle).catch(() => null);
  if (deserted !== null) return `no worker polls task queue ${deserted}, and the run waits for one.`;
  try {
    await answerOf(handle, 'status');
    return false;
  } catch (error) {
    if (isUnanswered(error)) return 'no worker answers, and the run waits for one.';
    throw error;
  }
}

/** What a workflow answers to a query, within the time that a worker needs for it: Temporal itself waits for longer. */
export function answerOf<T>(handle: WorkflowHandle, query: string): Promise<T> {
  return handle.client.withDeadline(Date.now() + ANSWER_MS, () => handle.query<T>(query));
}

/** Whether a query has failed because no worker took it. */
export function isUnanswered(error: unknown): boolean {
  return error instanceof Error && isGrpcDeadlineError(error.cause);
}

/** The run's task queue where nobody polls it; null where somebody has of late. */
async function queueWithoutWorker(handle: WorkflowHandle): Promise<string | null> {
  const { taskQueue } = await handle.describe();
  return (await isPolled(handle.client, taskQueue, 'workflows')) ? null : taskQueue;
}

/** Waits for `answer`, and tells what for where it takes longer than a moment. */
export async function patiently<T>(answer: Promise<T>, tellIt: () => void): Promise<T> {
  const timer = setTimeout(tellIt, LOOK_MS);
  try {
    return await answer;
  } finally {
    clearTimeout(timer);
  }
}
