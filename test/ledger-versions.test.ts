/** A ledger file that an older version wrote opens, keeps what it says, and takes what is new. */
import { copyFileSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import { newId } from '../proxy/ids';
import { Ledger } from '../proxy/ledger/ledger';
import { finish } from '../proxy/ledger/finish';
import { reserve } from '../proxy/ledger/reserve';
import { loadDriver } from '../proxy/stores/sqlite/driver';
import { openSqlite } from '../proxy/stores/sqlite';
import { recordAt } from '../proxy/stores/sqlite/record';
import { StoreError } from '../proxy/stores/store';
import { SCHEMA_VERSION, TABLES } from '../proxy/stores/tables';
import { addKey, endedAs, fixed, reserveInput, settledAt } from './support/ledger';

/** What 0.1.0 made, column by column: schema 1. */
const SCHEMA_1 = `
  CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID;
  CREATE TABLE keys (key_id TEXT, vendor TEXT, account TEXT, label TEXT, job_id TEXT, parent_key_id TEXT,
    ancestors TEXT, budgets TEXT, daily TEXT, allowed TEXT, max_call_micros INTEGER, fx TEXT,
    require_idempotency INTEGER, on_cap TEXT, lease_ms INTEGER, metadata TEXT, issued_by TEXT, created_at INTEGER,
    expires_at INTEGER, lease_until INTEGER, revoked_at INTEGER, revoke_reason TEXT, PRIMARY KEY (key_id)) WITHOUT ROWID;
  CREATE INDEX keys_by_label ON keys (label, key_id);
  CREATE INDEX keys_by_job ON keys (job_id, key_id);
  CREATE TABLE budgets (budget_id TEXT, first_cap_micros INTEGER, created_at INTEGER, cap_micros INTEGER,
    settled_micros INTEGER, out_micros INTEGER, held_micros INTEGER, unknown_micros INTEGER, latched INTEGER,
    n_held INTEGER, n_settled INTEGER, n_released INTEGER, n_unknown INTEGER, n_refused INTEGER, n_replayed INTEGER,
    PRIMARY KEY (budget_id)) WITHOUT ROWID;
  CREATE TABLE calls (call_id TEXT, key_id TEXT, job_id TEXT, account TEXT, method TEXT, path TEXT, route TEXT,
    record_id TEXT, idempotency_key TEXT, scope TEXT, fingerprint TEXT, budgets TEXT, day TEXT, quote_micros INTEGER,
    replay_of TEXT, workflow_id TEXT, activity_id TEXT, attempt INTEGER, context TEXT, created_at INTEGER, state TEXT,
    object_id TEXT, vendor_id TEXT, http_status INTEGER, code TEXT, cost_micros INTEGER, sends INTEGER, epoch TEXT,
    send_by INTEGER, ended_at INTEGER, answer BLOB, PRIMARY KEY (call_id));
  CREATE INDEX calls_by_key ON calls (key_id, call_id);
  CREATE INDEX calls_by_record ON calls (record_id, call_id) WHERE record_id IS NOT NULL;
  CREATE INDEX calls_by_vendor_id ON calls (vendor_id, call_id) WHERE vendor_id IS NOT NULL;
  CREATE INDEX calls_open ON calls (state, call_id) WHERE state IN ('held', 'unknown');
  CREATE TABLE claims (scope TEXT, call_id TEXT, PRIMARY KEY (scope)) WITHOUT ROWID;
  CREATE TABLE objects (object_id TEXT, currency TEXT, out INTEGER, value_micros INTEGER, amount_micros INTEGER,
    shares TEXT, PRIMARY KEY (object_id)) WITHOUT ROWID;
  CREATE TABLE refusals (refusal_id TEXT, count INTEGER, PRIMARY KEY (refusal_id)) WITHOUT ROWID;
  CREATE TABLE issues (issue_id TEXT, key_id TEXT, fingerprint TEXT, PRIMARY KEY (issue_id)) WITHOUT ROWID;
  CREATE TABLE events (seq INTEGER PRIMARY KEY AUTOINCREMENT, at INTEGER NOT NULL, kind TEXT NOT NULL,
    actor TEXT NOT NULL, key_id TEXT, job_id TEXT, call_id TEXT, data TEXT);
  INSERT INTO meta (name, value) VALUES ('schema', '1');`;

const KEY_ID = newId('key');
const CALL_ID = newId('call');
const BUDGET_ID = `key:${KEY_ID}`;

let folder: string;
let path: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'keybrake-versions-'));
  path = join(folder, 'ledger.db');
});
afterEach(() => rmSync(folder, { recursive: true }));

function writeWith(...statements: readonly string[]): void {
  const db = new (loadDriver())(path);
  for (const statement of statements) db.exec(statement);
  db.close();
}

test('a ledger of schema 1 opens, its unknown call is listed with its key, and settles', async () => {
  writeWith(
    SCHEMA_1,
    `INSERT INTO keys (key_id, vendor, account, label, ancestors, budgets, daily, allowed, fx, created_at, expires_at)
     VALUES ('${KEY_ID}', 'stripe', 'stripe', 'old', '[]', '["${BUDGET_ID}"]', '[]', '[]', '{}', 1, 2)`,
    `INSERT INTO budgets VALUES ('${BUDGET_ID}', 9, 1, 9, 0, 0, 0, 5, 0, 0, 0, 0, 1, 0, 0)`,
    `INSERT INTO calls (call_id, key_id, account, method, path, budgets, day, quote_micros, created_at, state, sends,
       epoch, send_by) VALUES ('${CALL_ID}', '${KEY_ID}', 'stripe', 'POST', '/v1/payment_intents',
       '[["${BUDGET_ID}",5]]', '2026-11-24', 5, 1, 'unknown', 1, 'req_old', 2)`,
  );
  const store = openSqlite(path);
  const ledger = new Ledger(store);
  const [listed] = await store.listCalls({ state: 'unknown', order: 'oldest', limit: 5 });
  expect(listed).toMatchObject({ call_id: CALL_ID, label: 'old', quote_micros: 5, stuck_at: null });
  await ledger.submit((rows, now) => {
    const call = rows.get('calls', CALL_ID)!;
    expect(call.request).toBeNull();
    rows.put('calls', { ...call, request: Buffer.from('kept'), stuck_at: now });
  });
  expect(await ledger.submit((rows) => rows.get('calls', CALL_ID)!.request!.toString())).toBe('kept');
  await ledger.record((rows, now) => finish(rows, now, CALL_ID, settledAt(4)));
  const after = await ledger.submit((rows) => ({ ...rows.get('calls', CALL_ID)!, ...rows.get('budgets', BUDGET_ID)! }));
  expect(after).toMatchObject({
    state: 'settled',
    settled_micros: 4,
    unknown_micros: 0,
    request: null,
    stuck_at: null,
  });
  await store.close();

  const again = openSqlite(path);
  expect(await again.listCalls({ state: 'settled', order: 'oldest', limit: 5 })).toHaveLength(1);
  await again.close();
});

test('an old ledger has the same tables, columns and indices afterwards as a new one', async () => {
  const shapeOf = (file: string) => {
    const db = new (loadDriver())(file);
    const shape = Object.keys(TABLES).map((table) => [
      table,
      (db.pragma(`table_info(${table})`) as { name: string; type: string }[]).map(
        ({ name, type }) => `${name} ${type}`,
      ),
      (db.pragma(`index_list(${table})`) as { name: string }[]).map(({ name }) => name).toSorted(),
    ]);
    db.close();
    return shape.map(([table, columns, indices]) => [table, (columns as string[]).toSorted(), indices]);
  };
  writeWith(SCHEMA_1);
  await openSqlite(path).close();
  const fresh = join(folder, 'fresh.db');
  await openSqlite(fresh).close();
  expect(shapeOf(path)).toEqual(shapeOf(fresh));
});

test('what an older version had only in its log when it was killed is kept', async () => {
  const store = openSqlite(path);
  const ledger = new Ledger(store);
  const key = await addKey(ledger, { cap: 9 });
  const held = reserveInput(key, { price: fixed(5), callId: CALL_ID });
  await ledger.hold((rows, now) => reserve(rows, now, held));
  await ledger.record((rows, now) => finish(rows, now, CALL_ID, endedAs('unknown')));
  const killed = join(folder, 'killed.db');
  for (const name of readdirSync(folder))
    copyFileSync(join(folder, name), join(folder, name.replace('ledger', 'killed')));
  await store.close();

  path = killed;
  const dropped = [
    'calls DROP COLUMN up_to_micros',
    'objects DROP COLUMN changed_at',
    'objects DROP COLUMN open_changes',
  ];
  writeWith(...dropped.map((what) => `ALTER TABLE ${what}`), "UPDATE meta SET value = '5' WHERE name = 'schema'");
  const log = `${killed}-log.0`;
  writeFileSync(log, asOfSchema5(readFileSync(log)));

  const again = openSqlite(killed);
  const rows = await new Ledger(again).submit((all) => ({ ...all.get('calls', CALL_ID)! }));
  expect(rows).toMatchObject({ state: 'unknown', key_id: key.keyId, quote_micros: 5, up_to_micros: null });
  expect(await new Ledger(again).submit((all) => all.get('budgets', `key:${key.keyId}`))).toMatchObject({
    cap_micros: 9,
    unknown_micros: 5,
  });
  await again.close();
});

/** The records of a log without the columns that calls have had since. */
function asOfSchema5(log: Buffer): Buffer {
  const records: Buffer[] = [];
  for (let at = 0; ;) {
    const next = recordAt(log, at);
    if (next === undefined) break;
    at += next.record.length;
    const textAt = 24;
    const textEnd = textAt + next.record.readUInt32BE(20);
    const [now, rows, ...others] = JSON.parse(next.record.toString('utf8', textAt, textEnd)) as [number, unknown[][]];
    const calls = Object.keys(TABLES).indexOf('calls');
    // The last of a new row; before its key of a changed one.
    for (const row of rows) if (row[0] === calls) row.splice(row[1] === 1 ? -1 : -2, 1);
    const text = Buffer.from(JSON.stringify([now, rows, ...others]));
    const record = Buffer.concat([next.record.subarray(0, textAt), text, next.record.subarray(textEnd)]);
    record.writeUInt32BE(record.length, 8);
    record.writeUInt32BE(text.length, 20);
    record.writeUInt32BE(crc32(record.subarray(8)), 4);
    records.push(record);
  }
  expect(records.length).toBeGreaterThan(2);
  return Buffer.concat(records);
}

test('a ledger of a newer version is refused, and says what to do', () => {
  writeWith(SCHEMA_1, `UPDATE meta SET value = '${SCHEMA_VERSION + 1}' WHERE name = 'schema'`);
  expect(() => openSqlite(path)).toThrow(StoreError);
  expect(() => openSqlite(path)).toThrow(/upgrade keybrake/);
});
