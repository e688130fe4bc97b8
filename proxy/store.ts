import { existsSync, rmSync, statSync } from 'node:fs';
import type { ReadyOptions } from './options';
import { makeMasterKeyFile, MASTER_CHECK, masterKeyFile } from './seal';
import { openPostgres } from './stores/postgres/postgres';
import { openSqlite } from './stores/sqlite';
import { ledgerPath } from './stores/sqlite/place';
import { type Store, StoreError } from './stores/store';

interface Opened {
  readonly store: Store;
  readonly masterKeys: readonly string[];
  /** Where the keys stand. */
  readonly keysFrom: string;
}

const SETTING = 'KEYBRAKE_MASTER_KEY';
/** In a file's mode, what those may do who are neither its owner nor of its group. */
const OTHERS = 0o007;

/**
 * Opens the store that the options name, and finds its master keys. Throws {@link StoreError} when it cannot be opened,
 * and an Error when a store that several processes share, or one that is in use already, comes without master keys.
 */
export async function openStore({
  store: name,
  masterKeys,
  logger,
}: Pick<ReadyOptions, 'store' | 'masterKeys' | 'logger'>): Promise<Opened> {
  if (name.startsWith('sqlite:')) {
    const path = name.slice('sqlite:'.length);
    const store = openSqlite(path);
    try {
      if (masterKeys !== undefined) return { store, masterKeys, keysFrom: SETTING };
      return { store, ...(await keysBeside(path, store, (text) => logger.warn(text))) };
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
  const store = await openPostgres(name, (text) => logger.warn(text)).catch((cause: unknown) => {
    const why = (cause instanceof Error ? cause.message : String(cause)).replace(/\.$/, '');
    throw new StoreError(`The ledger at ${placeOf(name)} cannot be opened: ${why}. See KEYBRAKE_STORE.`, { cause });
  });
  return { store, masterKeys, keysFrom: SETTING };
}

/** Without the user's name and password. */
function placeOf(address: string): string {
  const { host, pathname } = URL.canParse(address) ? new URL(address) : { host: 'the address', pathname: '' };
  return `${host}${pathname}`;
}

/** The keys in the file beside a ledger. It is made for a new ledger only: to another one a new key is a wrong one. */
async function keysBeside(ledger: string, store: Store, warn: (text: string) => void): Promise<Omit<Opened, 'store'>> {
  // Beside a link to the ledger, where it was made by that name, or beside its file.
  const path =
    [ledger, ledgerPath(ledger)].map((name) => `${name}.keys`).find(existsSync) ?? `${ledgerPath(ledger)}.keys`;
  const isEmpty = existsSync(path) && statSync(path).size === 0;
  if (isEmpty || !existsSync(path)) {
    let isNew = true;
    // Not whether the file is there: a start that ended before it had a key has left a ledger that is new still.
    await store.commit((rows) => void (isNew = rows.get('meta', MASTER_CHECK) === undefined));
    if (!isNew && !isEmpty) {
      throw new Error(
        `The ledger ${ledger} is there, but its master key file ${path} is not, and ${SETTING} is not set: ` +
          `restore the file, or set ${SETTING} to its content.`,
      );
    }
    // A first start that could not write it, on a disk that was full, has left nothing that needs it.
    if (isNew) {
      rmSync(path, { force: true });
      makeMasterKeyFile(path);
    }
  }
  // Windows has no such modes, and says that all may read.
  if (process.platform !== 'win32' && (statSync(path).mode & OTHERS) !== 0) {
    warn(`everybody on this machine may open the master key file ${path}: chmod 600 it, and rotate the key`);
  }
  return { masterKeys: masterKeyFile(path), keysFrom: `The master key file ${path}` };
}
