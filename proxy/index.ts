/** The proxy as a value: `startProxy(options)` runs it, `close()` drains it. It knows nothing of Temporal. */
import { getRequestListener } from '@hono/node-server';
import { secretForms } from './answers';
import { Authenticator } from './authenticate';
import { createControlApp } from './control/app';
import { within } from './deadlines';
import { type Account, createHandler } from './handle';
import { newId } from './ids';
import { Departures, Flights } from './inFlight';
import { createReceiver } from './late/callbacks';
import { LATE, startPoller } from './late/poller';
import { Ledger } from './ledger/ledger';
import { ledgerWarning } from './ledgerWarning';
import { createMetrics, type ProxyMetrics } from './metrics';
import { createLogger } from './log';
import type { ProxyOptions, ReadyOptions, RunningProxy } from './options';
import { Pacer } from './pace';
import { startPruning } from './prune';
import { createReconciler } from './reconcile';
import { type AllReconcileOptions, reconcileOptions } from './reconcile/times';
import { recover } from './recover';
import { startReplicas } from './replicas';
import { createSharedPace } from './sharedPace';
import { MASTER_CHECK, Seal } from './seal';
import { listen, type Listening } from './server';
import { Spool } from './spool';
import { openStore } from './store';
import { openUpstreams } from './upstreams';
import { upstreamWarning } from './upstreamWarning';
import { createVendors, type Vendors } from './vendors';

export * from './contract';
export * from './client';
export * from './drift/lines';
export * from './endpoints';
export * from './retention';
export type { AccountOptions, ProxyOptions, ReconcileOptions, RunningProxy } from './options';
export { createLogger, type LogLevel, type LogOptions } from './log';
export { StoreError } from './stores/store';

const UPSTREAM_TIMEOUT_MS = 25_000;
const BUDGET_WAIT_MS = 2_000;
const CLAIM_WAIT_MS = 20_000;
const PACE_WAIT_MS = 5_000;
/** How long a proxy that stops waits for a store that cannot be written. */
const CLOSE_WAIT_MS = 15_000;
const PACE_QUEUE_MAX = 1_000;
/** HTTP/1.0 needs no `Host`, and load balancers ask `/healthz` in it. */
const HOST_UNSAID = 'localhost';

/**
 * Opens the ledger, marks what a dead process left as unknown, and listens. Throws {@link StoreError} when the ledger
 * cannot be opened, and an Error when an option is no use, the master key does not fit the ledger, or the port is taken.
 */
export async function startProxy(given: ProxyOptions): Promise<RunningProxy> {
  const options = { ...given, logger: given.logger ?? createLogger({ secrets: secretsOf(given) }) };
  const reconcile = reconcileOptions(options.reconcile);
  const { store, masterKeys, keysFrom } = await openStore(options);
  const metrics = createMetrics(store);
  const ledger: Ledger = new Ledger(store, metrics.committed, (error) => warning.failed(error));
  const warning = ledgerWarning({ logger: options.logger, tryIt: () => tryLedger(ledger) });
  try {
    const seal = new Seal(masterKeys);
    await ledger.submit((rows) => rows.put('meta', seal.checkAgainst(rows.get('meta', MASTER_CHECK), keysFrom)));
    if (store.exclusive) await recover(ledger, options.logger);
    const spool = store.exclusive ? undefined : new Spool(options.spool ?? 'keybrake-spool', seal, options.logger);
    await spool?.prepare();
    await spool?.apply(ledger);
    const running = await serve(options, reconcile, ledger, seal, metrics, spool);
    return {
      ...running,
      close() {
        warning.close();
        return running.close();
      },
    };
  } catch (error) {
    warning.close();
    ledger.end();
    await store.close();
    throw error;
  }
}

/** What no line of the log may hold. */
function secretsOf({ accounts, apiKey, workerKey, masterKeys = [] }: ProxyOptions): string[] {
  const roles = workerKey === undefined ? [apiKey] : [apiKey, workerKey];
  return [...Object.values(accounts).map(({ secret }) => secret), ...roles, ...masterKeys];
}

/** Writes what is there. Rejects while the ledger cannot be written or takes no holds. */
async function tryLedger(ledger: Ledger): Promise<void> {
  await ledger.hold((rows) => {
    const row = rows.get('meta', MASTER_CHECK);
    if (row !== undefined) rows.put('meta', row);
  });
}

async function serve(
  options: ReadyOptions,
  { marginMs, ...reconcileTimes }: AllReconcileOptions,
  ledger: Ledger,
  seal: Seal,
  metrics: ProxyMetrics,
  spool: Spool | undefined,
): Promise<RunningProxy> {
  const { logger } = options;
  const upstreamTimeoutMs = options.upstreamTimeoutMs ?? UPSTREAM_TIMEOUT_MS;
  const vendors = createVendors(options);
  const accounts = openAccounts(options, vendors, upstreamTimeoutMs, metrics);
  const departures = new Departures();
  const [claims, objects] = [new Flights(), new Flights()];
  const { shared: peers, exclusive } = ledger.store;
  const ownEpoch = newId('req');
  const epochNow = () => peers?.epoch ?? ownEpoch;
  const live = {
    get epoch() {
      return epochNow();
    },
    upstreamTimeoutMs,
    marginMs,
    exclusive,
  };
  const kill = (keyId: string): number => {
    const inFlight = departures.kill(keyId);
    ledger.wake();
    for (const { pacer } of accounts.values()) pacer.dismiss((facts) => departures.isDead(facts));
    return inFlight;
  };
  const underWayMs = upstreamTimeoutMs + marginMs;
  const pacers = new Map([...accounts].map(([name, { pacer }]) => [name, pacer]));
  const pace = peers && createSharedPace({ shared: peers, pacers });
  const replicas = peers && pace && startReplicas({ shared: peers, ledger, kill, underWayMs, pace, logger });
  const claimWaitMs = options.claimWaitMs ?? CLAIM_WAIT_MS;
  let listening: Listening | undefined = undefined;
  let draining = false;

  const late = { ...LATE, ...options.late };
  const shared = { ledger, seal, accounts, vendors, departures, claims, objects, metrics, logger };
  const reconciler = createReconciler(
    { ...shared, live, lookAfterMs: late.firstMs },
    { ...reconcileTimes, claimWaitMs },
  );
  const authenticator = new Authenticator(seal, ledger);
  const handle = createHandler({
    ...shared,
    authenticator,
    reconciler,
    get epoch() {
      return epochNow();
    },
    spool,
    budgetWaitMs: options.budgetWaitMs ?? BUDGET_WAIT_MS,
    claimWaitMs,
    lookAfterMs: late.firstMs,
    paceWaitMs: options.paceWaitMs ?? PACE_WAIT_MS,
    upstreamWarning: upstreamWarning(logger),
  });
  const poller = startPoller({ ledger, accounts, vendors, metrics, logger, times: late });
  const control = createControlApp({
    ledger,
    options,
    vendors,
    live,
    killed: (keyId) => (replicas === undefined ? kill(keyId) : replicas.revoked(keyId)),
    baseUrl: () => options.publicUrl ?? listening?.url ?? '',
    vaultKeyFor: (keyId) => seal.vaultKeyFor(keyId),
    draining: () => draining,
    metrics,
    accounts,
    receive: createReceiver({ accounts: options.accounts, vendors, callbackUrl: options.callbackUrl, poller }),
  });
  const answerControl = getRequestListener(control.fetch, { hostname: HOST_UNSAID });
  const running: Listening = await listen(
    {
      handle,
      refuses: (authorization) => authenticator.refuses(authorization),
      control: (request, response) => void answerControl(request, response),
      tls: options.tls,
      onFull: (connections) => logger.warn({ connections }, 'all connections are taken: silent ones are cut off'),
    },
    options.host ?? '127.0.0.1',
    options.port ?? 0,
  ).catch(async (error: unknown) => {
    await Promise.all([poller.close(), replicas?.close()]);
    throw error;
  });
  listening = running;
  const stopPruning = startPruning(ledger, logger);
  reconciler.start();
  logger.info({ url: running.url, accounts: [...accounts.keys()] }, 'the proxy is listening');

  return {
    url: running.url,
    port: running.port,
    async close() {
      if (draining) return;
      draining = true;
      const pruned = stopPruning();
      ledger.wake();
      const others = Promise.all([poller.close(), reconciler.stop(), pruned]);
      await running.drain(upstreamTimeoutMs + 10_000);
      await within(Promise.all([others, ledger.idle()]), CLOSE_WAIT_MS);
      // What the store has not taken by now is spooled, or its hold becomes unknown: nobody waits for it any more.
      ledger.end();
      await others;
      await replicas?.close();
      await Promise.all([...accounts.values()].map(({ forwarder }) => forwarder.close()));
      await ledger.store.close();
      logger.info('the proxy has drained and stopped');
    },
  };
}

function openAccounts(
  { accounts, paceQueueMax: queueMax = PACE_QUEUE_MAX }: ProxyOptions,
  vendors: Vendors,
  timeoutMs: number,
  metrics: ProxyMetrics,
): ReadonlyMap<string, Account> {
  return new Map(
    Object.entries(accounts).map(([name, { vendor: id, upstream, maxRps: given, ...credential }]) => {
      const vendor = vendors.get(id);
      if (vendor === undefined) throw new Error(`The account ${name} is of the vendor ${id}, which is not known.`);
      const forwarder = openUpstreams(vendor, upstream, timeoutMs);
      // A stand-in has limits of its own, if any.
      const atVendor = upstream === undefined || upstream === vendor.origin;
      const maxRps = given ?? (atVendor ? vendor.maxRps?.(credential) : undefined);
      const pacer = new Pacer({ maxRps, queueMax, observer: metrics.paceOf(name) });
      metrics.watchPace(name, () => pacer.rps);
      return [name, { ...credential, pacer, secretForms: secretForms(vendor, credential), forwarder }];
    }),
  );
}
