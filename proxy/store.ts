import type { ProxyOptions } from './options';
import { masterKeyFile } from './seal';
import { openPostgres } from './stores/postgres/postgres';
import { openSqlite } from './stores/sqlite';
import { type Store, StoreError } from './stores/store';

/**
 * Opens the store that the options name, and finds its master keys. Throws {@link StoreError} when it cannot be opened,
 * and an Error when a store that several processes share comes without master keys.
 */
export async function openStore({
  store: name,
  masterKeys,
  logger,
}: Pick<ProxyOptions, 'store' | 'masterKeys' | 'logger'>): Promise<{ store: Store; masterKeys: readonly string[] }> {
  if (name.startsWith('sqlite:')) {
    const path = name.slice('sqlite:'.length);
    const store = openSqlite(path);
    try {
      return { store, masterKeys: masterKeys ?? masterKeyFile(`${path}.keys`) };
    } catch (error) {
      await store.close();
      throw error;
    }
  }
  if (!/^postgres(?:ql)?:/.test(name)) {
    throw new StoreError('The store is not known: use sqlite:<path> or postgres://user@host/database.');
  }
  if (masterKeys === undefined) {
    throw new Error('Postgres needs master keys, the same for every process: set KEYBRAKE_MASTER_KEY.');
  }
  return { store: await openPostgres(name, (text) => logger.warn(text)), masterKeys };
}
