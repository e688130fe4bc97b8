/**
 * What keeps a run from going on: that it waits at its cap, and, as Temporal knows them, the last failures of activities
 * that are tried again and again.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { WorkflowHandle } from '@temporalio/client';
import { formatUsd } from '../../proxy/contract';
import type { RunStatusView } from '../../workflows/definitions';
import { harmless, word } from './output';
import { micros } from './parse';

const LOOK_MS = 5_000;
/** A first failure or two is daily business. */
const ATTEMPTS_MIN = 3;
const TEXT_CHARS_MAX = 500;

/** Tells each trouble once, until `ended` is aborted. */
export async function watchTrouble(
  handle: WorkflowHandle,
  ended: AbortSignal,
  tellIt: (text: string) => void,
): Promise<void> {
  const told = new Set<string>();
  while (!ended.aborted) {
    await sleep(LOOK_MS, undefined, { signal: ended }).catch(() => undefined);
    if (ended.aborted) return;
    // One line for each kind of activity: a thousand records can have one trouble.
    const found = new Map([...(await troubles(handle)), ...(await pauseOf(handle))]);
    for (const [what, text] of found) {
      if (!told.has(what)) tellIt(`Not going on: ${text}`);
      told.add(what);
    }
    // A run that is paused again, or meets its daily cap on another day, says so again.
    for (const what of told) if (isPause(what) && !found.has(what)) told.delete(what);
  }
}

/** The last failures of activities that are tried again and again, by the names of these. */
export async function troubles(handle: WorkflowHandle): Promise<ReadonlyMap<string, string>> {
  const found = new Map<string, string>();
  const { raw } = await handle.describe().catch(() => ({ raw: undefined }));
  for (const { activityType, attempt, lastFailure } of raw?.pendingActivities ?? []) {
    const name = activityType?.name ?? '';
    if ((attempt ?? 0) < ATTEMPTS_MIN || !lastFailure?.message) continue;
    found.set(
      name,
      `${name} failed ${(attempt ?? 1) - 1} times: ${harmless(lastFailure.message).slice(0, TEXT_CHARS_MAX)}`,
    );
  }
  return found;
}

const PAUSED = 'paused';
const AT_CAP = 'cap ';

function isPause(what: string): boolean {
  return what === PAUSED || what.startsWith(AT_CAP);
}

/** A pause for another cap is another one. */
async function pauseOf(handle: WorkflowHandle): Promise<readonly (readonly [string, string])[]> {
  const status = await handle.query<RunStatusView>('status').catch(() => undefined);
  const { workflowId } = handle;
  if (status?.phase === PAUSED)
    return [[PAUSED, `an operator paused it. To go on: keybrake resume ${word(workflowId)}`]];
  return status?.phase === 'waiting_for_cap' ? [atCap(workflowId, status)] : [];
}

/** Which cap a run waits at, and the way out. */
export function atCap(workflowId: string, { reason, usdCap }: RunStatusView): readonly [what: string, text: string] {
  // Another cap than the run's own: its words say what is to be done first.
  const end = `to end it: keybrake revoke ${word(workflowId)}`;
  if (!reason?.startsWith('The cap of $')) return [AT_CAP + reason, `${reason ?? 'a cap is spent.'} (${end})`];
  const wayOut = `To go on: keybrake raise ${word(workflowId)} --to USD; ${end}`;
  return [`${AT_CAP}${usdCap}`, `the cap of ${formatUsd(micros(usdCap ?? 0))} is spent. ${wayOut}`];
}
