/** Reads of the comparison: each has an answer, or a reason why there is none that a person can use. Never throws. */
import { parsed } from '../forward';
import { type Readable, readVendor } from '../lookup';
import type { Listed, Listing } from '../vendors/statement';
import type { PricingTerms, Vendor } from '../vendors/vendor';

/** An account with its vendor, as far as it can be read. */
export interface Source {
  readonly vendor: Vendor;
  readonly account: Readable;
  readonly mayLeave: () => string | undefined;
}

export type Answered =
  | { readonly kind: 'answer'; readonly answer: unknown }
  | { readonly kind: 'gone' }
  | { readonly kind: 'older' }
  | { readonly kind: 'unread'; readonly reason: string };

/** `older`: a 400, as an older version of the vendor's API answers to what it does not know. */
export async function read({ vendor, account, mayLeave }: Source, path: string): Promise<Answered> {
  const sent = await readVendor(vendor, account, path, mayLeave);
  if (sent.kind !== 'answered') return { kind: 'unread', reason: `${vendor.id} could not be read: ${sent.reason}` };
  const answer = parsed(sent.body);
  if (sent.status === 200) return { kind: 'answer', answer };
  if (sent.status === 404 && vendor.isVendorError(answer)) return { kind: 'gone' };
  if (sent.status === 400) return { kind: 'older' };
  const hint = REASONS[sent.status] ?? '';
  return { kind: 'unread', reason: `${vendor.id} answered ${sent.status}${hint}` };
}

const REASONS: Readonly<Record<number, string>> = {
  401: ": it does not take the account's secret",
  403: ": the account's secret may not read this",
  429: ': it has too many requests',
};

/** Pages of one list at most. */
const PAGES_MAX = 1_000;

/** Every item of a list, page by page. Ends with a reason when it could not be read to its end. */
export async function* readAll(
  source: Source,
  listing: Listing,
  terms: PricingTerms,
): AsyncGenerator<readonly Listed[], string | undefined> {
  let path: string | undefined = listing.path;
  for (let pages = 0; path !== undefined; pages += 1) {
    if (pages === PAGES_MAX) return `a list at ${source.vendor.id} has more than ${PAGES_MAX} pages`;
    // A page names the next one.
    // oxlint-disable-next-line no-await-in-loop
    const answered = await read(source, path);
    if (answered.kind === 'unread') return answered.reason;
    const page = answered.kind === 'answer' ? listing.page(answered.answer, terms) : undefined;
    if (page === undefined) return `a list at ${source.vendor.id} was not understood`;
    yield page.items;
    path = page.next;
  }
  return undefined;
}
