/** A server that is replaced: for a moment its name leads to a standby, which takes no writes and may be behind. */
import { Ledger } from '../proxy/ledger/ledger';
import { reserve } from '../proxy/ledger/reserve';
import { openPostgres } from '../proxy/stores/postgres/postgres';
import { addKey, fixed, reserveInput } from './support/ledger';
import { startCluster } from './support/postgres';
import { startWire } from './support/wire';

test('once the name leads to the server again, money is held again: no connection to the standby is kept', async () => {
  const server = await startCluster();
  const url = await server.newDatabase();
  const standby = await server.startStandby();
  const wire = await startWire(server.port);
  const store = await openPostgres(wire.over(url));
  try {
    const ledger = new Ledger(store);
    const facts = await addKey(ledger, { cap: 100 });
    const hold = () => {
      const input = reserveInput(facts, { price: fixed(1) });
      return ledger.hold((rows, now) => reserve(rows, now, input).kind, input.call.callId);
    };
    expect(await hold()).toBe('held');
    wire.leadTo(standby.port);
    wire.cutAll();
    await expect(hold()).rejects.toThrow(/standby|recovery|terminated|ended/);
    await expect(hold()).rejects.toThrow('Postgres is a standby and takes no writes.');
    await expect(store.ping()).rejects.toThrow('Postgres is a standby and takes no writes.');
    await expect(store.listKeys({ limit: 1 })).rejects.toThrow('Postgres is a standby and takes no writes.');
    // What is connected by now stays so.
    wire.leadTo(server.port);
    expect(await hold()).toBe('held');
    await store.ping();
  } finally {
    await store.close();
    await wire.close();
  }
});
