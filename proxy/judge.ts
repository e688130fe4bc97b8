/** What a vendor's answer is evidence of, DESIGN 5.4. Pure. */
import { parsed, type Sent } from './forward';
import type { Outcome } from './ledger/finish';
import type { Price, PricingTerms, Route, Valuation, Vendor, VendorRequest } from './vendors/vendor';

/** An outcome before its answer is sealed. */
export type Verdict =
  | (Omit<Extract<Outcome, { state: 'settled' }>, 'answer'> & { readonly keepAnswer: boolean })
  | Extract<Outcome, { state: 'released' | 'unknown' }>;

export interface Judged {
  readonly sent: Sent;
  readonly vendor: Vendor;
  readonly route: Route;
  readonly price: Price;
  readonly request: VendorRequest;
  readonly terms: PricingTerms;
  /** The call had not been sent before. */
  readonly first: boolean;
}

const RELEASED = { state: 'released' } as const;
const RELEASED_BY_FIRST_SEND = { state: 'released', ofFirstSend: true } as const;

/** Of a vendor's error code, which the audit log keeps. */
const CODE_CHARS_MAX = 200;

/**
 * 2xx and 402 settle; a clear refusal in the vendor's own shape to the first send, or nothing sent, releases; all else
 * is unknown. A vendor whose 402 is such a refusal (out of credit) says so in its table. A free call has no money to
 * hold: its outcome is never unknown.
 */
export function judge({ sent, vendor, route, price, request, terms, first }: Judged): Verdict {
  const free = price.kind === 'free';
  const released = free ? RELEASED : RELEASED_BY_FIRST_SEND;
  if (sent.kind === 'unsent') {
    const none = { httpStatus: null, code: 'upstream_unreachable' };
    return first || free ? { ...released, ...none } : { state: 'unknown', ...none };
  }
  if (sent.kind === 'lost') return { state: free ? 'released' : 'unknown', httpStatus: null, code: 'outcome_unknown' };

  const { status } = sent;
  const answer = parsed(sent.body);
  const code = vendor.errorCode(answer)?.slice(0, CODE_CHARS_MAX) ?? null;
  const refuses = vendor.clearRefusals.includes(status);
  if ((status >= 200 && status < 300) || (status === 402 && !refuses)) {
    const spend = spendOf(sent, answer, { route, price, request, terms });
    if (spend === undefined) return { state: 'unknown', httpStatus: status, code: 'outcome_unknown' };
    return { state: 'settled', httpStatus: status, code: status === 402 ? code : null, spend, keepAnswer: true };
  }
  const clear = refuses && vendor.isVendorError(answer);
  if (free || (clear && first)) return { ...released, httpStatus: status, code };
  return { state: 'unknown', httpStatus: status, code };
}

type Priced = Pick<Judged, 'route' | 'price' | 'request' | 'terms'>;

type Answered = Extract<Sent, { kind: 'answered' }>;

function spendOf({ status, headers }: Answered, answer: unknown, { route, price, request, terms }: Priced) {
  const quoteMicros = price.kind === 'fixed' ? price.micros : 0;
  const value = route.value(status, answer, terms, { request, quoteMicros });
  if (value === undefined) return price.kind === 'free' ? { micros: 0, out: false, vendorId: null } : undefined;
  if (!isOfObject(value) || (price.kind === 'free' && price.objectId === undefined)) {
    const micros = price.kind === 'free' ? 0 : value.valueMicros;
    return { micros, out: value.out, vendorId: value.vendorId };
  }
  const takesOver = price.kind === 'object' && price.takesOver;
  const mode = price.kind === 'free' ? 'lowers' : takesOver ? 'takes_over' : 'pays_rise';
  const repeated = headers['idempotent-replayed'] === 'true';
  return repeated ? ({ object: value, mode, repeated } as const) : ({ object: value, mode } as const);
}

function isOfObject(value: Valuation): value is Valuation & { readonly objectId: string } {
  return value.objectId !== null;
}
