/**
 * Finds out what became of calls whose outcome is unknown: it works them off with back-off, sends again what the vendor
 * executes once, looks up what must not be sent again, and leaves to an operator what neither tells. DESIGN 5.6.
 */
import { setMaxListeners } from 'node:events';
import type { Logger } from 'pino';
import { within } from '../deadlines';
import type { Flights } from '../inFlight';
import { finish } from '../ledger/finish';
import { deadAt, leaveToOperator } from '../ledger/resume';
import type { ProxyMetrics } from '../metrics';
import type { ListedCall } from '../stores/store';
import { type ActParts, lookUp, resend } from './act';
import { type Case, caseOf, type CaseParts, findUnknown, situationOf } from './case';
import { backOff, decide } from './decide';
import { Lanes } from './lanes';
import { stuckWarning } from './warn';

export interface ReconcilerParts extends Omit<ActParts, 'stopping'>, CaseParts {
  readonly claims: Flights;
  readonly objects: Flights;
  readonly metrics: ProxyMetrics;
  readonly logger: Logger;
}

export interface ReconcilerTimes {
  /** Between two rounds through the unknown calls. */
  readonly everyMs: number;
  /** From a call's first attempt to its second; then twice as long each time. */
  readonly firstWaitMs: number;
  /** How long the vendor is asked before an operator is told. */
  readonly lookForMs: number;
  /** How long a client's retry waits for a look-up. */
  readonly claimWaitMs: number;
}

export interface Reconciler {
  /**
   * Looks an unknown call up for its client, who has its turn (the flight of its claim) already. Answers after how many
   * milliseconds to come back; null: the call has ended, or there is nothing to wait for.
   */
  lookUpNow(callId: string): Promise<number | null>;
  start(): void;
  /** Begins nothing more; resolves when what is under way has ended. */
  stop(): Promise<void>;
}

/** Times by the clock that nobody sets: the store's need not be this machine's. */
interface Attempts {
  readonly tries: number;
  readonly since: number;
  readonly nextAt: number;
  /** What came of the last one. */
  readonly why: string;
}

/** Attempts at one time for one vendor account. */
const ABREAST = 4;
const PAGE = 500;
/** Of one round; the next goes on from there. */
const PAGES_MAX = 20;
/** Calls whose attempts are remembered; with one more all are forgotten, and tried again soon. */
const REMEMBERED_MAX = 50_000;

export function createReconciler(parts: ReconcilerParts, times: ReconcilerTimes): Reconciler {
  const { ledger, claims, objects, live, metrics, logger } = parts;
  const lanes = new Lanes(ABREAST);
  const remembered = new Map<string, Attempts>();
  const warning = stuckWarning(logger);
  let timer: NodeJS.Timeout | undefined;
  let round: Promise<void> | undefined;
  let after: string | undefined;
  const stopping = new AbortController();
  // Every look-up that waits for a slot listens.
  setMaxListeners(0, stopping.signal);
  const acting: ActParts = { ...parts, stopping: stopping.signal };

  async function goRound(): Promise<void> {
    for (let pages = 0; pages < PAGES_MAX && !stopping.signal.aborted; pages += 1) {
      const calls = await ledger.store.listCalls({ state: 'unknown', order: 'oldest', limit: PAGE, after });
      // By when a call may leave is said by the store's clock, which need not be this machine's.
      const now = calls.length === 0 ? 0 : await ledger.now();
      for (const call of calls) {
        if (now < deadAt(call, live) || performance.now() < (remembered.get(call.call_id)?.nextAt ?? 0)) continue;
        lanes.add(call.account, call.call_id, () => inTurn(call));
      }
      after = calls.length < PAGE ? undefined : calls.at(-1)?.call_id;
      if (after === undefined) break;
      // The calls of clients go first.
      await new Promise((resolve) => setImmediate(resolve));
    }
    warning.flush();
  }

  /** One attempt, unless the object that it is about is being changed. Never rejects. */
  async function inTurn({ call_id: callId, object_id: object }: ListedCall): Promise<void> {
    try {
      await alone(objects, object, () => attempt(callId));
    } catch (error) {
      logger.error({ err: error, call_id: callId }, 'an unknown call could not be worked on');
      remember(callId, 'it could not be worked on');
    }
  }

  async function read(callId: string): Promise<Case | undefined> {
    const found = await ledger.submit((rows, now) => findUnknown(rows, now, callId));
    return found && caseOf(found, parts);
  }

  async function attempt(callId: string): Promise<void> {
    const known = await read(callId);
    if (known === undefined) return void remembered.delete(callId);
    const before = remembered.get(callId);
    const triedForMs = before === undefined ? 0 : performance.now() - before.since;
    const attempts = { tries: before?.tries ?? 0, triedSince: known.now - triedForMs };
    const step = decide(situationOf(known, live, attempts), times.lookForMs);
    if (step === 'wait') return;
    if (step === 'release') return letGo(known);
    if (step === 'give_up') return giveUp(known, before?.why ?? 'it can neither be sent again nor looked up');
    if (step === 'rest' || known.means === undefined) return remember(callId, before?.why ?? '');
    if (step === 'resend') await alone(claims, known.call.scope, () => act(known, 'resent'));
    // A client's own retry need not wait for a read that may take long.
    else await act(known, 'found');
  }

  async function act(known: Case, how: 'resent' | 'found'): Promise<void> {
    if (known.means === undefined || stopping.signal.aborted) return;
    const { ended, why } = await (how === 'resent' ? resend : lookUp)(acting, known, known.means);
    if (ended) done(known, how);
    else remember(known.call.call_id, why);
  }

  async function letGo(known: Case): Promise<void> {
    const { call_id: callId, http_status: httpStatus, code } = known.call;
    const outcome = { state: 'released', httpStatus, code } as const;
    await ledger.submit((rows, now) => finish(rows, now, callId, outcome, 'reconciler'));
    done(known, 'nothing_held');
  }

  async function giveUp({ call, facts }: Case, why: string): Promise<void> {
    if (await ledger.submit((rows, now) => leaveToOperator(rows, now, call.call_id, why))) {
      metrics.reconciled.inc({ vendor: facts.vendor, outcome: 'stuck' });
      warning.add(call, why);
    }
    remember(call.call_id, why);
  }

  function done({ call, facts }: Case, outcome: 'resent' | 'found' | 'nothing_held'): void {
    remembered.delete(call.call_id);
    metrics.reconciled.inc({ vendor: facts.vendor, outcome });
    logger.info({ call_id: call.call_id, outcome }, 'an unknown call has been cleared');
  }

  function remember(callId: string, why: string): void {
    const now = performance.now();
    const { tries = 0, since = now } = remembered.get(callId) ?? {};
    if (remembered.size >= REMEMBERED_MAX) remembered.clear();
    remembered.set(callId, {
      tries: tries + 1,
      since,
      nextAt: now + backOff(tries, times.firstWaitMs),
      why,
    });
  }

  /**
   * From when on a caller's own retry may have the call looked up. A call that is never sent again, and that this very
   * process has called unknown, is over: what is found of it is a fact, and what is not yet found is looked for again.
   */
  function overFrom({ call, means }: Case): number {
    const over = means?.route.idempotent === false && call.epoch === live.epoch;
    return over ? 0 : deadAt(call, live);
  }

  async function lookUpNow(callId: string): Promise<number | null> {
    const known = await read(callId);
    if (known?.means?.find === undefined) return null;
    const early = overFrom(known) - known.now;
    if (early > 0) return early;
    const looked = await within(lookUp(acting, known, known.means), times.claimWaitMs);
    if (looked?.ended === true) done(known, 'found');
    const { call } = looked?.ended === true ? {} : ((await read(callId)) ?? {});
    return call === undefined || call.stuck_at !== null ? null : times.firstWaitMs;
  }

  function start(): void {
    const begin = () => {
      round ??= goRound()
        .catch((error: unknown) => logger.error({ err: error }, 'the unknown calls could not be read'))
        .finally(() => (round = undefined));
    };
    timer = setInterval(begin, times.everyMs).unref();
    begin();
  }

  async function stop(): Promise<void> {
    stopping.abort();
    clearInterval(timer);
    await round;
    await lanes.stop();
  }

  return { lookUpNow, start, stop };
}

/** Does the work if nobody else has the name now. */
async function alone(flights: Flights, name: string | null, work: () => Promise<void>): Promise<void> {
  if (name === null) return work();
  const giveBack = await flights.take(name, 0);
  if (giveBack === undefined) return;
  try {
    await work();
  } finally {
    giveBack();
  }
}
