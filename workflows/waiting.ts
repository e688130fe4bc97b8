/**
 * Waiting for a state of the workflow, and for all that follows from the news of this activation.
 *
 * A local activity that ends while its workflow task has other news is told of in an activation of its own, after that
 * news; of two that end, each in its own. At replay all of them are told in one activation. Were an answer acted on at
 * once there, the commands of the replay would come in another order than those of the history. So an answer waits until
 * nothing goes on any more by itself, and the next answer until nothing goes on any more after it.
 */
import { condition } from '@temporalio/workflow';

/** Counts what went on because the state that it waited for had come. */
let steps = 0;

/** As Temporal's `condition`, and seen by {@link takeTurn}: the pack's workflow code waits for a state by this alone. */
export function until(state: () => boolean): Promise<void>;
export function until(state: () => boolean, timeoutMs: number): Promise<boolean>;
export function until(state: () => boolean, timeoutMs?: number): Promise<void | boolean> {
  const seen = (): boolean => {
    const come = state();
    if (come) steps += 1;
    return come;
  };
  return timeoutMs === undefined ? condition(seen) : condition(seen, timeoutMs);
}

let lastTurn = Promise.resolve();

/** Resolves when all other news of this activation has taken effect, and the answers that were told before this one. */
export function takeTurn(): Promise<void> {
  lastTurn = lastTurn.then(quiet);
  return lastTurn;
}

/** Rounds without a step of ours: a workflow's own code around `withVaultKey` may wait for states that nobody counts. */
const QUIET_ROUNDS = 8;

async function quiet(): Promise<void> {
  for (let rounds = 0; rounds < QUIET_ROUNDS; rounds += 1) {
    const before = steps;
    await round();
    if (steps !== before) rounds = -1;
  }
}

/** Lets everything run that need not wait, and every state be looked at once. */
async function round(): Promise<void> {
  let asked = false;
  await condition(() => {
    const again = asked;
    asked = true;
    return again;
  });
}
