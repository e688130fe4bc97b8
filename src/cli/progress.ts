/** A progress bar per run on stderr, fed by the query `status` at a bounded rate. Silent where stderr is no terminal. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { WorkflowHandle } from '@temporalio/client';
import { type SingleBar, MultiBar } from 'cli-progress';
import { formatUsd } from '../../proxy/contract';
import type { RunStatusView } from '../../workflows/definitions';
import { micros } from './parse';
import { endedRecords } from './report';

const POLL_MS = 1_000;
const LABEL_CHARS_MAX = 32;

export interface Progress {
  /** Follows a run until `ended` is aborted. */
  follow(handle: WorkflowHandle, label: string, ended: AbortSignal): Promise<void>;
  stop(): void;
}

/** Bars on a terminal, nothing elsewhere. */
export function startProgress(): Progress {
  if (!process.stderr.isTTY) return { follow: () => Promise.resolve(), stop: () => undefined };
  const bars = new MultiBar({
    format: '{label} {bar} {done}/{all} {money} {note}',
    barsize: 24,
    hideCursor: true,
    clearOnComplete: true,
    stream: process.stderr,
    emptyOnZero: true,
    gracefulExit: false,
  });
  return {
    follow: async (handle, label, ended) => {
      const bar = bars.create(1, 0, { label: fitted(label), done: 0, all: '?', money: '', note: 'starting' });
      while (!ended.aborted) {
        show(bar, await ask(handle));
        await sleep(POLL_MS, undefined, { signal: ended }).catch(() => undefined);
      }
      bar.stop();
    },
    stop: () => bars.stop(),
  };
}

/** The state, or why there is none: queries need a worker that is alive. */
async function ask(handle: WorkflowHandle): Promise<RunStatusView | string> {
  try {
    return await handle.query<RunStatusView>('status');
  } catch {
    return 'waiting for a worker';
  }
}

function show(bar: SingleBar, status: RunStatusView | string): void {
  if (typeof status === 'string') return bar.update({ note: status });
  const { records, spend, usdCap, phase, reason } = status;
  const done = endedRecords(records);
  if (records.total !== null) bar.setTotal(Math.max(1, records.total));
  const cap = usdCap === null ? '' : ` of ${formatUsd(micros(usdCap))}`;
  const stopped = phase !== 'running' && phase !== 'ended';
  bar.update(records.total === null ? 0 : done, {
    done,
    all: records.total ?? '?',
    money: spend === null ? '' : `${formatUsd(micros(spend.settled_usd))}${cap}`,
    note: stopped ? `${phase.replaceAll('_', ' ')}${reason === null ? '' : `: ${reason}`}` : '',
  });
}

function fitted(label: string): string {
  return label.length <= LABEL_CHARS_MAX ? label : `${label.slice(0, LABEL_CHARS_MAX - 1)}…`;
}
