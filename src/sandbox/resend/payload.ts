/** Reads what a caller wants to have sent, with Resend's own complaints. */
import { invalid, missing } from './errors';

/** An email as it was asked for. */
export interface Content {
  readonly from: string;
  readonly to: readonly string[];
  readonly cc: readonly string[];
  readonly bcc: readonly string[];
  readonly replyTo: readonly string[];
  readonly subject: string;
  readonly html: string | null;
  readonly text: string | null;
  readonly tags: readonly unknown[];
}

/** What a caller wants to have sent, and when. */
export interface Wanted {
  readonly content: Content;
  readonly scheduledMs: number | null;
}

const TO_MAX = 50;
const SCHEDULE_MAX_MS = 30 * 86_400_000;
const ADDRESS = /^[^\s@<>,;]+@[^\s@<>,;]+\.[^\s@<>,;]+$/;
const NAMED = /^[^<>]*<([^<>]+)>$/;
const UNIT_MS: Readonly<Record<string, number>> = { min: 60_000, hour: 3_600_000, day: 86_400_000 };

/** Reads one email; one of a batch can neither be scheduled nor carry attachments. */
export function readEmail(json: unknown, nowMs: number, inBatch: boolean): Wanted {
  const fields = fieldsOf(json);
  const template = fields['template'] !== undefined;
  for (const name of template ? ['to'] : ['from', 'to', 'subject']) {
    if (fields[name] === undefined || fields[name] === null) throw missing(name);
  }
  if (!template && fields['html'] === undefined && fields['text'] === undefined) throw missing('html` or `text');
  if (inBatch && fields['attachments'] !== undefined) throw invalid('Attachments are not supported in batch requests.');
  if (inBatch && fields['scheduled_at'] !== undefined) throw invalid('Scheduling is not supported in batch requests.');
  const to = addressesOf(fields, 'to');
  if (to.length === 0) throw missing('to');
  if (to.length > TO_MAX) throw invalid(`Too many recipients in \`to\`: the maximum is ${TO_MAX}.`);
  return {
    content: {
      from: template && fields['from'] === undefined ? 'template@resend.dev' : fromOf(fields),
      to,
      cc: addressesOf(fields, 'cc'),
      bcc: addressesOf(fields, 'bcc'),
      replyTo: addressesOf(fields, 'reply_to'),
      subject: textOf(fields, 'subject') ?? '',
      html: textOf(fields, 'html'),
      text: textOf(fields, 'text'),
      tags: Array.isArray(fields['tags']) ? fields['tags'] : [],
    },
    scheduledMs: fields['scheduled_at'] === undefined ? null : readSchedule(fields, nowMs),
  };
}

/** When to send: ISO 8601, or `in 5 min`, at most 30 days from now. */
export function readSchedule(fields: Readonly<Record<string, unknown>>, nowMs: number): number {
  const text = textOf(fields, 'scheduled_at') ?? '';
  const [, count, unit = ''] = /^in (\d{1,4}) (min|hour|day)(?:ute)?s?$/.exec(text) ?? [];
  const atMs = count === undefined ? Date.parse(text) : nowMs + Number(count) * (UNIT_MS[unit] ?? 0);
  if (Number.isNaN(atMs)) throw invalid('Invalid `scheduled_at` field.');
  if (atMs > nowMs + SCHEDULE_MAX_MS) throw invalid('`scheduled_at` must be within 30 days.');
  return Math.max(atMs, nowMs);
}

/** The fields of a JSON object. */
export function fieldsOf(json: unknown): Readonly<Record<string, unknown>> {
  if (typeof json === 'object' && json !== null && !Array.isArray(json)) return json as Record<string, unknown>;
  throw invalid('The request body must be a JSON object.');
}

function fromOf(fields: Readonly<Record<string, unknown>>): string {
  const from = textOf(fields, 'from') ?? '';
  if (isAddress(from)) return from;
  throw invalid(formOf('from'), 'invalid_from_address');
}

function addressesOf(fields: Readonly<Record<string, unknown>>, name: string): readonly string[] {
  const value = fields[name];
  if (value === undefined || value === null) return [];
  const list: readonly unknown[] = Array.isArray(value) ? value : [value];
  const addresses = list.filter((item) => typeof item === 'string' && isAddress(item)) as string[];
  if (addresses.length !== list.length) throw invalid(formOf(name));
  return addresses;
}

function isAddress(text: string): boolean {
  const [, address = text] = NAMED.exec(text) ?? [];
  return ADDRESS.test(address.trim());
}

function formOf(name: string): string {
  return (
    `Invalid \`${name}\` field. The email address needs to follow the \`email@example.com\` or ` +
    '`Name <email@example.com>` format.'
  );
}

function textOf(fields: Readonly<Record<string, unknown>>, name: string): string | null {
  const value = fields[name];
  if (value === undefined || value === null) return null;
  if (typeof value !== 'string') throw invalid(`The \`${name}\` field must be a \`string\`.`);
  return value;
}
