/** The endpoints below `/emails`. */
import { randomUUID } from 'node:crypto';
import { ResendFailure, emailNotFound, invalid } from './errors';
import { type Wanted, fieldsOf, readEmail, readSchedule } from './payload';
import type { Call, Email, ResendState } from './state';

const BATCH_MAX = 100;
const PAGE_DEFAULT = 20;
const PAGE_MAX = 100;

/** `POST /emails` */
export function sendEmail(call: Call): object {
  return { id: accept(call, readEmail(call.json, call.state.now(), false)) };
}

/** `POST /emails/batch`: all or, told to be permissive, those that are valid. */
export function sendBatch(call: Call): object {
  const { json, permissive, state } = call;
  if (!Array.isArray(json)) throw invalid('The request body must be an array.');
  if (json.length === 0 || json.length > BATCH_MAX) {
    throw invalid(`The batch must have between 1 and ${BATCH_MAX} emails.`);
  }
  const errors: { index: number; message: string }[] = [];
  const wanted: Wanted[] = [];
  for (const [index, item] of json.entries()) {
    try {
      wanted.push(readEmail(item, state.now(), true));
    } catch (error) {
      if (!permissive || !(error instanceof ResendFailure)) throw error;
      errors.push({ index, message: error.message });
    }
  }
  const data = wanted.map((one) => ({ id: accept(call, one) }));
  return permissive ? { data, errors } : { data };
}

/** `GET /emails/{id}` */
export function fetchEmail({ state, id }: Call): object {
  return render(emailOf(state, id), state.now());
}

/** `GET /emails`, newest first. */
export function listEmails({ state, query }: Call): object {
  const limit = Number(query.get('limit') ?? PAGE_DEFAULT);
  if (!Number.isInteger(limit) || limit < 1 || limit > PAGE_MAX) {
    throw invalid(`The \`limit\` must be a number between 1 and ${PAGE_MAX}.`);
  }
  const [after, before] = [query.get('after'), query.get('before')];
  if (after !== null && before !== null) throw invalid('You can only use either `after` or `before`.');
  const all = [...state.emails.values()].toReversed();
  const anchor = after ?? before;
  const at = anchor === null ? -1 : all.indexOf(emailOf(state, anchor));
  const rest = before === null ? all.slice(at + 1) : all.slice(0, at);
  const page = before === null ? rest.slice(0, limit) : rest.slice(-limit);
  const nowMs = state.now();
  return { object: 'list', has_more: rest.length > limit, data: page.map((email) => brief(email, nowMs)) };
}

/** `PATCH /emails/{id}`: another time for what waits for its time. */
export function rescheduleEmail({ state, id, json }: Call): object {
  const email = waiting(state, id, 'updated');
  email.scheduledMs = readSchedule(fieldsOf(json), state.now());
  return { object: 'email', id };
}

/** `POST /emails/{id}/cancel` */
export function cancelEmail({ state, id }: Call): object {
  waiting(state, id, 'canceled').canceled = true;
  return { object: 'email', id };
}

/** What has become of an email. */
export function lastEvent(email: Email, nowMs: number): 'canceled' | 'scheduled' | 'bounced' | 'delivered' {
  if (email.canceled) return 'canceled';
  if (email.scheduledMs !== null && email.scheduledMs > nowMs) return 'scheduled';
  return email.bounces ? 'bounced' : 'delivered';
}

function accept({ state, requestId, idempotencyKey, decline }: Call, { content, scheduledMs }: Wanted): string {
  const id = randomUUID();
  const createdMs = state.now();
  const email = { id, content, createdMs, requestId, idempotencyKey, bounces: decline, scheduledMs, canceled: false };
  state.emails.set(id, email);
  return id;
}

function emailOf(state: ResendState, id: string): Email {
  const email = state.emails.get(id);
  if (email === undefined) throw emailNotFound();
  return email;
}

function waiting(state: ResendState, id: string, change: string): Email {
  const email = emailOf(state, id);
  if (lastEvent(email, state.now()) === 'scheduled') return email;
  throw invalid(`Only a scheduled email can be ${change}.`);
}

function brief(email: Email, nowMs: number): Readonly<Record<string, unknown>> {
  const { id, content, createdMs, scheduledMs } = email;
  return {
    id,
    to: content.to,
    from: content.from,
    created_at: timeText(createdMs),
    subject: content.subject,
    bcc: listOrNull(content.bcc),
    cc: listOrNull(content.cc),
    reply_to: listOrNull(content.replyTo),
    last_event: lastEvent(email, nowMs),
    scheduled_at: scheduledMs === null ? null : timeText(scheduledMs),
  };
}

function render(email: Email, nowMs: number): object {
  const { html, text, tags } = email.content;
  return { object: 'email', ...brief(email, nowMs), html, text, tags };
}

function listOrNull(list: readonly string[]): readonly string[] | null {
  return list.length === 0 ? null : list;
}

/** As in `2026-08-24 05:01:45.678+00`. */
function timeText(ms: number): string {
  return new Date(ms).toISOString().replace('T', ' ').replace('Z', '+00');
}
