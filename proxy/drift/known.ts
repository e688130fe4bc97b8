/** Which of a vendor's objects the whole ledger knows nothing of, whatever key or account name they would be under. */
import type { Rows } from '../stores/store';
import type { Listed } from '../vendors/statement';
import type { DriftParts } from './index';
import type { Tally } from './tally';

/** Objects that one commit looks for, because vendor calls wait for it meanwhile. */
const AT_ONCE = 200;

/** Those of the items that moved money, or may have, and that no call settled. */
export async function uncounted(
  parts: DriftParts,
  { vendor }: Pick<Tally, 'vendor'>,
  items: readonly Listed[],
): Promise<readonly Listed[]> {
  const paid = items.filter(({ valueMicros }) => valueMicros !== 0);
  const accounts = [...parts.accounts.keys()];
  const missing: Listed[] = [];
  for (let at = 0; at < paid.length; at += AT_ONCE) {
    const some = paid.slice(at, at + AT_ONCE);
    // oxlint-disable-next-line no-await-in-loop
    missing.push(...(await parts.ledger.submit((rows) => some.filter((item) => !isObject(rows, accounts, item)))));
  }
  const settled = await Promise.all(missing.map((item) => isSettled(parts, vendor, item)));
  return missing.filter((_, index) => settled[index] === false);
}

function isObject(rows: Rows, accounts: readonly string[], { objectId, vendorId }: Listed): boolean {
  const ids = [...new Set([objectId, vendorId])].flatMap((id) => accounts.map((account) => `${account}/${id}`));
  return ids.map((id) => rows.get('objects', id)).some((row) => row !== undefined);
}

/** An operator's word on an unknown call names what it made, and the ledger keeps no object for it. */
async function isSettled({ ledger }: DriftParts, vendor: string, { objectId, vendorId }: Listed): Promise<boolean> {
  const pages = await Promise.all(
    [...new Set([objectId, vendorId])].map((id) =>
      ledger.store.listCalls({ vendor_id: id, state: 'settled', order: 'oldest', limit: CALLS_MAX }),
    ),
  );
  return pages.flat().some((call) => call.vendor === vendor && (call.cost_micros ?? 0) !== 0);
}

const CALLS_MAX = 100;
