/** The other processes on the store: heartbeats, what the dead have left, what may still leave, and messages. */
import type pg from 'pg';
import type { Living, Shared } from '../store';
import { newClient, storeError } from './connect';
import { CLOCK, type Epoch } from './epoch';

const CHANNEL = 'keybrake';
const RECONNECT_MS = 1_000;

const LIVING = 'SELECT epoch, beats FROM epochs WHERE dead_at IS NULL';
const ORPHANS = `SELECT call_id FROM calls WHERE state = 'held' AND state IN ('held', 'unknown')
  AND epoch NOT IN (SELECT epoch FROM epochs WHERE dead_at IS NULL) AND send_by < (SELECT ${CLOCK}) - $1::bigint
  AND call_id > $3 ORDER BY call_id LIMIT $2`;
/** A call that is sent again may be so for another key of its job than the one in its row: it counts for every key. */
const LEAVING = `SELECT c.epoch, count(*) AS calls FROM calls c JOIN keys k ON k.key_id = c.key_id
  WHERE c.state IN ('held', 'unknown') AND c.send_by >= (SELECT ${CLOCK}) AND c.epoch <> $1
  AND (k.key_id = $2 OR position('"' || $2 || '"' IN k.ancestors) > 0 OR c.sends > 1) GROUP BY c.epoch`;

export function openShared(url: string, pool: pg.Pool, epoch: Epoch): Shared & { close(): Promise<void> } {
  const ear = new Ear(url);

  async function ask<T extends pg.QueryResultRow>(text: string, values: readonly unknown[]): Promise<T[]> {
    const { rows } = await pool.query<T>(text, [...values]).catch((error: unknown) => {
      throw storeError(error);
    });
    return rows;
  }

  return {
    get epoch() {
      return epoch.id;
    },
    beat: () => epoch.beat(),
    onNewEpoch: (begun) => epoch.onBegun(begun),
    living: () => ask<Living & pg.QueryResultRow>(LIVING, []),
    declareDead: (other) => epoch.declareDead(other),
    async orphans(ms, limit, after = '') {
      const rows = await ask<{ call_id: string }>(ORPHANS, [ms, limit, after]);
      return rows.map(({ call_id: id }) => id);
    },
    async leaving(keyId) {
      const rows = await ask<{ epoch: string; calls: number }>(LEAVING, [epoch.id, keyId]);
      return new Map(rows.map(({ epoch: of, calls }) => [of, calls]));
    },
    async tell(message) {
      await ask('SELECT pg_notify($1, $2)', [CHANNEL, message]);
    },
    onTold: (heard) => ear.listen(heard),
    close: () => ear.close(),
  };
}

/** Listens on a connection of its own, which is made anew when it breaks. What is told meanwhile is not heard. */
class Ear {
  readonly #url: string;
  #client: pg.Client | undefined;
  #heard: (message: string) => void = () => {};
  #retry: NodeJS.Timeout | undefined;
  #closed = false;

  constructor(url: string) {
    this.#url = url;
  }

  listen(heard: (message: string) => void): void {
    this.#heard = heard;
    void this.#connect();
  }

  async close(): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#retry);
    await this.#client?.end().catch(() => undefined);
  }

  async #connect(): Promise<void> {
    const client = newClient(this.#url);
    this.#client = client;
    client.on('notification', ({ payload }) => this.#heard(payload ?? ''));
    // An error ends the connection, and the end is what counts.
    client.on('error', () => undefined);
    client.once('end', () => this.#again(client));
    try {
      await client.connect();
      await client.query(`LISTEN ${CHANNEL}`);
    } catch {
      await client.end().catch(() => undefined);
      this.#again(client);
    }
  }

  #again(client: pg.Client): void {
    if (this.#closed || this.#client !== client) return;
    this.#client = undefined;
    this.#retry = setTimeout(() => void this.#connect(), RECONNECT_MS).unref();
  }
}
