/** Objects that the vendor made while the run went on and that no call of any key accounts for. */
import { microsToUsd } from '../contract';
import type { DriftParts } from './index';
import type { ListedCall } from '../stores/store';
import type { Listed } from '../vendors/statement';
import type { DriftRow } from './lines';
import { type Missing, missingOf } from './open';
import { readAll } from './read';
import type { Tally } from './tally';

/** Before the first call and after the last: the vendor's clock is not ours. */
const MARGIN_MS = 60_000;

/** Page by page. Vendors that list nothing have none: what they made is in the gaps already. */
export async function* unaccountedRows(parts: DriftParts, tally: Tally): AsyncGenerator<readonly DriftRow[]> {
  const vendor = parts.vendors.get(tally.vendor);
  const account = parts.accounts.get(tally.account);
  if (vendor === undefined || account === undefined || 'none' in vendor.statement) return;
  if (tally.fromMs > tally.toMs) return;
  const { accountId } = account;
  const listing = vendor.statement.made(tally.fromMs - MARGIN_MS, tally.toMs + MARGIN_MS, accountId);
  const pages = readAll({ vendor, account, mayLeave: parts.stopping }, listing, { fx: tally.fx });
  let page = await pages.next();
  for (; page.done !== true; page = await pages.next()) {
    const missing = await missingOf(parts, tally, page.value);
    yield missing.flatMap((one) => rowsOf(tally, one));
  }
  if (page.value !== undefined) tally.gap(page.value);
}

function rowsOf(tally: Tally, { item, call }: Missing): readonly DriftRow[] {
  if (call !== undefined && !tally.unknown.delete(call.call_id)) {
    tally.gap(UNDER_WAY);
    return [];
  }
  tally.row(item.valueMicros ?? 0);
  return [call === undefined ? unaccountedRow(tally, item) : unknownRow(call, item)];
}

const UNDER_WAY = 'a call that has not ended may have made it: compare again when that has';

function unaccountedRow({ vendor, account }: Tally, item: Listed): DriftRow {
  return {
    type: 'row',
    why: 'unaccounted',
    vendor,
    account,
    vendor_id: item.vendorId,
    record_id: null,
    call_id: null,
    ledger_usd: null,
    vendor_usd: usdOf(item),
    detail: 'made in the time of the run, by no call of any key',
  };
}

/** A call whose outcome is not known, with the object that it may have made. */
export function unknownRow(call: ListedCall, made?: Listed): DriftRow {
  const { vendor, account, vendor_id, record_id, call_id, quote_micros } = call;
  return {
    type: 'row',
    why: 'unknown',
    vendor,
    account,
    vendor_id: made?.vendorId ?? vendor_id,
    record_id,
    call_id,
    ledger_usd: microsToUsd(quote_micros),
    vendor_usd: made === undefined ? null : usdOf(made),
    detail: `its outcome is not known; the money is held${made === undefined ? '' : '. This was made then, maybe by it'}`,
  };
}

function usdOf({ valueMicros }: Listed): number | null {
  return valueMicros === null ? null : microsToUsd(valueMicros);
}
