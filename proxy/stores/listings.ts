/** The listings as SQL, the same for each store; values stand where the `?` are. */
import type { CallQuery, KeyQuery, LateQuery } from './store';
import { TABLES } from './tables';

export interface Sql {
  readonly sql: string;
  readonly values: readonly (string | number)[];
}

export function callsSql(query: CallQuery): Sql {
  const { answer: _answer, request: _request, ...mutable } = TABLES.calls.mutable;
  const columns = Object.keys({ ...TABLES.calls.fixed, ...mutable }).map((column) => `c.${column}`);
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
  if (query.state === 'held' || query.state === 'unknown') where.push("c.state IN ('held', 'unknown')");
  add('c.record_id = ?', query.record_id);
  add('c.vendor_id = ?', query.vendor_id);
  add('k.issued_by = ?', query.issued_by);
  add(query.order === 'newest' ? 'c.call_id < ?' : 'c.call_id > ?', query.after);
  const sql = `SELECT ${columns.join(', ')}, k.label, k.vendor FROM calls c JOIN keys k ON k.key_id = c.key_id
    ${where.length > 0 ? `WHERE ${where.join(' AND ')}` : ''}
    ORDER BY c.call_id ${query.order === 'newest' ? 'DESC' : 'ASC'} LIMIT ?`;
  return { sql, values: [...values, query.limit] };
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

export const COUNT_LATE = "SELECT COUNT(*) AS count FROM late WHERE state = 'waiting'";
