/** The listings as SQL, the same for each store but for the calls of a run; values stand where the `?` are. */
import type { PrunedKind } from '../retention';
import type { CallQuery, KeyQuery, LateQuery, OldQuery } from './store';
import { TABLES } from './tables';

/**
 * The states of `calls_over` and, in other words, those of `calls_over_by_key`: SQLite takes a partial index where the
 * statement says what the index says, and of two that say the same it would take the wrong one.
 */
const OVER = "state IN ('refused', 'replayed', 'released')";
const OVER_OF_KEY = "state NOT IN ('held', 'unknown', 'settled')";

export interface Sql {
  readonly sql: string;
  readonly values: readonly (string | number)[];
}

const { answer: _answer, request: _request, ...LISTED } = TABLES.calls.mutable;
const CALL_COLUMNS = Object.keys({ ...TABLES.calls.fixed, ...LISTED })
  .map((column) => `c.${column}`)
  .join(', ');

/** What narrows the keys. */
function keysOf(query: CallQuery) {
  return (['label', 'job_id', 'key_id'] as const).filter((name) => query[name] !== undefined);
}

/** In one of the states of `calls_open`. */
function isOpen({ state }: CallQuery): boolean {
  return state === 'held' || state === 'unknown';
}

/** In one of the states of `calls_over` and `calls_over_by_key`. */
function isOver({ state }: CallQuery): boolean {
  return state === 'refused' || state === 'replayed' || state === 'released';
}

function ofOne({ record_id: record, vendor_id: vendor }: CallQuery): boolean {
  return record !== undefined || vendor !== undefined;
}

export function callsSql(query: CallQuery): Sql {
  const where: string[] = [];
  const values: (string | number)[] = [];
  const add = (condition: string, value: string | undefined) => {
    if (value === undefined) return;
    where.push(condition);
    values.push(value);
  };
  add('c.key_id IN (SELECT key_id FROM keys WHERE label = ?)', query.label);
  add('c.key_id IN (SELECT key_id FROM keys WHERE job_id = ?)', query.job_id);
  add('c.key_id = ?', query.key_id);
  add('c.state = ?', query.state);
  add('c.record_id = ?', query.record_id);
  add('c.vendor_id = ?', query.vendor_id);
  // As the partial indices say it. Where a record or an object narrows, that one's index is the better one.
  if (isOpen(query)) where.push("c.state IN ('held', 'unknown')");
  else if (isOver(query) && !ofOne(query)) where.push(`c.${keysOf(query).length > 0 ? OVER_OF_KEY : OVER}`);
  add('k.issued_by = ?', query.issued_by);
  add(query.order === 'newest' ? 'c.call_id < ?' : 'c.call_id > ?', query.after);
  const sql = `SELECT ${CALL_COLUMNS}, k.label, k.vendor FROM calls c JOIN keys k ON k.key_id = c.key_id
    ${where.length > 0 ? `WHERE ${where.join(' AND ')}` : ''}
    ORDER BY c.call_id ${query.order === 'newest' ? 'DESC' : 'ASC'} LIMIT ?`;
  return { sql, values: [...values, query.limit] };
}

/** Before and after every call id. */
const [FIRST, LAST] = ['call_', 'call_~'];

/**
 * {@link callsSql} for Postgres, which would read and sort all calls of a run for each page of them: from a page of each
 * key, in the order of its index, it makes one. Rows are compared, not keys: of calls of one key, it may take the index
 * of all calls and walk through those of the others.
 */
export function callsByKeySql(query: CallQuery): Sql {
  const { state, after, limit } = query;
  const ofKey = keysOf(query);
  // What another index narrows to a few is sorted at once.
  if (ofKey.length === 0 || ofOne(query) || isOpen(query)) return callsSql(query);
  const keys = [...ofKey, ...(query.issued_by === undefined ? [] : (['issued_by'] as const))];
  const newest = query.order === 'newest';
  const direction = newest ? 'DESC' : 'ASC';
  // In the order of the index that has the state; the edges of that of `calls_over_by_key` hold the state too.
  const columns = isOver(query) ? ['key_id', 'state', 'call_id'] : ['key_id', 'call_id'];
  const row = `(${columns.map((column) => `c.${column}`).join(', ')})`;
  const edge = `(k.key_id, ${isOver(query) ? '?, ' : ''}?)`;
  const ofState = isOver(query) ? OVER_OF_KEY : state === undefined ? 'TRUE' : 'state = ?';
  const sql = `SELECT ${CALL_COLUMNS}, k.label, k.vendor FROM keys k CROSS JOIN LATERAL (
      SELECT ${CALL_COLUMNS} FROM calls c WHERE ${row} > ${edge} AND ${row} < ${edge} AND ${ofState}
      ORDER BY ${columns.map((column) => `c.${column} ${direction}`).join(', ')} LIMIT ?) c
    WHERE ${keys.map((name) => `k.${name} = ?`).join(' AND ')} ORDER BY c.call_id ${direction} LIMIT ?`;
  const states = state === undefined ? [] : [state];
  const edges = newest ? [FIRST, after ?? LAST] : [after ?? FIRST, LAST];
  const between = isOver(query) ? edges.flatMap((id) => [...states, id]) : [...edges, ...states];
  return { sql, values: [...between, limit, ...keys.map((name) => query[name] as string), limit] };
}

export function keysSql(query: KeyQuery): Sql {
  const where: string[] = [];
  const values: (string | number)[] = [];
  for (const column of ['label', 'job_id', 'parent_key_id'] as const) {
    const value = query[column];
    if (value === undefined) continue;
    where.push(`${column} = ?`);
    values.push(value);
  }
  if (query.after !== undefined) {
    where.push('key_id < ?');
    values.push(query.after);
  }
  const sql = `SELECT * FROM keys ${where.length > 0 ? `WHERE ${where.join(' AND ')}` : ''}
    ORDER BY key_id DESC LIMIT ?`;
  return { sql, values: [...values, query.limit] };
}

export function lateSql({ dueAt, limit }: LateQuery): Sql {
  const sql = "SELECT * FROM late WHERE state = 'waiting' AND next_look <= ? ORDER BY next_look, object_id LIMIT ?";
  return { sql, values: [dueAt, limit] };
}

/** Of that many at most: who reads the metrics needs no key, and SQLite keeps all else waiting. */
const OPEN_SUMMED_MAX = 100_000;

/** `calls_open` holds both states, and is taken where the statement says so. */
const sumOf = (state: 'held' | 'unknown') =>
  `SELECT '${state}' AS state, COUNT(*) AS count, COUNT(stuck_at) AS stuck, MIN(created_at) AS oldest,
    CAST(COALESCE(SUM(quote_micros), 0) AS BIGINT) AS micros
  FROM (SELECT stuck_at, created_at, quote_micros FROM calls
    WHERE state = '${state}' AND state IN ('held', 'unknown') ORDER BY call_id LIMIT ${OPEN_SUMMED_MAX}) c`;

export const OPEN_SUMS = `${sumOf('held')} UNION ALL ${sumOf('unknown')}`;

export const COUNT_LATE = "SELECT COUNT(*) AS count FROM late WHERE state = 'waiting'";

const OVER_CALLS = `SELECT call_id AS id, call_id AS cursor, created_at AS made_at, ended_at, key_id, job_id FROM calls`;

/** Key ids are of one length, so that the key of a counter can be read off its id. */
const COUNTED_KEY = 'substr(r.refusal_id, 1, 30)';

/** Each in the order of an index that has only rows of its kind: what stays for ever is not walked through. */
const OLD = {
  refused: `${OVER_CALLS} WHERE state = 'refused' AND ${OVER} AND call_id > ?`,
  replayed: `${OVER_CALLS} WHERE state = 'replayed' AND ${OVER} AND call_id > ?`,
  released: `${OVER_CALLS} WHERE state = 'released' AND ${OVER} AND call_id > ?`,
  settled: `${OVER_CALLS} WHERE state = 'settled' AND scope IS NULL AND object_id IS NULL AND vendor_id IS NULL
    AND call_id > ?`,
  late_prices: `SELECT l.object_id AS id, l.call_id AS cursor, c.created_at AS made_at, c.ended_at, c.key_id, c.job_id
    FROM late l JOIN calls c ON c.call_id = l.call_id WHERE l.state IN ('known', 'given_up') AND l.call_id > ?`,
  refusal_counters: `SELECT r.refusal_id AS id, r.refusal_id AS cursor, NULL AS made_at,
    CASE WHEN k.revoked_at < k.expires_at THEN k.revoked_at ELSE k.expires_at END AS ended_at, k.key_id, k.job_id
    FROM refusals r JOIN keys k ON k.key_id = ${COUNTED_KEY} WHERE r.refusal_id > ?`,
  events: `SELECT e.seq AS id, e.seq AS cursor, e.at AS made_at,
    CASE WHEN c.state IN ('held', 'unknown') THEN NULL ELSE e.at END AS ended_at,
    e.key_id, COALESCE(e.job_id, k.job_id) AS job_id
    FROM events e LEFT JOIN calls c ON c.call_id = e.call_id LEFT JOIN keys k ON k.key_id = e.key_id WHERE e.seq > ?`,
} as const satisfies Record<PrunedKind, string>;

const ALIVE = 'revoked_at IS NULL AND expires_at > ?';

export function oldSql({ kind, after, now, limit }: OldQuery): Sql {
  const sql = `WITH page AS (${OLD[kind]} ORDER BY cursor LIMIT ?)
    SELECT id, cursor, made_at, ended_at, CASE
      WHEN key_id IN (SELECT key_id FROM keys WHERE key_id IN (SELECT key_id FROM page) AND ${ALIVE}) THEN 1
      WHEN job_id IN (SELECT job_id FROM keys WHERE job_id IN (SELECT job_id FROM page) AND ${ALIVE}) THEN 1
      ELSE 0 END AS live
    FROM page ORDER BY cursor`;
  return { sql, values: [kind === 'events' ? Number(after ?? 0) : (after ?? ''), limit, now, now] };
}
