/** What the price functions of all vendors share. */
import { Refusal, type RefusalCode } from '../contract';
import type { FormPairs, Price, PricingTerms, Route, VendorRequest } from './vendor';

export const FREE: Price = { kind: 'free' };

/** A route that costs nothing whatever its parameters are. */
export const free: Route['price'] = () => ({ ok: true, price: FREE });

export type Ids = Readonly<Record<string, string>>;

/** Makes a table's `price` of a function that throws its refusals. */
export function pricing(
  priceOf: (
    request: VendorRequest,
    ids: Ids,
    terms: PricingTerms,
  ) => { readonly price: Price; readonly adds?: FormPairs },
): Route['price'] {
  return (request, ids, terms) => {
    try {
      return { ok: true, ...priceOf(request, ids, terms) };
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      return { ok: false, code: error.code, reason: error.message, details: error.details };
    }
  };
}

export function unpriceable(field: string, message: string): Refusal {
  return refused('request_unpriceable', field, message);
}

export function refused(code: RefusalCode, field: string, message: string): Refusal {
  return new Refusal(code, message, { field });
}
