/** Totals of a comparison, by account. The memory needed grows with accounts and reasons, not with calls. */
import { type Micros, microsToUsd } from '../contract';
import type { ListedCall } from '../stores/store';
import type { DriftState, DriftTotal } from './lines';

/** What is seen of one account. */
export class Tally {
  readonly vendor: string;
  readonly account: string;
  /** When its calls were made: the first and the last. */
  fromMs = Infinity;
  toMs = -Infinity;
  /** The rates of the last key that was met. */
  fx: Readonly<Record<string, number>> = {};
  /** Unknown calls of the run that are not told yet, by their ids: what they made may still be met. */
  readonly unknown = new Map<string, ListedCall>();
  /** Open calls that account for an object. */
  readonly makers = new Set<string>();
  #objects = 0;
  #ledgerMicros: Micros = 0;
  #vendorMicros: Micros = 0;
  #rows = 0;
  readonly #gaps = new Map<string, { count: number; micros: Micros }>();

  constructor(vendor: string, account: string) {
    this.vendor = vendor;
    this.account = account;
  }

  /** A call that may have left. */
  met(fromMs: number, toMs: number): void {
    this.fromMs = Math.min(this.fromMs, fromMs);
    this.toMs = Math.max(this.toMs, toMs);
  }

  compared(ledgerMicros: Micros, vendorMicros: Micros): void {
    this.#objects += 1;
    this.#ledgerMicros += ledgerMicros;
    this.#vendorMicros += vendorMicros;
  }

  /** A row: what the vendor counts that the ledger does not. */
  row(vendorMicros: Micros = 0): void {
    this.#rows += 1;
    this.#vendorMicros += vendorMicros;
  }

  gap(reason: string, ledgerMicros: Micros = 0): void {
    const { count, micros } = this.#gaps.get(reason) ?? { count: 0, micros: 0 };
    this.#gaps.set(reason, { count: count + 1, micros: micros + ledgerMicros });
  }

  get state(): DriftState {
    if (this.#rows > 0) return 'differs';
    return this.#gaps.size > 0 ? 'unreadable' : 'equal';
  }

  line(): DriftTotal {
    return {
      type: 'total',
      vendor: this.vendor,
      account: this.account,
      state: this.state,
      objects: this.#objects,
      ledger_usd: microsToUsd(this.#ledgerMicros),
      vendor_usd: microsToUsd(this.#vendorMicros),
      rows: this.#rows,
      gaps: [...this.#gaps].map(([reason, { count, micros }]) => ({
        reason,
        count,
        ledger_usd: microsToUsd(micros),
      })),
    };
  }
}

/** A difference is one whatever else could not be read. */
export function overall(states: readonly DriftState[]): DriftState {
  if (states.includes('differs')) return 'differs';
  return states.includes('unreadable') ? 'unreadable' : 'equal';
}
