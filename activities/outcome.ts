/**
 * The outcome of a record, out of the ledger's rows for it. Temporal may have lost the answer of an attempt that did
 * send (a cancel during retry backoff); the ledger has not.
 */
import type { CallState, CallView } from '../proxy/contract';
import type { RecordResult } from './contract/plan';

/** Of one row, what decides. Kept small: `writeResults` holds the rows of a whole job. */
export interface OutcomeRow {
  readonly state: CallState;
  /** Was it made with this run's key? */
  readonly own: boolean;
  /** Where the record stands that made the call; null when its caller did not say. */
  readonly offset: number | null;
  readonly code: string | null;
  readonly status: number | null;
  /** Method and path of the vendor's table; the method alone where it has no such route. */
  readonly route: string;
  /** Could it cost nothing? */
  readonly free: boolean;
  readonly callId: string;
  readonly vendorId: string | null;
  readonly costUsd: number | null;
  /** Milliseconds since 1970. */
  readonly createdAt: number;
}

/** Which record of which run is asked about. */
export interface OutcomeQuestion {
  readonly keyId: string | null;
  readonly offset: number;
}

/** The outcome and the row that it was read from. */
export interface Decision {
  readonly result: RecordResult;
  readonly row: OutcomeRow | null;
}

/**
 * The outcome of the record at `offset`, out of all rows of its job with its record id. Pure; the order of the rows
 * does not matter. Never scheduled or never sent: `not_started`.
 */
export function outcomeOf(rows: readonly CallView[], { keyId, offset }: OutcomeQuestion): RecordResult {
  return decide(
    rows.map((row) => toOutcomeRow(row, keyId)),
    offset,
  ).result;
}

/**
 * In order: what this run executed for this very record; another record with the same id that owns the call; what a
 * former run executed; the refusals.
 */
export function decide(all: readonly OutcomeRow[], offset: number, formerOwner: number | null = null): Decision {
  const rows = all.filter((row) => !isBeside(row, all));
  const isMine = (row: OutcomeRow): boolean => row.own && (row.offset === null || row.offset === offset);
  const executed = best(rows.filter((row) => isMine(row) && RANKS[row.state] !== undefined));
  if (executed !== undefined) return { result: executedResult(executed), row: executed };

  const owner = best(rows.filter((row) => row.own && holdsClaim(row)));
  if (owner !== undefined) return { result: { outcome: 'duplicate' }, row: owner };

  const refused = latest(rows.filter((row) => isMine(row) && row.state === 'refused'));
  const former = best(rows.filter((row) => !row.own && holdsClaim(row))) ?? replayedRow(rows, isMine);
  if (former !== undefined) {
    const first = firstOwnOffset(rows) ?? formerOwner ?? offset;
    if (first !== offset) return { result: { outcome: 'duplicate' }, row: former };
    const result = formerResult(former);
    // What the former run executed was another request: this record, as it is now, was not.
    const another = result.outcome === 'replayed' && refused?.code === MISMATCH;
    return another ? { result: executedOtherwise(former.callId), row: refused } : { result, row: former };
  }
  if (refused !== undefined) return { result: withCode('refused', refused.code), row: refused };
  return { result: { outcome: 'not_started' }, row: null };
}

const MISMATCH = 'idempotency_mismatch';

/** The record's id was paid for by an earlier run, whose amount or parameters were others: not "nothing happened". */
export function executedOtherwise(formerCallId?: string): RecordResult {
  const call = formerCallId === undefined ? '' : ` (${formerCallId})`;
  return {
    outcome: 'failed',
    code: MISMATCH,
    reason: `an earlier run of the job executed this id with other parameters${call}`,
  };
}

/** Is it {@link executedOtherwise}? */
export function isExecutedOtherwise({ outcome, code }: RecordResult): boolean {
  return outcome === 'failed' && code === MISMATCH;
}

export function toOutcomeRow(call: CallView, keyId: string | null): OutcomeRow {
  return {
    state: call.state,
    own: call.key_id === keyId,
    offset: offsetIn(call.context),
    code: call.code,
    status: call.http_status,
    route: call.route ?? call.method,
    free: call.quote_usd === 0,
    callId: call.call_id,
    vendorId: call.vendor_id,
    costUsd: call.cost_usd,
    createdAt: Date.parse(call.created_at),
  };
}

/** The `Keybrake-Context` of a record's call; {@link outcomeOf} tells a duplicate from a retry by it. */
export function contextOf(offset: number): string {
  return `offset=${offset}`;
}

export function offsetIn(context: string | null): number | null {
  const match = /(?:^|[\s;,])offset=(\d{1,16})(?:$|[\s;,])/.exec(context ?? '');
  return match === null ? null : Number(match[1]);
}

/** What is not known outranks what is: a record with an unknown call is unknown. Other states execute nothing. */
const RANKS: Partial<Record<CallState, number>> = { unknown: 4, held: 4, settled: 3, released: 1 };

function rank(row: OutcomeRow): number {
  return isDecline(row) ? 2 : (RANKS[row.state] ?? 0);
}

/** A settled call without 402 is money moved, whatever the status of its first answer was. */
function isDecline(row: OutcomeRow): boolean {
  return row.state === 'settled' && row.status === 402;
}

function isRead({ route }: OutcomeRow): boolean {
  return route.startsWith('GET');
}

/** A call that costs nothing, a read before the payment say, tells nothing of a record whose other call came to nothing. */
function isBeside(row: OutcomeRow, rows: readonly OutcomeRow[]): boolean {
  if (row.state !== 'settled' || !row.free || isDecline(row)) return false;
  return rows.some((other) => {
    if (other.own !== row.own || other.route === row.route || isRead(other)) return false;
    if (other.state === 'refused') return true;
    return (other.state === 'released' || isDecline(other)) && (isRead(row) || !other.free);
  });
}

/** Is the idempotency key taken by this row? A released call frees it. */
function holdsClaim(row: OutcomeRow): boolean {
  return row.state === 'settled' || row.state === 'unknown' || row.state === 'held';
}

function best(rows: readonly OutcomeRow[]): OutcomeRow | undefined {
  return rows.toSorted((a, b) => rank(b) - rank(a) || b.createdAt - a.createdAt)[0];
}

function latest(rows: readonly OutcomeRow[]): OutcomeRow | undefined {
  return rows.toSorted((a, b) => b.createdAt - a.createdAt)[0];
}

function replayedRow(rows: readonly OutcomeRow[], isMine: (row: OutcomeRow) => boolean): OutcomeRow | undefined {
  return latest(rows.filter((row) => isMine(row) && row.state === 'replayed'));
}

/** Of several records with one id, the first that this run called owns what a former run did. */
function firstOwnOffset(rows: readonly OutcomeRow[]): number | null {
  const [first] = rows
    .filter((row) => row.own && row.offset !== null)
    .toSorted((a, b) => a.createdAt - b.createdAt || (a.offset ?? 0) - (b.offset ?? 0));
  return first?.offset ?? null;
}

function executedResult(row: OutcomeRow): RecordResult {
  if (row.state === 'unknown' || row.state === 'held') return withCode('unknown', row.code);
  if (row.state === 'released') return withCode('failed', row.code);
  return isDecline(row) ? withCode('declined', row.code) : { outcome: 'succeeded' };
}

function formerResult(row: OutcomeRow): RecordResult {
  if (row.state === 'unknown' || row.state === 'held') return withCode('unknown', row.code);
  return row.status === 402 ? withCode('declined', row.code) : { outcome: 'replayed' };
}

function withCode(outcome: RecordResult['outcome'], code: string | null): RecordResult {
  return code === null ? { outcome } : { outcome, code };
}
