/** `GET Messages.json`: filters and pages. */
import { badRequest } from './errors';
import { newestFirst, renderMessage } from './messages';
import { type Call, type Message, param } from './state';

const PAGE_DEFAULT = 50;
const PAGE_MAX = 1000;

interface Span {
  readonly fromMs: number;
  readonly toMs: number;
}

/** A page, newest first. A page token names the last message before the page, so that new ones do not shift it. */
export function listMessages({ state, form, accountSid }: Call): object {
  const pageSize = Math.min(whole(form, 'PageSize', PAGE_DEFAULT, 1), PAGE_MAX);
  const page = whole(form, 'Page', 0, 0);
  const all = newestFirst(state).filter(filterOf(form));
  const token = param(form, 'PageToken');
  const start = token === undefined ? page * pageSize : all.findIndex(({ sid }) => `PA${sid}` === token) + 1;
  const found = all.slice(start, start + pageSize);
  const last = start + found.length < all.length ? found.at(-1) : undefined;

  const base = `/2010-04-01/Accounts/${accountSid}/Messages.json`;
  const uriOf = (number: number, more: Record<string, string> = {}) => {
    const query = new URLSearchParams(form);
    query.delete('PageToken');
    query.set('PageSize', String(pageSize));
    query.set('Page', String(number));
    for (const [name, value] of Object.entries(more)) query.set(name, value);
    return `${base}?${query.toString()}`;
  };
  return {
    messages: found.map(renderMessage),
    end: start + Math.max(found.length - 1, 0),
    first_page_uri: uriOf(0),
    next_page_uri: last === undefined ? null : uriOf(page + 1, { PageToken: `PA${last.sid}` }),
    page,
    page_size: pageSize,
    previous_page_uri: page === 0 ? null : uriOf(page - 1),
    start,
    uri: uriOf(page, token === undefined ? {} : { PageToken: token }),
  };
}

/** A filter by the date of sending finds nothing that waits to be sent. */
function filterOf(form: URLSearchParams): (message: Message) => boolean {
  const to = param(form, 'To');
  const from = param(form, 'From');
  const on = spanOf(form, 'DateSent');
  const before = spanOf(form, 'DateSent<');
  const after = spanOf(form, 'DateSent>');
  return (message) => {
    if (to !== undefined && message.to !== to) return false;
    if (from !== undefined && message.from !== from) return false;
    if (on === undefined && before === undefined && after === undefined) return true;
    const { sentMs } = message;
    if (sentMs === null) return false;
    if (on !== undefined && (sentMs < on.fromMs || sentMs > on.toMs)) return false;
    return (before === undefined || sentMs <= before.toMs) && (after === undefined || sentMs >= after.fromMs);
  };
}

/** A day, or a second of it. */
function spanOf(form: URLSearchParams, name: string): Span | undefined {
  const text = param(form, name);
  if (text === undefined) return undefined;
  const fromMs = Date.parse(text);
  if (Number.isNaN(fromMs)) throw badRequest(20001, `Invalid ${name}: ${text}`);
  return { fromMs, toMs: fromMs + (text.length === 'YYYY-MM-DD'.length ? 86_400_000 : 1000) - 1 };
}

function whole(form: URLSearchParams, name: string, otherwise: number, least: number): number {
  const text = param(form, name);
  if (text === undefined) return otherwise;
  if (!/^\d{1,9}$/.test(text) || Number(text) < least) throw badRequest(20001, `Invalid ${name}: ${text}`);
  return Number(text);
}
