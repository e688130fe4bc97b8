/**
 * Finds a Stripe call by its idempotency key: an event names the request that caused it (docs.stripe.com/api/events,
 * `request.idempotency_key`; kept for 30 days; a restricted key needs the right to read events). The object is then
 * read as it is now. VENDORS 2.4.
 */
import { encodeForm } from '../form';
import { at } from '../json';
import { idOf, type Json, minorOf, objectOf } from './stripe-value';
import type { Candidate, Finder, FoundPage, Shown, Sought } from './vendor';

/** Routes by how their paths begin; their object's `object`, which its events begin with too; and where it is read. */
// prettier-ignore
const KINDS = [
  { routes: /^\/v1\/payment_intents/,               object: 'payment_intent',             list: '/v1/payment_intents' },
  { routes: /^\/v1\/(?:terminal\/)?refunds/,        object: 'refund',                     list: '/v1/refunds' },
  { routes: /^\/v1\/charges\/:id\/refunds/,         object: 'refund',                     list: '/v1/refunds' },
  { routes: /^\/v1\/charges/,                       object: 'charge',                     list: '/v1/charges' },
  { routes: /^\/v1\/transfers$/,                    object: 'transfer',                   list: '/v1/transfers' },
  { routes: /^\/v1\/payouts/,                       object: 'payout',                     list: '/v1/payouts' },
  { routes: /^\/v1\/topups/,                        object: 'topup',                      list: '/v1/topups' },
  { routes: /^\/v1\/invoices/,                      object: 'invoice',                    list: '/v1/invoices' },
  { routes: /^\/v1\/credit_notes/,                  object: 'credit_note',                list: '/v1/credit_notes' },
  { routes: /^\/v1\/treasury\/outbound_payments/,   object: 'treasury.outbound_payment',  list: '/v1/treasury/outbound_payments' },
  { routes: /^\/v1\/treasury\/outbound_transfers/,  object: 'treasury.outbound_transfer', list: '/v1/treasury/outbound_transfers' },
  { routes: /^\/v1\/treasury\/inbound_transfers/,   object: 'treasury.inbound_transfer',  list: '/v1/treasury/inbound_transfers' },
] as const;

type Kind = (typeof KINDS)[number];

/** How the calls of a priced route are found; undefined where no event tells of them. */
export function stripeFinder(routePath: string): Finder | undefined {
  const kind = KINDS.find(({ routes }) => routes.test(routePath));
  if (kind === undefined) return undefined;
  const shows = CHANGED[routePath];
  return {
    by: 'key',
    search: (sought) => (sought.key === null ? undefined : eventsPath(kind, sought)),
    read: (answer, sought) => readEvents(answer, kind, sought, routePath.startsWith(`${kind.list}/:id`)),
    show: (object, sought) => shown(object, kind, sought),
    ...(shows !== undefined && {
      changed: { path: ({ ids }: Sought) => objectPath(kind, ids['id']), shows: readable(shows) },
    }),
  };
}

const PAGE = 100;

function eventsPath({ object }: Kind, { fromMs, toMs }: Sought, after?: string): string {
  const query: [string, string][] = [
    ['type', `${object}.*`],
    ['created[gte]', String(Math.floor(fromMs / 1_000))],
    ['created[lte]', String(Math.ceil(toMs / 1_000))],
    ['limit', String(PAGE)],
  ];
  if (after !== undefined) query.push(['starting_after', after]);
  return `/v1/events?${encodeForm(query)}`;
}

/** `ofPath`: the call changes the object that its path names, and no other. */
function readEvents(answer: unknown, kind: Kind, sought: Sought, ofPath: boolean): FoundPage | undefined {
  const data = at(answer, ['data']);
  if (!Array.isArray(data)) return undefined;
  const candidates = data.flatMap((event: unknown): Candidate[] => {
    if (at(event, ['request', 'idempotency_key']) !== sought.key) return [];
    const object = objectOf(at(event, ['data', 'object']));
    const vendorId = object?.['object'] === kind.object ? idOf(object, '') : undefined;
    const path = objectPath(kind, vendorId);
    if (vendorId === undefined || path === undefined) return [];
    return ofPath && vendorId !== sought.ids['id'] ? [] : [{ vendorId, path }];
  });
  const last = idOf(objectOf(data.at(-1)), 'evt_');
  if (candidates.length > 0 || at(answer, ['has_more']) !== true || last === undefined) {
    return { candidates: candidates.slice(0, 1) };
  }
  return { candidates, next: eventsPath(kind, sought, last) };
}

function objectPath({ list }: Kind, id: string | undefined): string | undefined {
  return id === undefined ? undefined : `${list}/${id}`;
}

/** What Stripe answered: the object, or where its payment failed the 402 that told so. */
function shown(answer: unknown, { object: name }: Kind, sought: Sought): Shown | undefined {
  const object = objectOf(answer);
  if (object?.['object'] !== name) return undefined;
  const error = declineOf(object, sought);
  return error === undefined ? { status: 200, answer } : { status: 402, answer: { error } };
}

/** The `error` of a 402, put together again from what the object still says about its last attempt. */
function declineOf(object: Json, { path }: Sought): Json | undefined {
  if (object['object'] === 'charge' && object['status'] === 'failed') {
    const { failure_code: code, failure_message: message, id: charge } = object;
    return { type: 'card_error', code, message, charge };
  }
  const confirms = path === '/v1/payment_intents' || path.endsWith('/confirm');
  const last = objectOf(object['last_payment_error']);
  if (!confirms || object['status'] !== 'requires_payment_method' || last === undefined) return undefined;
  return { ...last, payment_intent: object };
}

type Shows = (object: Json, sought: Sought) => boolean;

const hasStatus =
  (...statuses: readonly string[]): Shows =>
  ({ status }) =>
    statuses.some((one) => one === status);
/** The amount of the request is the object's. */
const hasAmount: Shows = ({ amount }, { request }) => {
  const asked = request?.body.find(([name]) => name === 'amount')?.[1];
  return asked !== undefined && minorOf(amount) === Number(asked);
};

/** Changes that the object shows for itself, whoever made them: no event need tell of them. */
// prettier-ignore
const CHANGED: Readonly<Record<string, Shows>> = {
  '/v1/payment_intents/:id':                         hasAmount,
  '/v1/payment_intents/:id/increment_authorization': hasAmount,
  '/v1/payment_intents/:id/capture':                 ({ amount_received: got }) => (minorOf(got) ?? 0) > 0,
  '/v1/payment_intents/:id/confirm':                 hasStatus('succeeded', 'requires_capture', 'processing'),
  '/v1/payment_intents/:id/cancel':                  hasStatus('canceled'),
  '/v1/charges/:id/capture':                         ({ captured }) => captured === true,
  '/v1/refunds/:id/cancel':                          hasStatus('canceled'),
  '/v1/payouts/:id/cancel':                          hasStatus('canceled'),
  '/v1/topups/:id/cancel':                           hasStatus('canceled'),
  '/v1/invoices/:id/pay':                            hasStatus('paid'),
  '/v1/invoices/:id/finalize':                       hasStatus('open', 'paid'),
  '/v1/invoices/:id/void':                           hasStatus('void'),
  '/v1/credit_notes/:id/void':                       hasStatus('void'),
};

function readable(shows: Shows): (answer: unknown, sought: Sought) => boolean {
  return (answer, sought) => {
    const object = objectOf(answer);
    return object !== undefined && shows(object, sought);
  };
}
