/** What each call of one `vault()` carries, whichever client sends it, and how it survives a lease that has lapsed. */
import { HEADERS } from '../proxy/contract';
import type { CallContext } from './callContext';
import { contextHeaders } from './recordCall';
import { revived, type Token } from './tokens';

export interface BoundCall {
  readonly context: CallContext;
  readonly keyId: string;
  /** The record id as header and audit row have it. */
  readonly recordKey: string;
  readonly idempotencyKey: string;
  /** Where the record lies in the run's source. */
  readonly offset: number | undefined;
}

/** The key's token. A key that is dead already ends the activity, whatever a client makes of the error. */
export async function tokenOf({ context, keyId }: BoundCall): Promise<Token> {
  try {
    return await context.runtime.tokens.get(keyId);
  } catch (error) {
    context.failed(error);
    throw error;
  }
}

/** The headers of a call, without its idempotency key. */
export function boundHeaders({ context, recordKey, offset }: BoundCall, { vaultKey }: Token): Record<string, string> {
  return { authorization: `Bearer ${vaultKey}`, ...contextHeaders(context.caller, recordKey, offset) };
}

/**
 * The record's idempotency key, unless `headers` name one that the caller chose. Stripe wants none on a GET; a GET of
 * Twilio's may be a look-up that costs money, and the proxy alone reads the key.
 */
export function ownKey(
  call: BoundCall,
  { vendor, method, headers }: { readonly vendor: string; readonly method: string; readonly headers: Headers },
): Record<string, string> {
  if (method.toUpperCase() === 'GET' && vendor !== 'twilio') return {};
  return headers.has(HEADERS.idempotencyKey) ? {} : { [HEADERS.idempotencyKey]: call.idempotencyKey };
}

/**
 * Sends; where the key is refused because its lease alone has lapsed (its guard's worker died), renews it and sends once
 * more. `codeOf` reads the refusal's code off an answer.
 */
export async function leased<T>(
  { context, keyId }: BoundCall,
  send: () => Promise<T>,
  codeOf: (answer: T) => unknown,
): Promise<T> {
  try {
    const answer = await send();
    if (codeOf(answer) !== 'key_expired' || !(await revived(context.runtime.client, keyId))) return answer;
    return await send();
  } catch (error) {
    context.failed(error);
    throw error;
  }
}
