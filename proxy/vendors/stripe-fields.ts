/** How the prices of Stripe's calls read fields: what is not known to be harmless is refused. */
import { rootOf, valueIfAny, wholeNumber } from '../form';
import { refused, unpriceable } from './pricing';
import { requestedMicros } from './stripe-currency';
import type { FormPairs, Price, PricingTerms } from './vendor';

export { refused, unpriceable } from './pricing';

/** What a route costs, or a thrown Refusal; `priced` turns it into a table's `price`. */
export type PriceOf = (body: FormPairs, ids: Readonly<Record<string, string>>, terms: PricingTerms) => Price;

export function takeOver(objectId: string, minor: number | undefined): Price {
  return { kind: 'object', objectId, total: minor === undefined ? null : { minor }, takesOver: true };
}

export function idIn(ids: Readonly<Record<string, string>>): string {
  return ids['id'] ?? '';
}

export function currencyIn(body: FormPairs): string {
  const currency = valueIfAny(body, 'currency');
  if (currency === undefined) throw unpriceable('currency', 'Field "currency" is missing.');
  return currency;
}

const COST_WORDS =
  /(?:^|_)(?:amounts?|currency|prices?|quantity|(?:sub)?total|tips?|fees?|costs?|surcharge|line_items)(?:_|$)/i;

/** A field that sounds like money and is not known on this route may be one that a later API version charges by. */
export function refuseUnknownCosts(body: FormPairs, known: readonly string[]): void {
  for (const [name] of body) {
    const root = rootOf(name);
    if (!known.includes(root) && COST_WORDS.test(root)) {
      throw unpriceable(root, `Field "${root}" is not known here, and may change what the call costs.`);
    }
  }
}

export function refuseRoots(body: FormPairs, roots: ReadonlySet<string>, why: string): void {
  const found = body.find(([name]) => roots.has(rootOf(name)));
  if (found !== undefined) throw refused('parameter_not_allowed', rootOf(found[0]), why);
}

/** Refuses every field but these: where a field that is overlooked could cost anything. */
export function refuseOthers(body: FormPairs, known: ReadonlySet<string>): void {
  const found = body.find(([name]) => !known.has(rootOf(name)));
  if (found === undefined) return;
  const root = rootOf(found[0]);
  throw unpriceable(root, `Field "${root}" is not known here, and may change what the call costs.`);
}

/** The one value of a nested field, such as `amount[value]`; its root may hold no others than `names`. */
export function nestedValue(body: FormPairs, name: string, names: readonly string[]): string {
  const root = rootOf(name);
  const inside = body.filter(([other]) => rootOf(other) === root);
  const odd = inside.find(([other]) => !names.includes(other));
  if (odd !== undefined) throw unpriceable(root, `Field "${root}" has a part that is not known here.`);
  const value = inside.find(([other]) => other === name)?.[1];
  if (value === undefined) throw unpriceable(root, `Field "${name}" is missing.`);
  return value;
}

/** A whole amount and its currency, as micro-dollars. */
export function amountMicros(body: FormPairs, terms: PricingTerms): number {
  return requestedMicros(wholeNumber(body, 'amount'), currencyIn(body), terms, 'amount');
}

/** Text that must be a whole number of 1 to 12 digits, such as a nested amount. */
export function wholeText(text: string, field: string): number {
  return wholeNumber([[field, text]], field);
}
