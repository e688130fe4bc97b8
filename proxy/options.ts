/** What the proxy needs to run. Read from the environment by `src/config`; tests and embedders give it directly. */
import type { Logger } from 'pino';
import type { Micros, VendorId } from './contract';
import type { VendorSettings } from './vendors';
import type { LateOptions } from './late/poller';
import type { Credential } from './vendors/vendor';

/** One vendor credential. Its name in {@link ProxyOptions.accounts} is the `account` of keys and audit rows. */
export interface AccountOptions extends Credential {
  readonly vendor: VendorId;
  /** Origin of the vendor's API; another than the vendor's own for tests and sandboxes. */
  readonly upstream?: string;
  /** Calls a second at most. By default the vendor's figure at its own hosts, none at another upstream. */
  readonly maxRps?: number;
}

/** How calls whose outcome is unknown are found out about. All in milliseconds. */
export interface ReconcileOptions {
  /** Between two rounds through the unknown calls; 2,000. */
  readonly everyMs?: number;
  /** How long after the last moment at which a call's answer may come nobody looks it up, resends or resolves it; 5,000. */
  readonly marginMs?: number;
  /** From a call's first attempt to its second, then twice as long each time; 2,000. */
  readonly firstWaitMs?: number;
  /** How long the vendor is asked before the call is left to an operator; 120,000. */
  readonly lookForMs?: number;
}

export interface ProxyOptions extends VendorSettings {
  /** 127.0.0.1 by default. */
  readonly host?: string;
  /** 0: any free port. */
  readonly port?: number;
  /** `sqlite:./keybrake.db`, or `postgres://user@host/database`, which several processes may share. */
  readonly store: string;
  /** Bearer of the admin role. */
  readonly apiKey: string;
  /** Bearer of the worker role; without it there is none. */
  readonly workerKey?: string;
  /** The most that keys issued by a worker may spend per job, in micro-dollars. */
  readonly workerMaxMicros?: Micros;
  /** Newest first. Absent: read from, or made in, a 0600 file beside the SQLite store. Postgres needs them. */
  readonly masterKeys?: readonly string[];
  /** Folder for outcomes that Postgres cannot take while it is down; `keybrake-spool` by default. SQLite has none. */
  readonly spool?: string;
  /** By name. A key that names no account uses the one named after its vendor. */
  readonly accounts: Readonly<Record<string, AccountOptions>>;
  /** Operator's floors, dollars per unit of currency: a key's `fx` is never below them. */
  readonly fxFloor?: Readonly<Record<string, number>>;
  /** PEM texts. */
  readonly tls?: { readonly cert: string; readonly key: string };
  /** {@link createLogger} with the secrets of these options, so JSON lines on stderr, by default. */
  readonly logger?: Logger;
  /** What `base_url` says instead of the address listened on, e.g. behind a load balancer. */
  readonly publicUrl?: string;
  /** Milliseconds until a sent call without an answer is unknown; 25,000, below the SDKs' own time-outs. */
  readonly upstreamTimeoutMs?: number;
  /** Milliseconds that a call may wait for holds in flight to come back before `budget_busy`; 2,000. */
  readonly budgetWaitMs?: number;
  /** Milliseconds that a call may wait for the first one with its idempotency key; 20,000. */
  readonly claimWaitMs?: number;
  /** How prices that a vendor tells later are looked for. */
  readonly late?: Partial<LateOptions>;
  /** Milliseconds that a call may wait for a slot in its account's pace before `rate_limited`; 5,000. */
  readonly paceWaitMs?: number;
  /** Calls of one account that may wait for slots at one time; more are `rate_limited` at once; 1,000. */
  readonly paceQueueMax?: number;
  readonly reconcile?: ReconcileOptions;
}

/** Options of which those that several parts need are there. */
export type ReadyOptions = ProxyOptions & Required<Pick<ProxyOptions, 'logger'>>;

export interface RunningProxy {
  /** Where it listens, e.g. `http://127.0.0.1:8787`. */
  readonly url: string;
  readonly port: number;
  /** Takes no new calls, lets those in flight finish and settle, then closes the store. */
  close(): Promise<void>;
}
