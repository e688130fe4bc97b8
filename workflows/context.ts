/** Which vault key pays for what workflow code schedules now. Follows the code through its promises. */
import { AsyncLocalStorage } from '@temporalio/workflow';
import type { TerminalRefusal } from '../proxy/contract';
import type { VaultHeader } from '../activities/contract/headers';

export interface VaultContext {
  /** What goes into the headers. Read at each call, since a reset run may go on with another key. */
  header(): VaultHeader;
  /** Activities that were scheduled and have not ended. */
  inFlight: number;
  /** Called when an activity failed with a terminal refusal. True: a new key is in place, schedule it again. */
  refused?(code: TerminalRefusal, keyId: string): Promise<boolean>;
}

const contexts = new AsyncLocalStorage<VaultContext>();
let inherited: VaultHeader | undefined;

/** The context of the code that runs now: its own, or the one that the workflow was started with. */
export function currentVault(): VaultContext | undefined {
  const own = contexts.getStore();
  if (own !== undefined || inherited === undefined) return own;
  const header = inherited;
  return { header: () => header, inFlight: 0 };
}

/** What this workflow was started with, by a parent or by the run that it continues. */
export function inheritedVault(): VaultHeader | undefined {
  return inherited;
}

export function inheritVault(header: VaultHeader | undefined): void {
  inherited = header;
}

export function runWithVault<T>(context: VaultContext, fn: () => T): T {
  return contexts.run(context, fn);
}
