/** What a vendor is to the proxy: mostly data. One file a vendor; `index.ts` lists them. */
import type { Micros, RefusalCode, RefusalDetails, VendorId } from '../contract';

/** Decoded name and value pairs of a form body, in the order they came. Read strictly: see `reading.ts`. */
export type FormPairs = readonly (readonly [name: string, value: string])[];

/** A request as the proxy read it; what is forwarded is rebuilt from this, never the caller's raw bytes. */
export interface VendorRequest {
  readonly method: string;
  /** Decoded and checked: plain segments, no query. */
  readonly path: string;
  readonly query: FormPairs;
  readonly body: FormPairs;
  /** Lower-cased names of the headers that the vendor may act on (`stripe-account`, …). */
  readonly headers: Readonly<Record<string, string>>;
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
  | { readonly kind: 'free' }
  | { readonly kind: 'fixed'; readonly micros: Micros; readonly out: boolean }
  | {
      readonly kind: 'object';
      /** Vendor's id of the object, e.g. `pi_…`. */
      readonly objectId: string;
      /**
       * The object's whole value after this call, at most; null: the amount that the ledger, or a look-up at the
       * vendor, knows for it.
       */
      readonly totalMicros: Micros | null;
      /** Confirm and capture: the caller takes over the whole value, also when another key made the object. */
      readonly takesOver: boolean;
    }
  /** A refund without an amount: what is left of the named payment must be looked up first. */
  | { readonly kind: 'refund_rest'; readonly objectId: string };

export type Pricing =
  | { readonly ok: true; readonly price: Price }
  | {
      readonly ok: false;
      readonly code: RefusalCode;
      readonly reason: string;
      readonly details?: RefusalDetails;
    };

/** What a vendor's answer says about money. Read from the answer's JSON after every send. */
export interface Valuation {
  /** The object whose spend this is; null when the answer names none. */
  readonly objectId: string | null;
  /** V of VENDORS 2.2: what the object costs now, in micro-dollars. */
  readonly valueMicros: Micros;
  /** What the object asks for (its `amount`), for a later confirm without an amount. */
  readonly amountMicros: Micros;
  /** Refunds, payouts, transfers. */
  readonly out: boolean;
  /** The vendor's id for the audit row. */
  readonly vendorId: string | null;
}

export interface Route {
  /** `POST /v1/payment_intents/:id/confirm`; also the name that an allowlist uses. */
  readonly name: string;
  readonly method: 'GET' | 'POST' | 'DELETE';
  /** Path template; `:name` matches one plain id. */
  readonly path: string;
  readonly price: (request: VendorRequest, ids: Readonly<Record<string, string>>, terms: PricingTerms) => Pricing;
  /**
   * Reads the answer of a 2xx or 402. Answers undefined when the body cannot be understood: then the outcome is
   * unknown. Never throws.
   */
  readonly value: (status: number, answer: unknown, terms: PricingTerms) => Valuation | undefined;
}

export interface Vendor {
  readonly id: VendorId;
  readonly origin: string;
  /** May an identical request with the same idempotency key be sent again without being executed twice? */
  readonly idempotent: boolean;
  readonly routes: readonly Route[];
  /** Routes that hand out secrets or control the account: refused whatever the allowlist says. */
  readonly forbidden: readonly { readonly method: string; readonly pattern: RegExp }[];
  /** Request headers that are passed on; all others are dropped. */
  readonly passHeaders: readonly string[];
  /** Checks headers and parameters that would redirect money. Answers a refusal or undefined. */
  readonly redirection: (request: VendorRequest) => { code: RefusalCode; reason: string; field: string } | undefined;
  /** The path of the read-only look-up of an object made elsewhere, e.g. `/v1/payment_intents/pi_1`. */
  readonly lookupPath: (objectId: string) => string;
  readonly lookupValue: (answer: unknown, terms: PricingTerms) => Valuation | undefined;
  /** Is this 4xx body in the vendor's own error shape? Only then is it evidence that no money moved. */
  readonly isVendorError: (answer: unknown) => boolean;
  /** The vendor's own error code of a refusal or decline, for the audit row. */
  readonly errorCode: (answer: unknown) => string | null;
  /** The body of a refusal by the proxy in the vendor's error shape, and its status where the vendor has its own. */
  readonly refusalBody: (code: RefusalCode, message: string, details: RefusalDetails) => object;
  readonly refusalStatus: (code: RefusalCode) => number;
}
