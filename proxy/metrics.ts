/** What Prometheus reads. Labels are few and never hold a key, a label or a secret. */
import { Counter, Gauge, Histogram, Registry } from 'prom-client';
import { afterwards } from './afterwards';
import { type CallState, MICROS_PER_USD, type Micros, REFUSALS } from './contract';
import type { PaceObserver } from './pace';
import type { OpenSum, Store } from './stores/store';

/** Who scrapes needs no key: so long one reading of the ledger serves everybody. */
const READING_MS = 2_000;
const SECONDS = [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25];

export interface ProxyMetrics {
  readonly registry: Registry;
  readonly refusals: Counter<'code'>;
  readonly reconciled: Counter<'vendor' | 'outcome'>;
  readonly unknownKeys: Counter;
  /** Counts a call whose price came later and differs from its quote by so much. */
  readonly adjusted: (vendor: string, byMicros: Micros) => void;
  /** Counts a call by the state that it went to. */
  readonly ended: (vendor: string, state: CallState) => void;
  /** A call that was sent came back, or was lost, so many milliseconds later. */
  readonly answered: (vendor: string, ms: number) => void;
  /** So many operations of the ledger are durable, together, after so many milliseconds. */
  readonly committed: (operations: number, ms: number) => void;
  /** What the pace of an account tells. */
  readonly paceOf: (account: string) => PaceObserver;
  /** Reads the account's pace at each scrape. */
  readonly watchPace: (account: string, rps: () => number) => void;
}

interface OpenGauge {
  readonly name: string;
  readonly help: string;
  readonly state: 'held' | 'unknown';
  readonly value: (open: OpenSum) => number;
}

const count = (open: OpenSum) => open.count;
const stuck = (open: OpenSum) => open.stuck;
const age = ({ oldest }: OpenSum) => (oldest === null ? 0 : Math.max(0, Date.now() - oldest) / 1_000);
const usd = (open: OpenSum) => open.micros / MICROS_PER_USD;

// prettier-ignore
const OPEN_GAUGES: readonly OpenGauge[] = [
  { name: 'keybrake_held_usd',      state: 'held',    value: usd,   help: 'US dollars held for calls in flight.' },
  { name: 'keybrake_unknown_usd',   state: 'unknown', value: usd,   help: 'US dollars held for unknown calls.' },
  { name: 'keybrake_unknown_calls', state: 'unknown', value: count, help: 'Calls whose outcome is unknown.' },
  { name: 'keybrake_stuck_calls',   state: 'unknown', value: stuck, help: 'Unknown calls that are left to an operator.' },
  { name: 'keybrake_unknown_oldest_seconds', state: 'unknown', value: age, help: 'Age of the oldest unknown call; 0 without any.' },
];

/** Makes the metrics of one proxy, on a registry of its own: several proxies may run in one process. */
export function createMetrics(store: Pick<Store, 'sumOpen' | 'countLate'>): ProxyMetrics {
  const registry = new Registry();
  const registers = [registry];
  const refusals = new Counter({
    name: 'keybrake_refusals_total',
    help: 'Calls that the proxy refused, by code.',
    labelNames: ['code'] as const,
    registers,
  });
  // A counter that begins with its first refusal hides that one from rate().
  for (const code of Object.keys(REFUSALS)) refusals.inc({ code }, 0);
  const sums = reused(() => store.sumOpen());
  for (const gauge of OPEN_GAUGES) openCalls(sums, registers, gauge);
  waitingForPrice(
    reused(() => store.countLate()),
    registers,
  );
  const adjusted = new Counter({
    name: 'keybrake_adjusted_total',
    help: 'Prices that a vendor told later and that differ from the quote, by direction.',
    labelNames: ['vendor', 'direction'] as const,
    registers,
  });
  return {
    registry,
    refusals,
    adjusted(vendor, byMicros) {
      if (byMicros !== 0) adjusted.inc({ vendor, direction: byMicros > 0 ? 'up' : 'down' });
    },
    reconciled: new Counter({
      name: 'keybrake_reconciled_total',
      help: 'Unknown calls that the proxy cleared by itself (resent, found, nothing_held), or left to an operator (stuck).',
      labelNames: ['vendor', 'outcome'] as const,
      registers,
    }),
    unknownKeys: new Counter({
      name: 'keybrake_unknown_keys_total',
      help: 'Calls with a vault key that was never issued here.',
      registers,
    }),
    ...callMetrics(registers),
    ...paceMetrics(registers),
  };
}

/** What each call tells is counted after what its caller waits for. */
function callMetrics(registers: Registry[]): Pick<ProxyMetrics, 'ended' | 'answered' | 'committed'> {
  const calls = new Counter({
    name: 'keybrake_calls_total',
    help: 'Calls by the state they went to.',
    labelNames: ['vendor', 'state'] as const,
    registers,
  });
  const upstreamSeconds = new Histogram({
    name: 'keybrake_upstream_seconds',
    help: 'From the first byte sent to the vendor to its whole answer.',
    labelNames: ['vendor'] as const,
    buckets: SECONDS,
    registers,
  });
  const commitSeconds = new Histogram({
    name: 'keybrake_commit_seconds',
    help: 'One durable commit of the ledger.',
    buckets: SECONDS,
    registers,
  });
  const commitBatchSize = new Histogram({
    name: 'keybrake_commit_batch_size',
    help: 'Operations that shared one commit.',
    buckets: [1, 2, 4, 8, 16, 32, 64, 128, 256, 512],
    registers,
  });
  return {
    ended: (vendor, state) => afterwards(() => calls.inc({ vendor, state })),
    answered: (vendor, ms) => afterwards(() => upstreamSeconds.observe({ vendor }, ms / 1_000)),
    committed: (operations, ms) =>
      afterwards(() => {
        commitBatchSize.observe(operations);
        commitSeconds.observe(ms / 1_000);
      }),
  };
}

function paceMetrics(registers: Registry[]): Pick<ProxyMetrics, 'paceOf' | 'watchPace'> {
  const labelNames = ['account'] as const;
  const queue = new Gauge({ name: 'keybrake_pace_queue', help: 'Calls that wait for a slot.', labelNames, registers });
  const waits = new Histogram({
    name: 'keybrake_pace_wait_seconds',
    help: 'How long calls waited for a slot; those that found one free are not counted.',
    labelNames,
    buckets: SECONDS,
    registers,
  });
  const limits = new Counter({
    name: 'keybrake_vendor_rate_limits_total',
    help: 'Answers of the vendor that there were too many calls.',
    labelNames,
    registers,
  });
  const watched = new Map<string, () => number>();
  const rate = new Gauge({
    name: 'keybrake_pace_rps',
    help: 'Calls a second that may leave now; +Inf: no limit is known.',
    labelNames,
    registers,
    collect: () => {
      for (const [account, rps] of watched) rate.set({ account }, rps());
    },
  });
  return {
    paceOf: (account) => {
      queue.set({ account }, 0);
      limits.inc({ account }, 0);
      return {
        queued: (change) => queue.inc({ account }, change),
        waited: (ms) => waits.observe({ account }, ms / 1_000),
        limited: () => limits.inc({ account }),
      };
    },
    watchPace: (account, rps) => void watched.set(account, rps),
  };
}

/** A gauge over the calls that are in a state now, read from the ledger when it is scraped. */
function openCalls(
  sums: () => Promise<readonly OpenSum[]>,
  registers: Registry[],
  { name, help, state, value }: OpenGauge,
): Gauge {
  return new Gauge({
    name,
    help,
    registers,
    async collect() {
      const read = (all: readonly OpenSum[]): number => {
        const sum = all.find((one) => one.state === state);
        return sum === undefined ? 0 : value(sum);
      };
      // NaN is "no value" to Prometheus: while the store is down the other metrics are still read.
      this.set(await sums().then(read, () => NaN));
    },
  });
}

function waitingForPrice(countLate: () => Promise<number>, registers: Registry[]): Gauge {
  return new Gauge({
    name: 'keybrake_waiting_for_price_calls',
    help: 'Calls that are settled at their quote until their vendor tells the price.',
    registers,
    async collect() {
      this.set(await countLate().catch(() => NaN));
    },
  });
}

/** All who ask at once, and until {@link READING_MS} after it has come, hear of the same reading. */
function reused<T>(read: () => Promise<T>): () => Promise<T> {
  let last: Promise<T> | undefined;
  let until = Infinity;
  return () => {
    if (last !== undefined && performance.now() < until) return last;
    const came = () => void (until = performance.now() + READING_MS);
    until = Infinity;
    last = read();
    last.then(came, came);
    return last;
  };
}
