/** What Resend says of idempotency keys. */
import type { KeyRules } from '../idempotency';
import { ResendFailure, invalid } from './errors';

const KEY_CHARS_MAX = 256;
const DEPTH_MAX = 64;

/** One payload for a key and an endpoint, whatever the order of its fields; concurrent use is a 409 too. */
export const RESEND_KEY_RULES: KeyRules = {
  checkKey: (key) => {
    if (key.length >= 1 && key.length <= KEY_CHARS_MAX) return;
    const message = `The key must be between 1-${KEY_CHARS_MAX} chars.`;
    throw new ResendFailure(400, 'invalid_idempotency_key', message);
  },
  checkSame: (first, again) => {
    if (first.path === again.path && first.body === again.body) return;
    const message = 'Same idempotency key used with a different request payload.';
    throw new ResendFailure(409, 'invalid_idempotent_request', message);
  },
  inUse: () => {
    const message = 'Same idempotency key used while original request is still in progress.';
    return new ResendFailure(409, 'concurrent_idempotent_requests', message);
  },
};

/** The same text for the same payload, in whatever order its fields were sent. */
export function canonical(value: unknown, depth = 0): string {
  if (depth > DEPTH_MAX) throw invalid('The request body is nested too deeply.');
  if (Array.isArray(value)) return `[${value.map((item) => canonical(item, depth + 1)).join(',')}]`;
  if (typeof value !== 'object' || value === null) return JSON.stringify(value) ?? 'null';
  const fields = Object.entries(value).map(([name, item]) => `${JSON.stringify(name)}:${canonical(item, depth + 1)}`);
  return `{${fields.toSorted().join(',')}}`;
}
