/** A vendor's own word on what it executed: how its objects are read by id, and those of a time listed. */
import type { PricingTerms, Valuation } from './vendor';

export interface Statement {
  /** How an object is read; undefined: the vendor has no way to read one of its kind by its id. */
  readonly of: (objectId: string, accountId?: string) => ObjectRead | undefined;
  /** What the vendor made between two times, in milliseconds; newest first, page by page. */
  readonly made: (fromMs: number, toMs: number, accountId?: string) => Listing;
}

export interface ObjectRead {
  /** Path and query. */
  readonly path: string;
  /** Where it is read if the vendor answers 400 to {@link path}: an older version of its API. */
  readonly olderPath?: string;
  /** What the object is worth now, as the ledger would count it. Undefined: the vendor does not tell, see `untold`. */
  readonly value: (answer: unknown, terms: PricingTerms) => Valuation | undefined;
  /** What it means that there is no value. */
  readonly untold: string;
  /** The list of what was given back of it; undefined when nothing was. */
  readonly back?: (answer: unknown) => Listing | undefined;
}

/** A list at the vendor. */
export interface Listing {
  /** Path and query of the first page. */
  readonly path: string;
  /** Undefined: the answer is not understood. */
  readonly page: (answer: unknown, terms: PricingTerms) => ListedPage | undefined;
}

export interface ListedPage {
  readonly items: readonly Listed[];
  readonly next?: string;
}

export interface Listed {
  /** As the ledger names the object: a charge of a PaymentIntent is the PaymentIntent. */
  readonly objectId: string;
  readonly vendorId: string;
  /** Null: the vendor does not tell yet, or there is no rate for its currency. */
  readonly valueMicros: number | null;
  /** When the vendor made it, in milliseconds; it tells whole seconds. */
  readonly madeMs: number;
}
