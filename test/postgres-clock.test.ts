/** A server that took another one's place, and whose clock is behind: the rows speak of times that are far off. */
import { pino } from 'pino';
import { Ledger } from '../proxy/ledger/ledger';
import { reserve } from '../proxy/ledger/reserve';
import { startReplicas } from '../proxy/replicas';
import { createSharedPace } from '../proxy/sharedPace';
import { openPostgres } from '../proxy/stores/postgres/postgres';
import { addKey, fixed, reserveInput } from './support/ledger';
import { cluster } from './support/postgres';

const HOUR_MS = 3_600_000;

test('a revocation waits no longer than a call of another process has time to leave', async () => {
  const server = await cluster();
  const url = await server.newDatabase();
  const [here, there] = [await openPostgres(url), await openPostgres(url)];
  const ledger = new Ledger(here);
  const pace = createSharedPace({ shared: here.shared, pacers: new Map() });
  const logger = pino({ level: 'silent' });
  const replicas = startReplicas({ shared: here.shared, ledger, kill: () => 0, underWayMs: 0, pace, logger });
  try {
    const facts = await addKey(ledger, { cap: 10 });
    const input = reserveInput(facts, { price: fixed(1), epoch: there.shared.epoch });
    await new Ledger(there).hold((rows, now) => reserve(rows, now, input));
    await server.query(`UPDATE keybrake.calls SET send_by = send_by + ${HOUR_MS}`, new URL(url).pathname.slice(1));
    expect(await here.shared.leaving(facts.keyId)).toEqual(new Map([[there.shared.epoch, 1]]));
    // The other process hears nothing.
    expect(await replicas.revoked(facts.keyId)).toBe(0);
  } finally {
    await replicas.close();
    await Promise.all([here.close(), there.close()]);
  }
}, 20_000);
