/**
 * Errors as Temporal failures of type `keybrake.<code>`. A failure's message, type and stack stay readable in the
 * history even with a payload codec, so no vault key may be in them.
 */
import { ApplicationFailure, TemporalFailure } from '@temporalio/common';
import { KeybrakeApiError } from '../proxy/client';
import { isRefusalCode, isTerminalRefusal, REFUSALS, type RefusalCode, type RefusalDetails } from '../proxy/contract';
import { FAILURES } from './codes';

/** A refusal as an answer of the data plane told it. */
export interface Refused {
  readonly code: RefusalCode;
  readonly message: string;
  readonly details: RefusalDetails;
  readonly retryAfterMs?: number;
}

/** The failure of a refusal; a retry is allowed where the refusal's own row allows one. */
export function refusalFailure({ code, message, details, retryAfterMs }: Refused, cause?: Error): ApplicationFailure {
  return ApplicationFailure.create({
    type: `keybrake.${code}`,
    message: redact(message),
    nonRetryable: !REFUSALS[code].retry,
    details: [details],
    ...(retryAfterMs !== undefined && { nextRetryDelay: retryAfterMs }),
    ...(cause !== undefined && { cause: redacted(cause) }),
  });
}

/** What an activity of the pack throws, as the workflow and the user are to see it. */
export function toFailure(error: unknown): unknown {
  if (error instanceof TemporalFailure) return error;
  if (error instanceof KeybrakeApiError) return apiFailure(error);
  return redacted(error);
}

/** The refusal that a vendor SDK's error carries: Stripe's keeps the whole error object in `raw`. */
export function refusalOf(error: unknown): Refused | undefined {
  if (typeof error !== 'object' || error === null) return undefined;
  const { raw, headers } = error as { raw?: unknown; headers?: Readonly<Record<string, unknown>> };
  return refusalIn({ error: raw }, headers ?? {});
}

/**
 * The refusal in a body of the data plane, DESIGN 4. The vendor has codes of its own: only ours come with `keybrake`.
 */
export function refusalIn(body: unknown, headers: Readonly<Record<string, unknown>>): Refused | undefined {
  const { error } = (body ?? {}) as { error?: { code?: unknown; message?: unknown; keybrake?: unknown } };
  if (typeof error?.keybrake !== 'object' || error.keybrake === null || !isRefusalCode(error.code)) return undefined;
  const details = error.keybrake as RefusalDetails;
  const seconds = details.retry_after_seconds ?? Number(headers['retry-after'] ?? Number.NaN);
  const message = typeof error.message === 'string' ? error.message : error.code;
  return { code: error.code, message, details, ...(Number.isFinite(seconds) && { retryAfterMs: seconds * 1_000 }) };
}

/** The type of a failure that ends a run's calls, or undefined. */
export function terminalCodeOf(error: unknown): RefusalCode | undefined {
  if (!(error instanceof ApplicationFailure)) return undefined;
  const code = error.type?.replace(/^keybrake\./, '');
  return isTerminalRefusal(code) ? code : undefined;
}

/** `vk_…` in place of any vault key. */
export function redact(text: string): string {
  return text.replaceAll(/\bvk_[\w-]+/g, 'vk_…');
}

/** The same error, with no vault key in its texts. */
function redacted<T>(error: T): T {
  if (!(error instanceof Error) || !/\bvk_\w/.test(`${error.message}${error.stack ?? ''}`)) return error;
  error.message = redact(error.message);
  if (error.stack !== undefined) error.stack = redact(error.stack);
  return error;
}

/** The control plane's errors: unreachable is retried, the rest is for people to mend. */
function apiFailure(error: KeybrakeApiError): ApplicationFailure {
  const issues = error.issues.map(({ path, message }) => `${path}: ${message}`);
  return ApplicationFailure.create({
    type: API_TYPES[error.code] ?? (error.retryable ? FAILURES.unreachable : `keybrake.${error.code}`),
    message: redact([error.message, ...issues].join('\n')),
    nonRetryable: !error.retryable,
    ...(error.issues.length > 0 && { details: [{ issues: error.issues }] }),
  });
}

const API_TYPES: Readonly<Record<string, string>> = {
  invalid_request: FAILURES.invalidInput,
  store_unavailable: 'keybrake.store_unavailable',
};
