/**
 * A progress bar per run on stderr: the query `status` at a bounded rate, and what the ledger says meanwhile, since
 * shards tell the root of their records only now and then. Where stderr is no terminal, only what keeps the run from going
 * on is told.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { WorkflowHandle } from '@temporalio/client';
import { type SingleBar, MultiBar } from 'cli-progress';
import { type Spend, formatUsd } from '../../proxy/contract';
import type { RunStatusView } from '../../workflows/definitions';
import { cutTo, harmless, tell } from './output';
import { micros } from './parse';
import { endedRecords } from './report';
import { watchTrouble } from './trouble';
import { watchForWorker } from './waiting';

const POLL_MS = 1_000;
const LABEL_CHARS_MAX = 32;
const LABEL_CHARS_MIN = 8;
/** Bars are cut at the terminal's edge. What a person is to read and do is not. */
const WRAP = '\u001b[?7h';
const NO_WRAP = '\u001b[?7l';

export interface Progress {
  /** Follows a run until `ended` is aborted. */
  follow(handle: WorkflowHandle, label: string, ended: AbortSignal): Promise<void>;
  /** Tells a line above the bars. */
  say(text: string): void;
  stop(): void;
}

/** What the ledger says of a key now; undefined where it is not asked or does not answer. */
export type LiveSpend = (keyId: string) => Promise<Spend | undefined>;

/** Bars on a terminal, nothing elsewhere. */
export function startProgress(live: LiveSpend = () => Promise.resolve(undefined)): Progress {
  if (!process.stderr.isTTY) {
    return { follow: (handle, _, ended) => watchAll(handle, ended), say: tell, stop: () => undefined };
  }
  const bars = new MultiBar({
    format: (_, { progress }, parts) => barLine(parts as BarParts, progress, process.stderr.columns),
    hideCursor: true,
    clearOnComplete: true,
    stream: process.stderr,
    emptyOnZero: true,
    gracefulExit: false,
    // A line above takes the bar's place; also a bar that stands still is to come back below it.
    forceRedraw: true,
  });
  const say = (text: string): void => bars.log(`${WRAP}${text}${NO_WRAP}\n`);
  return {
    say,
    follow: async (handle, label, ended) => {
      const watching = watchTrouble(handle, ended, say);
      const bar = bars.create(1, 0, {
        label: cutTo(label, LABEL_CHARS_MAX),
        done: 0,
        all: '?',
        money: '',
        note: 'starting',
      });
      while (!ended.aborted) {
        const status = await ask(handle);
        const keyId = typeof status === 'string' ? null : status.keyId;
        show(bar, status, keyId === null ? undefined : await live(keyId));
        await sleep(POLL_MS, undefined, { signal: ended }).catch(() => undefined);
      }
      bar.stop();
      await watching;
    },
    stop: () => bars.stop(),
  };
}

async function watchAll(handle: WorkflowHandle, ended: AbortSignal): Promise<void> {
  await Promise.all([watchTrouble(handle, ended, tell), watchForWorker(handle, ended, tell)]);
}

/** The state, or why there is none: queries need a worker that is alive. */
async function ask(handle: WorkflowHandle): Promise<RunStatusView | string> {
  try {
    return await handle.query<RunStatusView>('status');
  } catch {
    return 'waiting for a worker';
  }
}

function show(bar: SingleBar, status: RunStatusView | string, live: Spend | undefined): void {
  if (typeof status === 'string') return bar.update({ note: status });
  const { records, usdCap, phase, reason } = status;
  const spend = live ?? status.spend;
  const total = records.total;
  if (total !== null) bar.setTotal(Math.max(1, total));
  const done = Math.min(total ?? Infinity, Math.max(endedRecords(records), endedCalls(spend)));
  const cap = usdCap === null ? '' : ` of ${formatUsd(micros(usdCap))}`;
  const stopped = phase !== 'running' && phase !== 'ended';
  bar.update(total === null ? 0 : done, {
    done,
    all: total ?? '?',
    money: spend === null ? '' : `${formatUsd(micros(spend.settled_usd))}${cap}`,
    note: stopped ? `${phase.replaceAll('_', ' ')}${reason === null ? '' : `: ${harmless(reason)}`}` : '',
  });
}

/** Calls of the key that stand for a record that has ended. Refusals may be many for one record, and so may released ones. */
function endedCalls(spend: Spend | null): number {
  if (spend === null) return 0;
  const { settled, unknown, replayed } = spend.calls;
  return settled + unknown + replayed;
}

/** What a bar shows beside itself. */
export interface BarParts {
  readonly label: string;
  readonly done: number | string;
  readonly all: number | string;
  readonly money: string;
  readonly note: string;
}

const BAR_CHARS_MAX = 24;
const BAR_CHARS_MIN = 4;

/** A bar's line. Where it is narrow the bar itself gives way first, then the label: money and what is to be done stay. */
export function barLine({ label, done, all, money, note }: BarParts, progress: number, columns = 80): string {
  const rest = [`${done}/${all}`, money, note].filter((part) => part !== '').join(' ');
  const spare = columns - rest.length - 1;
  const size = Math.min(BAR_CHARS_MAX, spare - label.length - 1);
  if (size < BAR_CHARS_MIN) return `${cutTo(label, Math.max(LABEL_CHARS_MIN, spare))} ${rest}`;
  const full = Math.round(Math.min(1, Math.max(0, progress)) * size);
  return `${label} ${'█'.repeat(full)}${'░'.repeat(size - full)} ${rest}`;
}
