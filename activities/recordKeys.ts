/** Names that are derived from a record's or a workflow's id alone: every retry, reset and later run derives the same. */
import { createHash } from 'node:crypto';

/** The longest idempotency key that every vendor takes. */
export const IDEMPOTENCY_KEY_CHARS_MAX = 255;
export const ACTIVITY_ID_CHARS_MAX = 200;

/** Printable ASCII that survives an HTTP header: no space at either end. */
const HEADER_SAFE = /^[!-~](?:[ -~]*[!-~])?$/;
const HASHED_ID = /^rec_[0-9a-f]{64}$/;

/**
 * The idempotency key of a record's call: `{jobId}:{recordId}`, percent-encoded so that the colon is unambiguous.
 * A second paid call for the same record needs a `suffix` of its own.
 */
export function idempotencyKey(jobId: string, recordId: string, suffix?: string): string {
  const parts = suffix === undefined ? [jobId, recordId] : [jobId, recordId, suffix];
  const key = parts.map(encodeURIComponent).join(':');
  return key.length <= IDEMPOTENCY_KEY_CHARS_MAX ? key : `kb1_${sha256(key)}`;
}

/**
 * The Temporal activity id of a record, and its `Keybrake-Record-Id` header: the id itself, or its hash when it is
 * long or not printable ASCII. An id that looks like such a hash is hashed too, so that no two ids meet.
 */
export function activityIdFor(recordId: string): string {
  const fits = recordId.length <= ACTIVITY_ID_CHARS_MAX && HEADER_SAFE.test(recordId) && !HASHED_ID.test(recordId);
  return fits ? recordId : `rec_${sha256(recordId)}`;
}

/** What the proxy takes for a job id. */
export const JOB_ID_CHARS_MAX = 200;
const UNPRINTABLE = /[\p{Cc}\p{Cs}\p{Zl}\p{Zp}]/u;

/** The job id that is made of a workflow's own ids: those, or their hash where they would not do for one. */
export function jobIdFor(ids: string): string {
  return ids.length <= JOB_ID_CHARS_MAX && !UNPRINTABLE.test(ids) ? ids : `job_${sha256(ids)}`;
}

/** Printable Latin-1, which a header carries as it is. */
const HEADER_TEXT = /^[!-~\u00a1-\u00ff](?:[ -~\u00a0-\u00ff]*[!-~\u00a1-\u00ff])?$/;

/** The idempotency key under which a run's vault key is issued: its identity, hashed where a header cannot hold it. */
export function issueKeyFor(identity: string): string {
  const fits = identity.length <= IDEMPOTENCY_KEY_CHARS_MAX && HEADER_TEXT.test(identity);
  return fits ? identity : `issue_${sha256(identity)}`;
}

export function sha256(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}
