/** Fail closed: SQLite goes on writing to a file that is no longer at its path, and nobody would find it again. */
import { renameSync, writeFileSync } from 'node:fs';
import { startRig, until } from './support/rig';

test('a ledger that is no longer at its place holds nothing new: a restart would not know what it held', async () => {
  const rig = await startRig();
  const ledger = rig.proxy.dbPath;
  const key = await rig.issue({ usd_cap: 0 });
  renameSync(ledger, `${ledger}.bak`);
  const noticed = async () => (await rig.call(key.vault_key)).code === 'store_unavailable' || undefined;
  await until('the proxy has noticed', noticed);
  // Another file in its place is not the ledger.
  writeFileSync(ledger, '');
  const looked = Date.now();
  await until('it has looked again', async () => {
    expect((await rig.call(key.vault_key)).code).toBe('store_unavailable');
    return Date.now() - looked > 2_500 || undefined;
  });
  renameSync(`${ledger}.bak`, ledger);
  await until(
    'the proxy has it back',
    async () => (await rig.call(key.vault_key)).code === 'cap_exhausted' || undefined,
  );
  await rig.close();
});
