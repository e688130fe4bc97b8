/** What the vendor says of one object against what the ledger counts for it. Pure. */
import type { Micros } from '../contract';
import type { LateRow } from '../stores/tables';
import type { DriftWhy } from './lines';

/** What the ledger counts for an object. */
export interface Counted {
  readonly micros: Micros;
  /** Absent: no price of it is told later. */
  readonly late?: Pick<LateRow, 'state' | 'next_look'>;
}

/** What the vendor says: a value, none of it, or nothing that can be read. */
export type Seen =
  | { readonly kind: 'value'; readonly micros: Micros }
  | { readonly kind: 'gone' }
  | { readonly kind: 'unread'; readonly reason: string };

export type Finding =
  | { readonly kind: 'equal' }
  | { readonly kind: 'unread'; readonly reason: string }
  | { readonly kind: 'differs'; readonly why: DriftWhy; readonly vendorMicros: Micros; readonly detail: string };

export function compare({ micros, late }: Counted, seen: Seen): Finding {
  if (seen.kind === 'unread') return seen;
  if (seen.kind === 'gone') {
    if (micros === 0) return { kind: 'equal' };
    return { kind: 'differs', why: 'gone', vendorMicros: 0, detail: 'the vendor does not know it' };
  }
  if (seen.micros === micros) return { kind: 'equal' };
  const why = late === undefined ? 'value' : 'price';
  return { kind: 'differs', why, vendorMicros: seen.micros, detail: detailOf(late, seen.micros > micros) };
}

function detailOf(late: Counted['late'], more: boolean): string {
  if (late === undefined)
    return more ? 'captured, raised or confirmed elsewhere' : 'canceled, failed or lowered elsewhere';
  return LATE[late.state](new Date(late.next_look).toISOString());
}

const LATE: Readonly<Record<LateRow['state'], (nextLook: string) => string>> = {
  waiting: (nextLook) => `the price is there; the ledger counts its quote and looks again at ${nextLook}`,
  given_up: () => 'the price came after the ledger had given it up; it counts its quote',
  known: () => 'the price was changed after the ledger had settled it',
};
