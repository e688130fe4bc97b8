/**
 * The handlers of `pipelineRun`. Set before its first await: a signal that comes without a handler waits unseen. None
 * throws, whatever an operator sends, since an error in a handler would retry the workflow task for ever.
 */
import { ApplicationFailure, setHandler } from '@temporalio/workflow';
import { formatUsd, usdToMicros } from '../proxy/contract';
import { callLocal } from './calls';
import {
  heldSignal,
  pauseSignal,
  progressSignal,
  type RaisedCap,
  raiseCapUpdate,
  reasonOf,
  resumeSignal,
  revokeSignal,
  statusQuery,
} from './definitions';
import { rootFailure } from './failures';
import { ACTIVITIES } from '../activities/contract/plan';
import type { Run } from './run';
import { readHeld, readProgress } from './signalShapes';

export function setRunHandlers(run: Run): void {
  setHandler(
    revokeSignal,
    (argument) => {
      const reason = reasonOf(argument);
      run.end({ status: 'revoked', reason: `Revoked by signal${reason === undefined ? '.' : `: ${reason}`}` });
    },
    { description: 'Ends the run: its key dies first. Nothing, a text, or {"reason": "…"}.' },
  );
  setHandler(pauseSignal, () => run.pause(true), { description: 'Starts no further call. The time to live runs on.' });
  setHandler(resumeSignal, () => run.pause(false), { description: 'Goes on after pause.' });
  setHandler(statusQuery, () => run.view(), { description: 'Phase, spend against the cap, and records by outcome.' });
  setHandler(raiseCapUpdate, (argument) => raiseCap(run, argument), {
    description: 'Raises the cap to so many dollars: 750 or {"usd": 750}. A run that waits for it goes on.',
    validator: (argument) => void newCap(run, argument),
  });
  setShardHandlers(run);
}

function setShardHandlers(run: Run): void {
  setHandler(
    heldSignal,
    (argument) => {
      const held = readHeld(argument);
      if (held === undefined) return;
      if (held.epoch === run.gate?.epoch) run.gate.refuse(held.code, held.epoch);
      // It was refused before the cap was raised and has not heard of that yet.
      else if (run.gate !== undefined) run.broadcast(run.gate.control);
    },
    { description: 'For the pack itself: a shard met the cap or a dead key.' },
  );
  setHandler(
    progressSignal,
    (argument) => {
      const progress = readProgress(argument);
      if (progress === undefined || run.shardsEnded.has(progress.shard)) return;
      // What no shard will correct at its end.
      if (run.plan?.shards.some(({ index }) => index === progress.shard) !== true) return;
      run.shardCounts.set(progress.shard, progress.counts);
      run.show();
    },
    { description: 'For the pack itself: how far a shard has come.' },
  );
}

async function raiseCap(run: Run, argument: unknown): Promise<RaisedCap> {
  const usdCap = newCap(run, argument);
  const { key } = run;
  if (key === undefined) throw refusal(NOT_YET);
  try {
    const input = { keyId: key.id, jobId: key.jobId, usdCap };
    const { capUsd } = await callLocal(ACTIVITIES.raise, input, {
      summary: `cap ${dollars(usdCap)}`,
      timeoutMs: 60_000,
    });
    run.raised(capUsd);
    return { usdCap: capUsd ?? usdCap };
  } catch (error) {
    throw rootFailure(error);
  }
}

const NOT_YET = 'The run has no key yet: send raiseCap again in a moment.';

/** The new cap in dollars. Throws what the operator is to read. */
function newCap(run: Run, argument: unknown): number {
  const { capUsd, gate, stop } = run;
  if (run.ending || stop !== undefined) {
    throw refusal(`The run is ending${stop === undefined ? '' : ` (${stop.status})`}: start it again with its jobId.`);
  }
  if (gate === undefined) throw refusal(NOT_YET);
  if (capUsd === null)
    throw refusal('The key has a daily cap alone, which raiseCap does not change: it is free again at 00:00 UTC.');
  const usd = usdIn(argument);
  const micros = usdToMicros(usd);
  const presentMicros = usdToMicros(capUsd) ?? 0;
  if (usd === undefined || micros === undefined || micros <= presentMicros) {
    const present = formatUsd(presentMicros);
    throw refusal(`raiseCap needs a number of dollars above the present cap of ${present}, e.g. ${example(capUsd)}`);
  }
  return usd;
}

function usdIn(argument: unknown): number | undefined {
  if (typeof argument === 'number') return argument;
  if (typeof argument !== 'object' || argument === null) return undefined;
  const { usd, usdCap } = argument as { usd?: unknown; usdCap?: unknown };
  const value = usd ?? usdCap;
  return typeof value === 'number' ? value : undefined;
}

function example(capUsd: number): number {
  return Math.ceil(capUsd * 1.5);
}

function dollars(usd: number): string {
  return formatUsd(usdToMicros(usd) ?? 0);
}

function refusal(message: string): ApplicationFailure {
  return ApplicationFailure.nonRetryable(message, 'keybrake.invalid_update');
}
