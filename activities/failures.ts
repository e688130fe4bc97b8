/**
 * Errors as Temporal failures of type `keybrake.<code>`. A failure's message, type and stack stay readable in the
 * history even with a payload codec, so no vault key may be in them.
 */
import { ApplicationFailure, TemporalFailure } from '@temporalio/common';
import { KeybrakeApiError } from '../proxy/client';
import {
  HEADERS,
  isRefusalCode,
  isTerminalRefusal,
  REFUSALS,
  type RefusalCode,
  type RefusalDetails,
} from '../proxy/contract';
import { FAILURES } from './codes';

/** A refusal as an answer of the data plane told it. */
export interface Refused {
  readonly code: RefusalCode;
  readonly message: string;
  readonly details: RefusalDetails;
  /** False: the vendor's error shape has no place for details, so that none says nothing. */
  readonly detailed: boolean;
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

/** The refusal that a vendor SDK's error carries: Stripe's keeps the error object in `raw`, Twilio's its `details`. */
export function refusalOf(error: unknown): Refused | undefined {
  if (!isObject(error)) return undefined;
  const headers = isObject(error['headers']) ? error['headers'] : {};
  return refusalIn({ error: error['raw'], message: error['message'], details: error['details'] }, headers);
}

/**
 * The refusal in an answer of the data plane, DESIGN 4: its code is in a header, its details in the body, where the
 * vendor's error shape has a place for them.
 */
export function refusalIn(body: unknown, headers: Readonly<Record<string, unknown>>): Refused | undefined {
  const told = saidIn(body);
  const code = headers[HEADERS.code] ?? told?.code;
  if (!isRefusalCode(code)) return undefined;
  const details = (told?.details ?? {}) as RefusalDetails;
  const seconds = details.retry_after_seconds;
  const retryAfterMs = seconds === undefined ? retryAfterMsIn(headers) : seconds * 1_000;
  const message = told?.message ?? textIn(body, code) ?? `${code}: ${REFUSALS[code].meaning}`;
  const retryAfter = retryAfterMs !== undefined && { retryAfterMs };
  return { code, message, details, detailed: told !== undefined, ...retryAfter };
}

interface Said {
  readonly code: unknown;
  readonly message: string | undefined;
  readonly details: object;
}

/** The vendor has codes of its own: only ours come with their details. */
function saidIn(body: unknown): Said | undefined {
  if (!isObject(body)) return undefined;
  const { error, details } = body;
  if (isObject(error) && isObject(error['keybrake'])) return said(error['code'], error['message'], error['keybrake']);
  if (isObject(details) && 'keybrake_code' in details) {
    const { keybrake_code: code, ...rest } = details;
    return said(code, body['message'], rest);
  }
  return isObject(body['keybrake']) ? said(body['name'], body['message'], body['keybrake']) : undefined;
}

function said(code: unknown, message: unknown, details: object): Said {
  return { code, message: typeof message === 'string' ? message : undefined, details };
}

/** The message of a refusal begins with its code, wherever a vendor of the operator's own has it. */
function textIn(value: unknown, code: string): string | undefined {
  if (typeof value === 'string') return value.startsWith(`${code}: `) ? value : undefined;
  if (!isObject(value)) return undefined;
  for (const inner of Object.values(value)) {
    const text = textIn(inner, code);
    if (text !== undefined) return text;
  }
  return undefined;
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null;
}

/** A vendor that says more is asked again after this: a timer of Node's with more than 2^31 ms ends at once. */
const RETRY_AFTER_MAX_MS = 3_600_000;

/** `Retry-After` in seconds, as the proxy and vendors give it; undefined where there is none. */
export function retryAfterMsIn(headers: Readonly<Record<string, unknown>>): number | undefined {
  const seconds = Number(headers['retry-after'] ?? Number.NaN);
  return seconds >= 0 ? Math.min(seconds * 1_000, RETRY_AFTER_MAX_MS) : undefined;
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
