/** The ledger's side of finding out what became of an unknown call: DESIGN 5.5 and 5.6. Pure but for `rows`. */
import type { Rows } from '../stores/store';
import type { CallRow } from '../stores/tables';
import { factsOf, lifeOf } from './facts';
import { finish, type Finished, type Outcome } from './finish';
import { ratesOf } from './rates';
import { SEND_BY_MS } from './reserve';
import { countedIn, sharesOf } from './spend';

/** The process that is running now, and how long an answer may take. */
export interface Live {
  readonly epoch: string;
  readonly upstreamTimeoutMs: number;
  /** Beyond the last moment at which an answer may come; the vendor may still execute what it has got. */
  readonly marginMs: number;
  /** The ledger is this process's alone: calls of another epoch are a dead process's. */
  readonly exclusive: boolean;
}

type Sent = Pick<CallRow, 'epoch' | 'send_by'>;

/** From when on nobody can be at work on the call any more. Until then it is not looked up, resent or resolved. */
export function deadAt(call: Sent, live: Live): number {
  if (live.exclusive && call.epoch !== live.epoch) return 0;
  return call.send_by + live.upstreamTimeoutMs + live.marginMs;
}

/** How long after its first send the proxy itself sends a call again. A client's own retry may be later. */
export const RESUME_MS_MAX = 10 * 60_000;

export interface Resumed {
  readonly call: CallRow;
  readonly sendBy: number;
}

/**
 * Takes an unknown call, to send it again with its idempotency key. In one step with whatever revokes its key or
 * takes the call for a client's retry. Undefined: it must not be sent now.
 */
export function resume(rows: Rows, now: number, callId: string, live: Live): Resumed | undefined {
  const call = rows.get('calls', callId);
  if (call?.state !== 'unknown' || now < deadAt(call, live) || now - call.created_at > RESUME_MS_MAX) return undefined;
  const key = rows.get('keys', call.key_id);
  const life = key && lifeOf(rows, now, call.key_id, factsOf(key).ancestors);
  if (life === undefined || life.dead !== undefined) return undefined;
  const sendBy = Math.min(now + SEND_BY_MS, life.until);
  rows.put('calls', { ...call, sends: call.sends + 1, send_by: sendBy, epoch: live.epoch });
  rows.event({ kind: 'call.resent', actor: 'reconciler', key_id: call.key_id, call_id: callId });
  return { call, sendBy };
}

/**
 * Settles an unknown call with what the vendor has for it; also one that an operator has released meanwhile: it is late
 * news, and a fact. `unclaimed`: it was found by its content, so it must not be what another call of the account was
 * settled with. Answers undefined then, and when the call has been settled. What the ledger counts for an object that the
 * call made is newer than what was read of it.
 */
export function settleFound(
  rows: Rows,
  now: number,
  callId: string,
  outcome: Extract<Outcome, { state: 'settled' }>,
  unclaimed: boolean,
): Finished | undefined {
  const call = rows.get('calls', callId);
  if (call?.state !== 'unknown' && call?.state !== 'released') return undefined;
  const { spend } = outcome;
  if (!('object' in spend)) return unclaimed ? undefined : finish(rows, now, callId, outcome, 'reconciler');
  const counted = rows.get('objects', `${call.account}/${spend.object.objectId}`);
  if (unclaimed && counted !== undefined) return undefined;
  const newer =
    call.object_id === null && counted !== undefined
      ? { valueMicros: countedIn(sharesOf(counted), ratesOf(rows, call.key_id, counted.currency)) }
      : {};
  const settled = { ...outcome, spend: { ...spend, object: { ...spend.object, ...newer } } };
  return finish(rows, now, callId, settled, 'reconciler');
}

/** Nothing that the proxy may do tells what became of the call: its money stays held, and an operator must say. */
export function leaveToOperator(rows: Rows, now: number, callId: string, why: string): boolean {
  const call = rows.get('calls', callId);
  if (call?.state !== 'unknown' || call.stuck_at !== null) return false;
  rows.put('calls', { ...call, stuck_at: now });
  rows.event({ kind: 'call.stuck', actor: 'reconciler', key_id: call.key_id, call_id: callId, data: { why } });
  return true;
}
