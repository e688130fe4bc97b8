/**
 * Looks for prices that a vendor tells later: reads the objects of settled calls with the real secret, each again after
 * a longer while, until the price is there or it is too late for one. What is to be looked for is in the ledger, so
 * nothing is forgotten by a restart, and the memory needed does not grow with what waits. A look is a read-only request
 * of the proxy's own: it goes out for dead keys too.
 */
import type { Logger } from 'pino';
import type { Micros } from '../contract';
import { parsed } from '../forward';
import type { Ledger } from '../ledger/ledger';
import { giveUpPrice, hasten, type Look, LOOK_FIRST_MS, type LookTimes, settlePrice, takeLook } from '../ledger/late';
import { type Readable, readVendor, withoutRate } from '../lookup';
import type { ProxyMetrics } from '../metrics';
import type { Vendors } from '../vendors';

export interface LateOptions extends LookTimes {
  /** Milliseconds after a call until its price is looked for; 30,000. The next looks wait twice as long each. */
  readonly firstMs: number;
  /** Milliseconds between two looks at most; 3,600,000. */
  readonly longestMs: number;
  /** Milliseconds after which a price does not come any more; 25 hours: Twilio fills it in within 24. */
  readonly giveUpMs: number;
  /** Looks that are begun per second at most, all accounts together; 10. */
  readonly perSecond: number;
  /** Milliseconds between two questions to the ledger for what is due; 1,000. */
  readonly everyMs: number;
}

export const LATE: LateOptions = {
  firstMs: LOOK_FIRST_MS,
  longestMs: 3_600_000,
  giveUpMs: 25 * 3_600_000,
  perSecond: 10,
  everyMs: 1_000,
};

/** Between two looks for one price, however much news of it comes. */
const GAP_MS = 10_000;
/** Looks under way at one time. */
const WIDTH = 10;
/** How long a look waits for a slot in the account's pace; then it is left for later. */
const SLOT_WAIT_MS = 2_000;
/** After the vendor has said that there are too many requests. */
const REST_MS = 10_000;

export interface PollerParts {
  readonly ledger: Ledger;
  readonly accounts: ReadonlyMap<string, Readable>;
  readonly vendors: Vendors;
  readonly metrics: Pick<ProxyMetrics, 'adjusted'>;
  readonly logger: Logger;
  readonly times: LateOptions;
}

export interface Poller {
  /** There may be news of these objects, `<account>/<vendor's id>`. Those whose price is not waited for are ignored. */
  hint(objectIds: readonly string[]): Promise<void>;
  /** Begins no look any more, and resolves when those under way have ended. */
  close(): Promise<void>;
}

export function startPoller(parts: PollerParts): Poller {
  const { ledger, logger, times } = parts;
  const stop = new AbortController();
  const closing = () => stop.signal.aborted;
  let wake = () => {};

  /** Ends early when something is due before its time, or the poller closes. */
  function pause(ms: number): Promise<void> {
    if (closing()) return Promise.resolve();
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms).unref();
      wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  /** No look begins within these milliseconds, whatever is due; only closing ends them. */
  async function rest(ms: number): Promise<void> {
    const end = Date.now() + ms;
    while (!closing() && Date.now() < end) await pause(end - Date.now());
  }

  /** Answers how many looks there were, and whether the vendor wants fewer. */
  async function round(): Promise<{ readonly looks: number; readonly limited: boolean }> {
    const due = await ledger.store.listLate({ dueAt: await ledger.now(), limit: WIDTH });
    if (due.length === 0 || closing()) return { looks: 0, limited: false };
    const looks = due.map(async ({ object_id: id }) => {
      const look = await ledger.submit((rows, now) => takeLook(rows, now, id, times));
      return look !== undefined && lookFor(parts, look, closing);
    });
    const limited = await Promise.all(looks);
    return { looks: due.length, limited: limited.includes(true) };
  }

  async function run(): Promise<void> {
    while (!closing()) {
      const { looks, limited } = await round().catch((error: unknown) => {
        logger.error({ err: error }, 'prices that come later were not looked for');
        return { looks: 0, limited: false };
      });
      await rest(limited ? REST_MS : (looks * 1_000) / times.perSecond);
      if (looks < WIDTH) await pause(times.everyMs);
    }
  }

  const running = run();
  return {
    async hint(objectIds) {
      const waiting = await ledger.submit((rows, now) => objectIds.map((id) => hasten(rows, now, id, GAP_MS)));
      if (waiting.includes(true)) wake();
    },
    async close() {
      stop.abort();
      wake();
      await running;
    },
  };
}

/** One look. What it does not find out is looked for again, when {@link takeLook} said. Answers whether to slow down. */
async function lookFor(parts: PollerParts, look: Look, closing: () => boolean): Promise<boolean> {
  const { ledger, metrics, logger, times } = parts;
  const { object_id: objectId, call_id: callId, since } = look.late;
  const seen = await read(parts, look, closing);
  if (seen.kind === 'unclear') return seen.limited;
  if (seen.kind === 'price') {
    const adjusted = await ledger.record((rows) => settlePrice(rows, objectId, seen.micros));
    ledger.changed(adjusted?.budgets ?? []);
    metrics.adjusted(look.key.vendor, adjusted?.byMicros ?? 0);
  } else if (look.takenAt - since >= times.giveUpMs) {
    await ledger.record((rows) => giveUpPrice(rows, objectId));
    logger.warn(
      { callId, objectId, why: seen.why },
      'the vendor told no price that counts; the call stays at its quote',
    );
  } else if (seen.kind === 'refused') {
    logger.warn({ callId, objectId, why: seen.why }, 'a price that comes later could not be read');
  }
  return false;
}

/** `unclear`: nobody can say whether there is a price, so it is never the last look. */
type Seen =
  | { readonly kind: 'price'; readonly micros: Micros }
  | { readonly kind: 'none' | 'refused'; readonly why: string }
  | { readonly kind: 'unclear'; readonly limited: boolean };

/** Never throws. */
async function read({ accounts, vendors }: PollerParts, { late, key }: Look, closing: () => boolean): Promise<Seen> {
  const account = accounts.get(key.account);
  const vendor = vendors.get(key.vendor);
  if (account === undefined || vendor === undefined) {
    return { kind: 'refused', why: `the proxy has no account ${key.account} any more` };
  }
  const id = late.object_id.slice(key.account.length + 1);
  const path = vendor.lookupPath(id, account.accountId);
  const sent = await readVendor(vendor, account, path, () => (closing() ? 'the proxy is stopping' : undefined), {
    waitMs: SLOT_WAIT_MS,
  });
  if (sent.kind !== 'answered') return { kind: 'unclear', limited: false };
  if (sent.status === 429 || sent.status >= 500) return { kind: 'unclear', limited: sent.status === 429 };
  const why = `the vendor answered ${sent.status}`;
  if (sent.status !== 200) return { kind: sent.status === 404 ? 'none' : 'refused', why };
  const answer = parsed(sent.body);
  const terms = { fx: JSON.parse(key.fx) as Record<string, number> };
  const value = vendor.lookupValue(answer, terms);
  if (value?.objectId === id) return { kind: 'price', micros: value.valueMicros };
  return { kind: 'none', why: withoutRate(vendor, answer, terms) ?? 'it has no price' };
}
