/** Where a ledger is: a link to its file is another name, and must not be another lock and another log. */
import { existsSync, lstatSync, readlinkSync, realpathSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';

/** The ledger's file, all links followed, also where it is not there yet. */
export function ledgerPath(given: string): string {
  if (existsSync(given)) return realpathSync(given);
  const named = nameOf(given);
  const isLink = lstatSync(named, { throwIfNoEntry: false })?.isSymbolicLink() === true;
  return isLink ? ledgerPath(resolve(dirname(named), readlinkSync(named))) : named;
}

/** The name itself, in the folder that it stands in. */
export function nameOf(given: string): string {
  const folder = dirname(resolve(given));
  return join(existsSync(folder) ? realpathSync(folder) : folder, basename(given));
}
