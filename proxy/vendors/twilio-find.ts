/**
 * Finds a text at Twilio, which has no idempotency keys: the newest messages between the same numbers, of which one has
 * exactly this text and was made when the call was under way. By `date_created`: a message that waits to be sent has no
 * `date_sent` yet, so the list's own date filters would miss it. VENDORS 3.
 */
import { encodeForm } from '../form';
import { at } from '../json';
import { isService } from './twilio-sender';
import type { Candidate, Finder, FoundPage, Sought, VendorRequest } from './vendor';

const PAGE = 50;

/** How a call of `POST …/Messages.json` is found. */
export const messageFinder: Finder = {
  by: 'content',
  search({ path, request }) {
    const text = request && textOf(request);
    if (text === undefined) return undefined;
    const from = text.from === undefined ? [] : ([['From', text.from]] as const);
    return `${path}?${encodeForm([['To', text.to], ...from, ['PageSize', String(PAGE)]])}`;
  },
  read(answer, sought) {
    const messages = at(answer, ['messages']);
    const text = sought.request && textOf(sought.request);
    if (!Array.isArray(messages) || text === undefined) return undefined;
    const candidates = messages.filter((message: unknown) => fits(message, text, sought)).flatMap(asCandidate);
    return { candidates, ...nextOf(answer, messages.at(-1), sought) };
  },
  show: (object) => (typeof at(object, ['sid']) === 'string' ? { status: 201, answer: object } : undefined),
  likeness(request) {
    const text = textOf(request);
    return text && JSON.stringify([text.to, text.service ?? text.from, text.body]);
  },
};

interface Text {
  readonly to: string;
  readonly from: string | undefined;
  readonly service: string | undefined;
  readonly body: string;
}

/** Undefined: there is no text to know it by, or what is given twice could be read in two ways. */
function textOf({ body: fields }: VendorRequest): Text | undefined {
  const one = (name: string): string | undefined => {
    const values = fields.filter(([field]) => field === name);
    return values.length === 1 ? values[0]?.[1] : undefined;
  };
  const [to, sender, body] = [one('To'), one('From'), one('Body')];
  // A service may be given as the sender.
  const from = sender !== undefined && isService(sender) ? undefined : sender;
  const service = one('MessagingServiceSid') ?? (from === undefined ? sender : undefined);
  if (to === undefined || body === undefined || body === '' || (from ?? service) === undefined) return undefined;
  return { to, from, service, body };
}

function fits(message: unknown, { to, from, service, body }: Text, { fromMs, toMs }: Sought): boolean {
  const made = madeAt(message);
  // A text to a number of the same account is in the list twice: as it went out, and as it came in.
  if (at(message, ['direction']) !== 'outbound-api') return false;
  if (at(message, ['body']) !== body || at(message, ['to']) !== to) return false;
  if (from !== undefined && at(message, ['from']) !== from) return false;
  if ((at(message, ['messaging_service_sid']) ?? undefined) !== service) return false;
  // Whole seconds, cut off.
  return made !== undefined && made >= fromMs - 999 && made <= toMs;
}

function madeAt(message: unknown): number | undefined {
  const text = at(message, ['date_created']);
  const made = typeof text === 'string' ? Date.parse(text) : Number.NaN;
  return Number.isNaN(made) ? undefined : made;
}

function asCandidate(message: unknown): Candidate[] {
  const vendorId = at(message, ['sid']);
  return typeof vendorId === 'string' && /^(?:SM|MM)[A-Za-z0-9]{2,64}$/.test(vendorId)
    ? [{ vendorId, object: message }]
    : [];
}

/** The newest come first: past the first moment at which it can have been made, there is nothing to find. */
function nextOf(answer: unknown, last: unknown, { path, fromMs }: Sought): Pick<FoundPage, 'next'> {
  const next = at(answer, ['next_page_uri']);
  const made = madeAt(last);
  if (typeof next !== 'string' || !next.startsWith(`${path}?`) || made === undefined || made < fromMs - 999) return {};
  return { next };
}
