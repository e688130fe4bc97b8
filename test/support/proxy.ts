/** The proxy that tests run: on the store that KEYBRAKE_TEST_STORE names, so that every test of it runs on both. */
import { readdirSync, readFileSync, renameSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { startProxyForTests, type TestProxy, type TestProxyOptions } from '../../src/testing';
import { cluster } from './postgres';
import { chosenStoreOptions } from './store';

export interface StoredProxy extends TestProxy {
  /** All bytes of the ledger but the master key's, as text, each part with its name. */
  ledgerTexts(): Promise<ReadonlyMap<string, string>>;
  /** Time passes for the ledger, and for nobody else; what it answers with ends that where it can be ended. */
  passTime(ms: number): Promise<() => void>;
  /** Nobody finds the ledger any more; what it answers with brings it back. */
  loseLedger(): Promise<() => Promise<void>>;
}

export async function startTestProxy(options: TestProxyOptions): Promise<StoredProxy> {
  const chosen = await chosenStoreOptions();
  const proxy = await startProxyForTests({ ...chosen, ...options });
  const { store } = { ...chosen, ...options };
  const ledger = store?.startsWith('postgres:') === true ? onPostgres(store) : inFolder(dirname(proxy.dbPath));
  return { ...proxy, ...ledger };
}

type Ledger = Pick<StoredProxy, 'ledgerTexts' | 'loseLedger' | 'passTime'>;

function inFolder(folder: string): Ledger {
  return {
    async ledgerTexts() {
      const names = readdirSync(folder).filter((name) => !name.endsWith('.keys'));
      return new Map(names.map((name) => [name, readFileSync(join(folder, name), 'latin1')]));
    },
    async passTime(ms) {
      const clock = jest.spyOn(Date, 'now').mockReturnValue(Date.now() + ms);
      return () => clock.mockRestore();
    },
    async loseLedger() {
      renameSync(folder, `${folder}-away`);
      return async () => renameSync(`${folder}-away`, folder);
    },
  };
}

function onPostgres(url: string): Ledger {
  const database = new URL(url).pathname.slice(1);
  return {
    async ledgerTexts() {
      const server = await cluster();
      const named = "SELECT tablename AS name FROM pg_tables WHERE schemaname = 'keybrake'";
      const { rows } = await server.query(named, database);
      const texts = (rows as { name: string }[]).map(async ({ name }) => {
        const found = await server.query(`SELECT * FROM keybrake.${name}`, database);
        const values = (found.rows as object[]).flatMap((row) => Object.values(row).map(textOf));
        return [name, values.join('\n')] as const;
      });
      return new Map(await Promise.all(texts));
    },
    /** The clock is the server's, so that what is in the ledger is made older instead. */
    async passTime(ms) {
      const server = await cluster();
      const { rows } = await server.query(
        `SELECT table_name AS name, string_agg(format('%1$I = %1$I - ${ms}', column_name), ', ') AS changes
         FROM information_schema.columns WHERE table_schema = 'keybrake' AND data_type = 'bigint'
         AND (column_name LIKE '%at' OR column_name IN ('at', 'send_by', 'lease_until')) GROUP BY table_name`,
        database,
      );
      for (const { name, changes } of rows as { name: string; changes: string }[]) {
        await server.query(`UPDATE keybrake.${name} SET ${changes}`, database);
      }
      return () => undefined;
    },
    async loseLedger() {
      const server = await cluster();
      const allow = (yes: boolean) => server.query(`ALTER DATABASE ${database} ALLOW_CONNECTIONS ${yes}`);
      await allow(false);
      await server.query(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '${database}'`);
      return async () => void (await allow(true));
    },
  };
}

function textOf(value: unknown): string {
  return Buffer.isBuffer(value) ? value.toString('latin1') : String(value);
}
