/** What a call carries from step to step, and what the steps work with. */
import type { Logger } from 'pino';
import type { Reply } from './answers';
import type { Authenticator } from './authenticate';
import type { Authorised } from './authorise';
import type { DataRequest } from './call';
import type { Refusal } from './contract';
import type { Departures, Flights, Moment } from './inFlight';
import type { Kept } from './kept';
import type { KeyFacts } from './ledger/facts';
import type { Ledger } from './ledger/ledger';
import type { CallFacts, Claim, Reserved } from './ledger/reserve';
import type { Readable } from './lookup';
import type { ProxyMetrics } from './metrics';
import type { Slot } from './pace';
import type { Reconciler } from './reconcile';
import type { Seal } from './seal';
import type { Spool } from './spool';
import type { Turns } from './turns';
import type { UpstreamWarning } from './upstreamWarning';
import type { Vendors } from './vendors';
import type { Vendor, VendorRequest } from './vendors/vendor';

export interface Account extends Readable {
  /** What an answer must not show: the secret, and what is sent of it. */
  readonly secretForms: readonly string[];
}

export interface Steps {
  readonly authenticator: Authenticator;
  readonly ledger: Ledger;
  readonly seal: Seal;
  readonly accounts: ReadonlyMap<string, Account>;
  readonly vendors: Vendors;
  readonly departures: Departures;
  /** One at a time for an idempotency key or a likeness, and for a vendor object; the reconciler takes its turn too. */
  readonly claims: Flights;
  readonly objects: Flights;
  readonly reconciler: Pick<Reconciler, 'lookUpNow'>;
  /** Names this process in its calls; it may change while it runs. */
  readonly epoch: string;
  /** Where outcomes are kept that the store cannot take; without one their callers hear `outcome_unknown`. */
  readonly spool: Spool | undefined;
  readonly budgetWaitMs: number;
  readonly claimWaitMs: number;
  readonly paceWaitMs: number;
  /** Milliseconds until a price that the vendor tells later is looked for first. */
  readonly lookAfterMs: number;
  readonly metrics: ProxyMetrics;
  readonly upstreamWarning: UpstreamWarning;
  readonly logger: Logger;
}

/** A call on its way through the steps. */
export interface Passage {
  readonly facts: KeyFacts;
  readonly vendor: Vendor;
  readonly request: VendorRequest;
  readonly authorised: Authorised;
  readonly call: CallFacts;
  /** The idempotency key under which it takes its claim; undefined: it takes none. */
  readonly claimKey: string | undefined;
  readonly account: Account;
  readonly headers: Readonly<Record<string, string>>;
  readonly gone: () => boolean;
  readonly onGone: DataRequest['onGone'];
}

/** What is to leave, and what it takes in the ledger. */
export interface Errand {
  readonly claim: Claim | null;
  /** See `ReserveInput`. */
  readonly twin: string | null;
  readonly turns: Turns;
  readonly kept: Kept;
}

/** What came of one attempt: the answer, or the refusal to be thrown. */
export interface Attempt {
  readonly answer: Reply | Refusal;
  /** The vendor had too many calls, did nothing, and may be called again. */
  readonly again: boolean;
}

export type Held = Extract<Reserved, { kind: 'held' | 'resend' }>;

/** Money is held and there is a slot: the call may leave. */
export interface Ready {
  readonly reserved: Held;
  readonly leaveBy: Moment;
  readonly slot: Slot;
}
