/** What an answer of each vendor's comes to. Pure. */
import type { RecordResult } from './contract/plan';

/**
 * What a vendor says of a decline or a failure: of Stripe's the decline code before the code before the type, of Twilio's
 * the number, of Resend's the name; of another vendor whichever of these places has one.
 */
export function vendorCodeOf(body: unknown): string | undefined {
  const { error, code, name } = (body ?? {}) as { error?: unknown; code?: unknown; name?: unknown };
  const { decline_code: decline, code: inner, type } = (error ?? {}) as Readonly<Record<string, unknown>>;
  const found = [decline, inner, type, code, name, error].find(isCode);
  return found === undefined ? undefined : String(found).slice(0, CODE_CHARS_MAX);
}

const CODE_CHARS_MAX = 100;

function isCode(value: unknown): value is string | number {
  return typeof value === 'string' || typeof value === 'number';
}

/** Statuses after which the same call may go through later. */
function mayPass(status: number): boolean {
  return status === 409 || status === 429 || status >= 500;
}

/** Codes by vendor that no later attempt of this run passes, whatever their status says. */
const FINAL: Readonly<Record<string, readonly string[]>> = {
  resend: ['daily_quota_exceeded', 'monthly_quota_exceeded', 'invalid_idempotent_request'],
};

/** What a vendor's status means by itself; undefined where the call may be tried again. */
export function plainResult(vendor: string, status: number, code: string | undefined): RecordResult | undefined {
  if (status < 300) return { outcome: 'succeeded' };
  if (status === 402) return withCode('declined', code);
  if (mayPass(status) && !(code !== undefined && FINAL[vendor]?.includes(code))) return undefined;
  return withCode('failed', code ?? `http_${status}`);
}

export function withCode(outcome: RecordResult['outcome'], code: string | undefined): RecordResult {
  return code === undefined ? { outcome } : { outcome, code };
}
