import { invalidParam } from './errors';
import { textsOf } from './form';
import { type CreatedFilter, type Fields, parseParams } from './params';
import type { Call, Row, StripeState, Table } from './state';

const PAGING = { created: 'created', ending_before: 'string', limit: 'integer', starting_after: 'string' } as const;
const PAGE_DEFAULT = 10;
const PAGE_MAX = 100;
const EXPAND_DEPTH_MAX = 4;

interface Listable {
  readonly id: string;
  readonly object: string;
  readonly created: number;
}

/** One page of a list, as Stripe answers it. */
export interface Page {
  readonly object: 'list';
  readonly data: readonly unknown[];
  readonly has_more: boolean;
  readonly url: string;
}

/** A list endpoint, newest first. Every filter is a field of the object that must equal the parameter. */
export function listOf<T extends Listable>(
  table: (state: StripeState) => Table<T>,
  url: string,
  filters: readonly (keyof T & string)[],
): (call: Call) => Page {
  const fields = Object.fromEntries(filters.map((name) => [name, 'string'] as const));
  return (call) => {
    const fits = (object: T) =>
      filters.every((name) => call.form[name] === undefined || object[name] === call.form[name]);
    return page(call, table(call.state), url, fields, fits);
  };
}

/** `GET /v1/events`, by `type` or `types[]`; `*` stands for any text. */
export function listEvents(call: Call): Page {
  const types = [...textsOf(call.form['type']), ...textsOf(call.form['types'])];
  const patterns = types.map((type) => new RegExp(`^${type.replaceAll(/[^\w*]/g, '\\$&').replaceAll('*', '.*')}$`));
  const fits = (event: { readonly type: string }) =>
    patterns.length === 0 || patterns.some((pattern) => pattern.test(event.type));
  return page(call, call.state.events, '/v1/events', { type: 'string', types: 'any' }, fits);
}

/** `GET /v1/charges/{id}/refunds` */
export function listRefundsOfCharge(call: Call): Page {
  call.state.charges.get(call.id);
  const url = `/v1/charges/${call.id}/refunds`;
  return page(call, call.state.refunds, url, {}, (refund) => refund.charge === call.id);
}

/** Replaces ids by the objects they name, for paths such as `latest_charge` or `data.customer`. */
export function expandObject(state: StripeState, object: unknown, paths: readonly string[]): unknown {
  return paths.reduce((result, path) => expandPath(state, result, path.split('.').slice(0, EXPAND_DEPTH_MAX)), object);
}

function page<T extends Listable>(
  call: Call,
  table: Table<T>,
  url: string,
  filters: Fields,
  fits: (object: T) => boolean,
): Page {
  const params = parseParams(call.form, { ...filters, ...PAGING });
  const { created, ending_before, limit = PAGE_DEFAULT, starting_after } = params;
  if (limit < 1 || limit > PAGE_MAX) {
    throw invalidParam('limit', `Invalid limit: must be from 1 to ${PAGE_MAX}.`, 'parameter_invalid_integer');
  }
  const keep = (row: Row<T>) => within(created, row.object.created) && fits(row.object);
  const backwards = ending_before !== undefined;
  const found = backwards
    ? collect(table.rows, table.rows.indexOf(table.get(ending_before, 'ending_before')) + 1, 1, limit + 1, keep)
    : collect(table.rows, startOf(table, starting_after), -1, limit + 1, keep);
  const data = found.slice(0, limit);
  return { object: 'list', data: backwards ? data.toReversed() : data, has_more: found.length > limit, url };
}

function startOf<T extends Listable>(table: Table<T>, startingAfter: string | undefined): number {
  if (startingAfter === undefined) return table.rows.length - 1;
  return table.rows.indexOf(table.get(startingAfter, 'starting_after')) - 1;
}

/** Up to `max` objects from `start` on, in steps of `step`. */
function collect<T>(
  rows: readonly Row<T>[],
  start: number,
  step: 1 | -1,
  max: number,
  keep: (row: Row<T>) => boolean,
): T[] {
  const found: T[] = [];
  for (let at = start; found.length < max; at += step) {
    const row = rows[at];
    if (row === undefined) break;
    if (keep(row)) found.push(row.object);
  }
  return found;
}

function within(filter: CreatedFilter | undefined, created: number): boolean {
  return filter === undefined || (created >= filter.from && created <= filter.to);
}

function expandPath(state: StripeState, value: unknown, path: readonly string[]): unknown {
  if (Array.isArray(value)) return value.map((item) => expandPath(state, item, path));
  const [name, ...rest] = path;
  if (name === undefined || typeof value !== 'object' || value === null || !Object.hasOwn(value, name)) return value;
  const field: unknown = (value as Record<string, unknown>)[name];
  const found = typeof field === 'string' ? (state.lookUp(field) ?? field) : field;
  return { ...value, [name]: expandPath(state, found, rest) };
}
