/** Objects that the vendor made while the run went on and that no call of any key accounts for. */
import { microsToUsd } from '../contract';
import type { DriftParts } from './index';
import { uncounted } from './known';
import type { DriftRow } from './lines';
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
    const missing = await uncounted(parts, tally, page.value);
    for (const { valueMicros } of missing) tally.row(valueMicros ?? 0);
    yield missing.map(({ vendorId, valueMicros }) => ({
      type: 'row',
      why: 'unaccounted',
      vendor: tally.vendor,
      account: tally.account,
      vendor_id: vendorId,
      record_id: null,
      call_id: null,
      ledger_usd: null,
      vendor_usd: valueMicros === null ? null : microsToUsd(valueMicros),
      detail: 'made in the time of the run, by no call of any key',
    }));
  }
  if (page.value !== undefined) tally.gap(page.value);
}
