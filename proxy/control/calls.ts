/** The audit log, page by page or as a stream, and an operator's word on an unknown call. */
import { type CallState, type CallView, ControlError, type Page, type ResolveBody } from '../contract';
import { finish, type Outcome } from '../ledger/finish';
import { ratesOf } from '../ledger/rates';
import { deadAt, type Live } from '../ledger/resume';
import { countedIn, sharesOf } from '../ledger/spend';
import type { CallQuery, ListedCall, Rows, Store } from '../stores/store';
import type { CallRow } from '../stores/tables';
import { csvLine } from './csv';
import { checkedMicros } from './schemas';
import type { Role } from './terms';
import { callView, iso } from './views';
import { CALL_COLUMNS } from './viewSchemas';

const STREAM_PAGE = 1_000;

export interface CallsQuery {
  readonly label?: string;
  readonly job_id?: string;
  readonly key_id?: string;
  readonly state?: CallState;
  readonly record_id?: string;
  readonly vendor_id?: string;
  readonly cursor?: string;
  readonly limit?: number;
}

/** A page of calls, newest first. A worker sees the calls of keys that a worker was issued. */
export async function listCalls(store: Store, role: Role, query: CallsQuery): Promise<Page<CallView>> {
  const limit = query.limit ?? 100;
  const calls = await store.listCalls({ ...filterOf(role, query), order: 'newest', limit: limit + 1 });
  const items = calls.slice(0, limit).map(callView);
  return { items, next_cursor: calls.length > limit ? (items.at(-1)?.call_id ?? null) : null };
}

export type StreamFormat = 'application/x-ndjson' | 'text/csv';

/**
 * Every matching call, oldest first, as text. A page is read when the reader has taken the one before, so the memory
 * needed is the same for ten rows and for ten million.
 */
export function streamCalls(
  store: Store,
  role: Role,
  query: CallsQuery,
  format: StreamFormat,
): ReadableStream<Uint8Array> {
  const encoder = new TextEncoder();
  const csv = format === 'text/csv';
  let after = query.cursor;
  let left = query.limit ?? Infinity;
  let head = csv ? csvLine(CALL_COLUMNS) : '';
  return new ReadableStream(
    {
      async pull(controller) {
        const limit = Math.min(STREAM_PAGE, left);
        const calls = await store.listCalls({ ...filterOf(role, query), after, order: 'oldest', limit });
        const text = head + calls.map((call) => (csv ? callCsv(call) : callLine(call))).join('');
        if (text !== '') controller.enqueue(encoder.encode(text));
        head = '';
        after = calls.at(-1)?.call_id ?? after;
        left -= calls.length;
        if (calls.length < limit || left === 0) controller.close();
      },
    },
    { highWaterMark: 0 },
  );
}

function filterOf(role: Role, { cursor, ...filter }: CallsQuery): Omit<CallQuery, 'order' | 'limit'> {
  return { ...filter, after: cursor, issued_by: role === 'worker' ? 'worker' : undefined };
}

function callLine(call: ListedCall): string {
  return `${JSON.stringify(callView(call))}\n`;
}

function callCsv(call: ListedCall): string {
  const view = callView(call);
  return csvLine(CALL_COLUMNS.map((column) => view[column]));
}

/** Settles or releases an unknown call on an operator's word. */
export function resolveCall(rows: Rows, now: number, live: Live, callId: string, body: ResolveBody): CallView {
  const call = rows.get('calls', callId);
  if (call === undefined) throw new ControlError('not_found', `There is no call ${callId}.`);
  if (call.state !== 'unknown') throw new ControlError('conflict', `${callId} is ${call.state}, not unknown.`);
  const from = deadAt(call, live);
  if (now < from)
    throw new ControlError('conflict', `${callId} may still be under way: resolve it after ${iso(from)}.`);
  const { call: ended } = finish(rows, now, callId, outcomeOf(rows, call, body), 'admin');
  return callView(listed(rows, ended));
}

function outcomeOf(rows: Rows, call: CallRow, body: ResolveBody): Outcome {
  if (body.outcome === 'released') return { state: 'released', httpStatus: call.http_status, code: call.code };
  const micros = checkedMicros(body.usd);
  // Who reads the log takes a settled 402 for a decline. One that could not be read, and for which money moved, was none.
  const httpStatus = micros > 0 && call.http_status === 402 ? null : call.http_status;
  const code = micros > 0 ? null : call.code;
  const vendorId = body.vendor_id ?? call.vendor_id;
  const object = call.object_id === null ? undefined : rows.get('objects', call.object_id);
  if (call.object_id === null || object === undefined) {
    const spend = { micros, out: paysOut(call), vendorId };
    return { state: 'settled', httpStatus, code, spend, answer: null };
  }
  // The ledger counts this object: what the call cost becomes part of its value, or a later capture would add it again.
  const valueMicros = countedIn(sharesOf(object), ratesOf(rows, call.key_id, object.currency)) + micros;
  const valued = {
    objectId: call.object_id.slice(call.account.length + 1),
    valueMicros,
    amountMicros: Math.max(object.amount_micros, valueMicros),
    currency: object.currency,
    out: object.out === 1,
    vendorId,
  };
  return { state: 'settled', httpStatus, code, spend: { object: valued, mode: 'pays_rise' }, answer: null };
}

/** Money out by the name of its route: the answer that would say so never came. */
function paysOut({ route }: CallRow): boolean {
  return route !== null && /\/(?:refunds|payouts|transfers)$/.test(route);
}

function listed(rows: Rows, call: CallRow): ListedCall {
  const key = rows.get('keys', call.key_id);
  if (key === undefined) throw new Error(`call ${call.call_id} has no key`);
  const { answer: _answer, request: _request, ...row } = call;
  return { ...row, label: key.label, vendor: key.vendor };
}
