import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ProxyOptions } from '../../proxy/options';
import { atEnd } from './atEnd';
import { STORES } from './ledger';
import { cluster } from './postgres';

export const MASTER_KEY = 'a master key of more than 32 characters';

const folders: string[] = [];
atEnd(() => {
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true });
});

/** What tests of the parts above the ledger run on: SQLite, or the store that KEYBRAKE_TEST_STORE names. */
export function chosenStore(): (typeof STORES)[number] {
  const name = process.env['KEYBRAKE_TEST_STORE'] ?? 'sqlite';
  const chosen = STORES.find((store) => store.name === name);
  if (chosen === undefined) throw new Error(`KEYBRAKE_TEST_STORE=${name} is none of the stores.`);
  return chosen;
}

/** The options of a proxy on the store that KEYBRAKE_TEST_STORE names; none for SQLite, which is the default. */
export async function chosenStoreOptions(): Promise<Partial<ProxyOptions>> {
  return chosenStore().name === 'postgres' ? postgresOptions(await (await cluster()).newDatabase()) : {};
}

/** The options of a proxy on this database. */
export function postgresOptions(store: string): { store: string; masterKeys: readonly string[]; spool: string } {
  const spool = mkdtempSync(join(tmpdir(), 'keybrake-spool-'));
  folders.push(spool);
  return { store, masterKeys: [MASTER_KEY], spool };
}
