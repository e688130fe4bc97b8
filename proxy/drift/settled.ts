/** Settled calls: each object that they name is read at the vendor once, with what was given back of it. */
import { type Micros, microsToUsd } from '../contract';
import { fxOf, ratesOf } from '../ledger/rates';
import { countedIn, inTheseDollars, revalue, sharesOf } from '../ledger/spend';
import { withoutRate } from '../lookup';
import type { ListedCall, Rows } from '../stores/store';
import type { ObjectRead } from '../vendors/statement';
import type { PricingTerms } from '../vendors/vendor';
import { compare, type Counted, type Finding, type Seen } from './compare';
import type { DriftParts } from './index';
import { uncounted } from './known';
import type { DriftFilter, DriftRow } from './lines';
import { read, readAll, type Source } from './read';
import type { Tally } from './tally';

/** What the ledger counts for the object of a call, and on which terms. */
interface Ledgered extends Counted {
  readonly terms: PricingTerms;
  /** What is so much on these terms, as the ledger would count it: of each key that pays a part, in its own dollars. */
  readonly asCounted: (micros: Micros) => Micros;
}

/** What differs about the object of a settled call. Empty where another call of the run has named it before. */
export async function settledRows(
  parts: DriftParts,
  filter: DriftFilter,
  tally: Tally,
  call: ListedCall,
): Promise<readonly DriftRow[]> {
  const id = call.object_id === null ? call.vendor_id : call.object_id.slice(call.account.length + 1);
  if (call.object_id !== null && !(await isFirst(parts, filter, call, call.object_id))) return [];
  const counted = await parts.ledger.submit((rows) => countedFor(rows, call));
  if (counted === undefined) return [];
  tally.fx = counted.terms.fx;
  const readable = readableOf(parts, call, id);
  if ('reason' in readable) {
    tally.gap(readable.reason, counted.micros);
    return [];
  }
  if (call.object_id !== null || !(await isOthersToo(parts, call)))
    return compared(parts, tally, call, readable, counted);
  tally.compared(counted.micros, 0);
  tally.row();
  return [differing(call, counted, { kind: 'differs', why: 'value', vendorMicros: 0, detail: COUNTED_TWICE })];
}

const COUNTED_TWICE = 'counted twice: an operator settled this call, and other calls count what it made too';

/** Does an operator's word name what the ledger counts beside it: as an object, or by an earlier word? */
async function isOthersToo({ ledger }: DriftParts, { account, vendor_id, call_id }: ListedCall): Promise<boolean> {
  if (vendor_id === null) return false;
  const isObject = await ledger.submit((rows) => rows.get('objects', `${account}/${vendor_id}`) !== undefined);
  if (isObject) return true;
  for await (const other of settledNaming(ledger, { vendor_id })) {
    if (other.call_id >= call_id) return false;
    if (other.account === account && (other.cost_micros ?? 0) !== 0) return true;
  }
  return false;
}

/** Is no earlier call of the run one that the same object was settled by? Reads that named it settled nothing. */
async function isFirst(
  { ledger }: DriftParts,
  filter: DriftFilter,
  call: ListedCall,
  objectId: string,
): Promise<boolean> {
  const own = objectId.slice(call.account.length + 1);
  const names = [...new Set([own, call.vendor_id ?? own])];
  for (const vendor_id of names) {
    // The second name is for what the first does not tell.
    // oxlint-disable-next-line no-await-in-loop
    for await (const other of settledNaming(ledger, { ...filter, vendor_id })) {
      if (other.call_id >= call.call_id) break;
      if (other.object_id === objectId) return false;
    }
  }
  return true;
}

const NAMED_PAGE = 20;

/** The settled calls that name what a vendor has, the oldest first. */
async function* settledNaming(
  { store }: DriftParts['ledger'],
  query: DriftFilter & { readonly vendor_id: string },
): AsyncGenerator<ListedCall> {
  let after: string | undefined;
  for (;;) {
    // oxlint-disable-next-line no-await-in-loop
    const page = await store.listCalls({ ...query, state: 'settled', after, order: 'oldest', limit: NAMED_PAGE });
    yield* page;
    if (page.length < NAMED_PAGE) return;
    after = page.at(-1)?.call_id;
  }
}

/** Undefined: nothing, e.g. the call read what was made elsewhere. */
function countedFor(rows: Rows, call: ListedCall): Ledgered | undefined {
  const object = call.object_id === null ? undefined : rows.get('objects', call.object_id);
  const shares = sharesOf(object);
  const late = call.object_id === null ? undefined : rows.get('late', call.object_id);
  // The one who paid last: on its terms the vendor's amount became dollars.
  const payer = shares.at(-1) ?? { key: call.key_id, budgets: [] };
  const terms = { fx: fxOf(rows, payer.key) };
  if (object === undefined) {
    const cost = call.cost_micros ?? 0;
    return cost === 0 ? undefined : { micros: cost, terms, asCounted: (micros) => micros };
  }
  const { value_micros: counted, currency } = object;
  const rates = ratesOf(rows, payer.key, currency);
  const asCounted = (micros: Micros): Micros => {
    if (inTheseDollars(shares, rates)) return micros;
    const rounded = Math.abs(micros - countedIn(shares, rates)) <= ROUNDING_MICROS;
    return rounded ? counted : revalue(shares, payer, micros, rates).value;
  };
  return { micros: counted, terms, asCounted, ...(late !== undefined && { late }) };
}

/** From the dollars of one key to those of another each step rounds; a hundredth of a cent is none that anybody paid. */
const ROUNDING_MICROS = 100;

interface ReadableObject {
  readonly source: Source;
  readonly object: ObjectRead;
}

function readableOf(
  { accounts, vendors, stopping }: DriftParts,
  call: ListedCall,
  id: string | null,
): ReadableObject | { readonly reason: string } {
  const vendor = vendors.get(call.vendor);
  const account = accounts.get(call.account);
  if (vendor === undefined || account === undefined) {
    return { reason: `the proxy has no account ${call.account} any more` };
  }
  if ('none' in vendor.statement) return { reason: vendor.statement.none };
  const object = id === null ? undefined : vendor.statement.of(id, account.accountId);
  if (object === undefined) return { reason: `${call.route ?? call.path}: ${call.vendor} has no object of it to read` };
  return { source: { vendor, account, mayLeave: stopping }, object };
}

async function compared(
  parts: DriftParts,
  tally: Tally,
  call: ListedCall,
  { source, object }: ReadableObject,
  before: Ledgered,
): Promise<readonly DriftRow[]> {
  let counted = before;
  let { seen, answer } = await see(source, object, counted);
  let finding = compare(counted, seen);
  if (finding.kind === 'differs') {
    // A call that settled meanwhile is no difference: what is one now is one the second time too.
    counted = (await parts.ledger.submit((rows) => countedFor(rows, call))) ?? counted;
    ({ seen, answer } = await see(source, object, counted));
    finding = compare(counted, seen);
  }
  if (finding.kind === 'unread') {
    tally.gap(finding.reason, counted.micros);
    return [];
  }
  tally.compared(counted.micros, finding.kind === 'equal' ? counted.micros : finding.vendorMicros);
  const back = await backRows(parts, tally, call, { source, object }, answer, counted.terms);
  if (finding.kind === 'equal') return back;
  tally.row();
  return [differing(call, counted, finding), ...back];
}

interface Sight {
  readonly seen: Seen;
  readonly answer?: unknown;
}

async function see(source: Source, object: ObjectRead, { terms, asCounted }: Ledgered): Promise<Sight> {
  let answered = await read(source, object.path);
  if (answered.kind === 'older' && object.olderPath !== undefined) answered = await read(source, object.olderPath);
  if (answered.kind === 'gone') return { seen: answered };
  if (answered.kind === 'unread') return { seen: answered };
  if (answered.kind === 'older') return { seen: { kind: 'unread', reason: `${source.vendor.id} answered 400` } };
  const { answer } = answered;
  const value = object.value(answer, terms);
  if (value === undefined) {
    const reason = withoutRate(source.vendor, answer, terms) ?? object.untold;
    return { seen: { kind: 'unread', reason }, answer };
  }
  return { seen: { kind: 'value', micros: asCounted(value.valueMicros) }, answer };
}

/** Money that the vendor gave back and of which the ledger knows nothing. */
async function backRows(
  parts: DriftParts,
  tally: Tally,
  call: ListedCall,
  { source, object }: ReadableObject,
  answer: unknown,
  terms: PricingTerms,
): Promise<readonly DriftRow[]> {
  const listing = answer === undefined ? undefined : object.back?.(answer);
  if (listing === undefined) return [];
  const found: DriftRow[] = [];
  const pages = readAll(source, listing, terms);
  let page = await pages.next();
  for (; page.done !== true; page = await pages.next()) {
    for (const { vendorId, valueMicros } of await uncounted(parts, tally, page.value)) {
      tally.row(valueMicros ?? 0);
      const detail = `refunded elsewhere: money back of ${call.vendor_id ?? 'it'} that the ledger does not know`;
      const vendor_usd = valueMicros === null ? null : microsToUsd(valueMicros);
      found.push({ ...rowOf(call), why: 'refund', vendor_id: vendorId, ledger_usd: 0, vendor_usd, detail });
    }
  }
  if (page.value !== undefined) tally.gap(page.value);
  return found;
}

function differing(call: ListedCall, { micros }: Counted, finding: Finding & { kind: 'differs' }): DriftRow {
  return {
    ...rowOf(call),
    why: finding.why,
    ledger_usd: microsToUsd(micros),
    vendor_usd: microsToUsd(finding.vendorMicros),
    detail: finding.detail,
  };
}

function rowOf({ vendor, account, vendor_id, record_id, call_id }: ListedCall) {
  return { type: 'row', vendor, account, vendor_id, record_id, call_id } as const;
}
