/** The options of the reconciler, with their defaults; wrong ones stop the start. */
import type { ReconcileOptions } from '../options';

export type AllReconcileOptions = Required<ReconcileOptions>;

// prettier-ignore
const OPTIONS = {
  everyMs:     { byDefault: 2_000,   least: 10 },
  marginMs:    { byDefault: 5_000,   least: 0 },
  firstWaitMs: { byDefault: 2_000,   least: 1 },
  lookForMs:   { byDefault: 120_000, least: 0 },
} as const satisfies Record<keyof ReconcileOptions, { readonly byDefault: number; readonly least: number }>;

const LONGEST_MS = 3_600_000;

/** Throws an Error that names every wrong option. */
export function reconcileOptions(given: ReconcileOptions = {}): AllReconcileOptions {
  const wrong: string[] = [];
  const entries = Object.entries(OPTIONS).map(([name, { byDefault, least }]) => {
    const value = given[name as keyof ReconcileOptions] ?? byDefault;
    if (!Number.isSafeInteger(value) || value < least || value > LONGEST_MS) {
      wrong.push(`reconcile.${name} must be whole milliseconds from ${least} to ${LONGEST_MS}`);
    }
    return [name, value] as const;
  });
  if (wrong.length > 0) throw new Error(`${wrong.join('; ')}.`);
  return Object.fromEntries(entries) as unknown as AllReconcileOptions;
}
