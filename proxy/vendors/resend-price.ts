/** What e-mails through Resend cost at most: each To, Cc and Bcc address counts as one (VENDORS 4). */
import type { Micros } from '../contract';
import { isJsonObject, type Json, type JsonObject } from '../json';
import { pricing, refused, unpriceable } from './pricing';
import type { Route } from './vendor';

/** Resend's overage rate of $0.90 per thousand: an upper bound of every plan. */
export const EMAIL_MICROS = 900;

/** Every field of resend-openapi 1.5 `SendEmailRequest`, and what its SDKs add. */
const EMAIL_FIELDS = new Set([
  'from',
  'to',
  'cc',
  'bcc',
  'subject',
  'html',
  'text',
  'reply_to',
  'scheduled_at',
  'headers',
  'attachments',
  'tags',
  'template',
  'topic_id',
]);

/** POST /emails. */
export function emailPrice(unit: Micros): Route['price'] {
  return pricing(({ json }) => ({ price: { kind: 'fixed', micros: recipientsOf(json) * unit, out: false } }));
}

/** POST /emails/batch. */
export function batchPrice(unit: Micros): Route['price'] {
  return pricing(({ json }) => {
    const counts = batchRecipients(json);
    return { price: { kind: 'fixed', micros: counts.reduce((sum, one) => sum + one, 0) * unit, out: false } };
  });
}

/** Recipients of each item of a batch. Throws a refusal for what is no list of e-mails. */
export function batchRecipients(json: Json | undefined): readonly number[] {
  if (!Array.isArray(json) || json.length === 0) throw unpriceable('body', 'A batch is a list of e-mails.');
  return (json as readonly Json[]).map(recipientsOf);
}

function recipientsOf(email: Json | undefined): number {
  if (!isJsonObject(email)) throw unpriceable('body', 'An e-mail is a JSON object.');
  const odd = Object.keys(email).find((name) => !EMAIL_FIELDS.has(name));
  if (odd !== undefined) {
    const name = odd.slice(0, 60);
    throw unpriceable(name, `Field "${name}" is not known here, and may change what the call costs.`);
  }
  checkHeaders(email['headers']);
  for (const field of HEADER_FIELDS) checkLine(field, email[field]);
  const to = addresses(email, 'to');
  if (to === 0) throw unpriceable('to', 'Field "to" is missing.');
  return to + addresses(email, 'cc') + addresses(email, 'bcc');
}

/** What becomes a line of the e-mail's head: behind a line break there could be recipients that are not counted. */
const HEADER_FIELDS = ['from', 'to', 'cc', 'bcc', 'reply_to', 'subject', 'headers'];

function checkLine(field: string, value: Json | undefined): void {
  if (typeof value === 'object' && value !== null) {
    for (const inner of Object.values(value)) checkLine(field, inner);
  } else if (typeof value === 'string' && /[\r\n\0]/.test(value)) {
    throw unpriceable(field, `Field "${field}" has a line break.`);
  }
}

/**
 * One address a text: of `"a@x.test, b@x.test"` it is not known how many are billed. Unicode has further at signs, which
 * some readers take for one.
 */
function addresses(email: JsonObject, field: string): number {
  const value = email[field] ?? null;
  if (value === null) return 0;
  const list: readonly Json[] = Array.isArray(value) ? value : [value];
  for (const address of list) {
    if (typeof address === 'string' && address.normalize('NFKC').split('@').length === 2) continue;
    throw unpriceable(field, `Field "${field}" must be an address, or a list with one address each.`);
  }
  return list.length;
}

/** RFC 5322, 3.6.8. With a colon or a space in it, a program on the way may read another name. */
const HEADER_NAME = /^[!-9;-~]+$/;

/** Custom headers that mail servers take for recipients. */
function checkHeaders(headers: Json | undefined): void {
  if ((headers ?? null) === null) return;
  if (!isJsonObject(headers)) throw unpriceable('headers', 'Field "headers" must be an object.');
  const found = Object.keys(headers).find((name) => /^(?:resent-)?(?:to|cc|bcc)$/i.test(name.trim()));
  if (found !== undefined) {
    throw refused('parameter_not_allowed', 'headers', `Header "${found}" would add recipients: use to, cc and bcc.`);
  }
  const odd = Object.keys(headers).find((name) => !HEADER_NAME.test(name));
  if (odd !== undefined) throw unpriceable('headers', `"${odd.slice(0, 100)}" is not the name of a header.`);
}
