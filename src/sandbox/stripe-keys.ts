/** What Stripe says of idempotency keys. */
import { StripeFailure } from './errors';
import { type FormHash, decodeForm } from './form';
import type { KeyRules, KeyedRequest } from './idempotency';

const KEY_CHARS_MAX = 255;
const KEYS_FOR = 'Keys for idempotent requests can only be used';

/** Same endpoint and same parameters, in whatever order; concurrent use is a 409. */
export const STRIPE_KEY_RULES: KeyRules = { checkKey, checkSame, inUse };

function checkKey(key: string): void {
  if (key.length >= 1 && key.length <= KEY_CHARS_MAX) return;
  const message = `Idempotency keys must be 1 to ${KEY_CHARS_MAX} characters long; you provided ${key.length}.`;
  throw new StripeFailure(400, { message, type: 'invalid_request_error' });
}

function checkSame(first: KeyedRequest, again: KeyedRequest): void {
  const other = `Try using a key other than '${again.key}' if you meant to execute a different request.`;
  if (first.path !== again.path) {
    const paths = `('${again.path}' vs '${first.path}')`;
    const message = `${KEYS_FOR} for the same endpoint they were first used for ${paths}. ${other}`;
    throw new StripeFailure(400, { message, type: 'idempotency_error' });
  }
  if (first.body !== again.body && canonical(decodeForm(first.body)) !== canonical(decodeForm(again.body))) {
    const message = `${KEYS_FOR} with the same parameters they were first used with. ${other}`;
    throw new StripeFailure(400, { message, type: 'idempotency_error' });
  }
}

function inUse(key: string): StripeFailure {
  const message =
    'There is currently another in-progress request using this Idempotent Key (that probably means you submitted ' +
    `twice, and the other request is still going through): ${key}. Please try again later.`;
  return new StripeFailure(409, { code: 'idempotency_key_in_use', message, type: 'idempotency_error' });
}

/** The same text for the same parameters, in whatever order they were sent. */
function canonical(form: FormHash): string {
  const pairs = Object.entries(form).map(([name, value]) => {
    const text = typeof value === 'string' ? JSON.stringify(value) : canonical(value);
    return `${JSON.stringify(name)}:${text}`;
  });
  return `{${pairs.toSorted().join(',')}}`;
}
