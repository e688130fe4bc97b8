/** What a vendor is to the proxy: mostly data. One file a vendor; `index.ts` lists them. */
import type { Micros, RefusalCode, RefusalDetails, VendorId } from '../contract';
import type { BodyKind } from '../endpoints';
import type { Json } from '../json';
import type { Statement } from './statement';

/** Decoded name and value pairs of a form body, in the order they came. Read strictly: see `reading.ts`. */
export type FormPairs = readonly (readonly [name: string, value: string])[];

/** A request as the proxy read it; what is forwarded is rebuilt from this, never the caller's raw bytes. */
export interface VendorRequest {
  readonly method: string;
  /** Decoded and checked: plain segments, no query. */
  readonly path: string;
  readonly query: FormPairs;
  /** The fields of a form; of a JSON body its leaves, `{"a":{"b":[1]}}` as `a[b][0]` and `1`. */
  readonly body: FormPairs;
  /** A JSON body; absent for forms, and where the body is empty. */
  readonly json?: Json;
  /** Lower-cased names of the headers that the vendor may act on (`stripe-account`, …). */
  readonly headers: Readonly<Record<string, string>>;
}

/**
 * How a body is read. `form`: nested names, each given once (Stripe v1). `flat`: plain names, of which a few may be
 * repeated (Twilio). `json`: no name twice in one object (Stripe v2, Resend).
 */
export type { BodyKind };

/** What a vendor account is called with. */
export interface Credential {
  /** The vendor's real secret. Never logged, stored or answered. */
  readonly secret: string;
  /** User name of Basic authentication, where it is not {@link accountId}: e.g. Twilio's API key `SK…`. */
  readonly user?: string;
  /** The vendor's own id of the account, where its paths carry one: Twilio's `AC…`. */
  readonly accountId?: string;
}

/** What the key allows, as far as pricing needs it. */
export interface PricingTerms {
  /** Dollars per unit of currency, by lower-case code; `usd` needs no entry. */
  readonly fx: Readonly<Record<string, number>>;
}

/**
 * The most that a call can cost. With `object`, the spend belongs to a vendor object (VENDORS 2.2) and the ledger
 * holds only the rise over what it already counts for it.
 */
export type Price =
  | {
      readonly kind: 'free';
      /**
       * Cancel and metadata-only updates: the object whose mutations this call must be serialised with, because its
       * answer revalues what the ledger already counts for it. Absent: the answer says nothing about money.
       */
      readonly objectId?: string;
    }
  | { readonly kind: 'fixed'; readonly micros: Micros; readonly out: boolean }
  | {
      readonly kind: 'object';
      /**
       * Vendor's id of the object, e.g. `pi_…`. May be an alias (`ch_…` of a PaymentIntent): an id that the ledger
       * does not know is looked up, and {@link Valuation.objectId} of the look-up is the one to count under.
       */
      readonly objectId: string;
      /** Where it is looked up, if its id does not tell ({@link Vendor.lookupPath}). */
      readonly lookupPath?: string;
      /**
       * The object's whole value after this call, at most, in minor units of its own currency, which the ledger turns
       * into micro-dollars with {@link Vendor.toMicros}; null: the amount that the ledger, or a look-up, knows for it.
       */
      readonly total: { readonly minor: number } | null;
      /** Confirm and capture: the caller takes over the whole value, also when another key made the object. */
      readonly takesOver: boolean;
    }
  /**
   * Money out, against a payment made earlier. `objectId` names the payment, whose currency `minor` is in. With
   * `minor` null the whole rest is refunded, which is never more than the payment's `valueMicros`.
   */
  | { readonly kind: 'refund'; readonly objectId: string; readonly minor: number | null };

export type Pricing =
  | {
      readonly ok: true;
      readonly price: Price;
      /** Fields that the proxy adds to the body, such as a time limit: a pure function of the request. */
      readonly adds?: FormPairs;
    }
  | {
      readonly ok: false;
      readonly code: RefusalCode;
      readonly reason: string;
      readonly details?: RefusalDetails;
    };

/** What a vendor's answer says about money. Read from the answer's JSON after every send. */
export interface Valuation {
  /** The object whose spend this is; null when the answer names none: then `valueMicros` is the call's own cost. */
  readonly objectId: string | null;
  /** V of VENDORS 2.2: what the object costs now, in micro-dollars. */
  readonly valueMicros: Micros;
  /** What the object asks for (its `amount`), for a later confirm without an amount. */
  readonly amountMicros: Micros;
  /** Lower-case code of the object's currency, e.g. `usd`; `usd` where the answer says nothing about money. */
  readonly currency: string;
  /** Refunds, payouts, transfers. */
  readonly out: boolean;
  /** The vendor's id for the audit row. */
  readonly vendorId: string | null;
  /** The object is at its end: it is never worth anything else. */
  readonly final?: boolean | undefined;
  /**
   * `valueMicros` is the quote: the vendor tells the price later. `from`: milliseconds of the time at which it begins,
   * where that is not now.
   */
  readonly late?: { readonly from: number | null };
}

/** A call that was sent, for reading its answer. */
export interface SentCall {
  readonly request: VendorRequest;
  /** What was held for it: for vendors whose answer does not tell the price. 0 for a price on a vendor object. */
  readonly quoteMicros: Micros;
}

/** What is known of a call whose outcome is not, so that it can be found at the vendor. */
export interface Sought {
  readonly path: string;
  readonly ids: Readonly<Record<string, string>>;
  /** The idempotency key that was sent, where the vendor takes one. */
  readonly key: string | null;
  /** What was sent. Absent: its process died before that could be kept. */
  readonly request?: VendorRequest;
  /** Between when and when the vendor can have executed it, in milliseconds; what clocks may differ by is in it. */
  readonly fromMs: number;
  readonly toMs: number;
}

/** Something that the vendor has, and that may be what a call made: as it stands there, or where it is read. */
export type Candidate = { readonly vendorId: string } & ({ readonly object: unknown } | { readonly path: string });

/** One answer of a search. */
export interface FoundPage {
  readonly candidates: readonly Candidate[];
  /** The path of the next page; absent: there is no more that could matter. */
  readonly next?: string;
}

/** What the vendor answered, or would have, by what its object shows now. */
export interface Shown {
  readonly status: number;
  readonly answer: unknown;
}

/** How a call is found at the vendor, by reads that move nothing. None of these throws. */
export interface Finder {
  /**
   * `key`: by the idempotency key, for certain, and by the ledger's row alone. `content`: by what was sent, which must
   * be kept from before the call leaves; what is found may not have been counted for another call.
   */
  readonly by: 'key' | 'content';
  /** The path to search at. Undefined: too little is known of the call. */
  readonly search: (sought: Sought) => string | undefined;
  /** Undefined: the answer cannot be understood. */
  readonly read: (answer: unknown, sought: Sought) => FoundPage | undefined;
  /** Undefined: the object does not show what the call came to. */
  readonly show: (object: unknown, sought: Sought) => Shown | undefined;
  /** Where a search may not tell: the path of the object that the call was to change, and whether it shows the change. */
  readonly changed?: {
    readonly path: (sought: Sought) => string | undefined;
    readonly shows: (object: unknown, sought: Sought) => boolean;
  };
  /**
   * What a search cannot tell apart, as text. Of calls with the same likeness one is open at a time, or what one made
   * could be taken for what the other made.
   */
  readonly likeness?: (request: VendorRequest) => string | undefined;
}

export interface Route {
  /** `POST /v1/payment_intents/:id/confirm`; also the name that an allowlist uses. */
  readonly name: string;
  readonly method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  /** Path template; `:name` matches one plain id, also before a suffix: `/Messages/:Sid.json`. */
  readonly path: string;
  readonly body: BodyKind;
  /** May an identical request with the same idempotency key be sent again without being executed twice? */
  readonly idempotent: boolean;
  /** Fields that would move money elsewhere on other routes and are what this one is for: a transfer's destination. */
  readonly redirects?: readonly string[];
  /** Never throws. Runs after {@link Vendor.redirection}. */
  readonly price: (request: VendorRequest, ids: Readonly<Record<string, string>>, terms: PricingTerms) => Pricing;
  /**
   * Reads the answer of a 2xx or 402. Answers undefined when the body cannot be understood: then the outcome is
   * unknown. Never throws.
   */
  readonly value: (status: number, answer: unknown, terms: PricingTerms, sent: SentCall) => Valuation | undefined;
  /** Absent: what became of an unknown call cannot be looked up. */
  readonly find?: Finder;
}

/** What a vendor posts to the proxy when something becomes of an object: {@link Vendor.callbacks}. */
export interface Callbacks {
  /** Did the vendor sign it for this account? Undefined: the credential is not what it signs with. */
  readonly isGenuine: (post: CallbackPost, credential: Credential) => boolean | undefined;
  /** The object that there may be news of, and its account. Undefined: it has only begun, or is not understood. */
  readonly news: (fields: FormPairs) => { readonly accountId: string; readonly objectId: string } | undefined;
}

export interface CallbackPost {
  /** The address that the vendor was told. */
  readonly url: string;
  readonly fields: FormPairs;
  /** By lower-cased name. */
  readonly header: (name: string) => string | undefined;
}

export interface Redirection {
  readonly code: RefusalCode;
  readonly reason: string;
  readonly field: string;
}

export interface Vendor {
  readonly id: VendorId;
  readonly origin: string;
  /** Further hosts by the first segment of their paths, which is the proxy's own: `verify`. */
  readonly hosts?: Readonly<Record<string, string>>;
  /** The headers that carry the secret. */
  readonly authorization: (credential: Credential) => Readonly<Record<string, string>>;
  /** Null: the vendor knows no idempotency keys. */
  readonly idempotencyHeader: string | null;
  /**
   * A paid request without idempotency key and record is a retry of an earlier one of its job, or vault key, that says
   * the same word for word, for so many milliseconds. Absent: each is a call of its own.
   */
  readonly sameIsRetryMs?: number;
  readonly routes: readonly Route[];
  /**
   * Routes that hand out secrets or control the account: refused whatever the allowlist says. Method `*` is any
   * method; the pattern is tested against the decoded path.
   */
  readonly forbidden: readonly { readonly method: string; readonly pattern: RegExp }[];
  /** Request headers that are passed on; all others are dropped. */
  readonly passHeaders: readonly string[];
  /** Fields of `flat` bodies that are lists, and may be given more than once. */
  readonly repeats?: ReadonlySet<string>;
  /** Checks path, headers and parameters that would move money elsewhere, or name another account than the key's. */
  readonly redirection: (request: VendorRequest, route?: Route, accountId?: string) => Redirection | undefined;
  /** The path of the read-only look-up of an object made elsewhere, e.g. `/v1/payment_intents/pi_1`. */
  readonly lookupPath: (objectId: string, accountId?: string) => string;
  /** Reads the look-up's answer. Undefined: not understood, or in a currency without a rate (see `currencyOf`). */
  readonly lookupValue: (answer: unknown, terms: PricingTerms) => Valuation | undefined;
  /** The vendor's own word on what it executed; or why there is none. */
  readonly statement: Statement | { readonly none: string };
  /** Absent: the vendor posts nothing that the proxy would listen to. */
  readonly callbacks?: Callbacks;
  /** The currency code of a payment object as the vendor gives it, so that a missing rate can be named. */
  readonly currencyOf: (answer: unknown) => string | undefined;
  /**
   * Minor units of a currency in micro-dollars, rounded up. Undefined: no rate for the currency in `terms`, or more
   * than any cap can hold.
   */
  readonly toMicros: (minor: number, currency: string, terms: PricingTerms) => Micros | undefined;
  /** Statuses with which the vendor refuses before it does anything, if the body is its own error. */
  readonly clearRefusals: readonly number[];
  /** Is this 4xx body in the vendor's own error shape? Only then is it evidence that no money moved. */
  readonly isVendorError: (answer: unknown) => boolean;
  /** The vendor's own error code of a refusal or decline, for the audit row. */
  readonly errorCode: (answer: unknown) => string | null;
  /** Is this error of a 429 about calls at one time, so that the same call passes later? Not a quota, not a lock. */
  readonly isRateLimit: (answer: unknown) => boolean;
  /** Calls a second that the vendor's own hosts are asked for at most, where the operator does not say. */
  readonly maxRps?: (credential: Credential) => number;
  /** The body of a refusal by the proxy in the vendor's error shape, and its status where the vendor has its own. */
  readonly refusalBody: (code: RefusalCode, message: string, details: RefusalDetails) => object;
  readonly refusalStatus: (code: RefusalCode) => number;
}

/** DESIGN 5.4: answered before anything is done. */
export const CLEAR_REFUSALS: readonly number[] = [400, 401, 403, 404, 429];

/** The answer says nothing about money, or nothing of it moved. */
export function noMoney(vendorId: string | null): Valuation {
  return { objectId: null, vendorId, valueMicros: 0, amountMicros: 0, currency: 'usd', out: false };
}
