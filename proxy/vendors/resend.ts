/** Resend as a table: e-mails, one and in batches. Facts: VENDORS.md sections 4 and 8, resend-openapi 1.5. */
import { type Micros, type RefusalCode, type RefusalDetails, REFUSALS } from '../contract';
import { at } from '../json';
import { FREE, free, pricing, unpriceable } from './pricing';
import { batchPrice, batchRecipients, EMAIL_MICROS, emailPrice } from './resend-price';
import { CLEAR_REFUSALS, noMoney, type Route, type Valuation, type Vendor } from './vendor';

export interface ResendPrices {
  /** Per recipient. */
  readonly email: Micros;
}

/**
 * Its SDKs send no idempotency key, and nobody means to send one person the same e-mail twice in one job: without a key,
 * the same again is a retry. For longer than the 24 hours for which Resend knows a key, so that it has forgotten the one
 * of the first e-mail when a later one is sent.
 */
const SAME_IS_RETRY_MS = 25 * 3_600_000;

/** Resend with the operator's price. Sends with an idempotency key are executed once (24 h). */
export function resendWith({ email = EMAIL_MICROS }: Partial<ResendPrices> = {}): Vendor {
  return {
    id: 'resend',
    origin: 'https://api.resend.com',
    authorization: ({ secret }) => ({ authorization: `Bearer ${secret}` }),
    idempotencyHeader: 'idempotency-key',
    sameIsRetryMs: SAME_IS_RETRY_MS,
    routes: routesWith(email),
    // Answers with a key or signing secret, or rules the account (VENDORS 8).
    forbidden: [{ method: '*', pattern: /^\/(?:api-keys|webhooks|domains|oauth|oauth-grants)(?:\/|$)/i }],
    passHeaders: ['idempotency-key', 'user-agent', 'x-batch-validation'],
    redirection: () => undefined,
    lookupPath: (objectId) => `/emails/${objectId}`,
    lookupValue: emailNews,
    statement: { none: 'Resend tells no price, and a sending key cannot read e-mails' },
    currencyOf: () => undefined,
    toMicros: () => undefined,
    // 409 says that the key was used for another e-mail, which is then not sent: see isResendError.
    clearRefusals: [...CLEAR_REFUSALS, 405, 409, 422],
    isVendorError: isResendError,
    errorCode: (answer) => (hasName(answer) ? answer.name : null),
    // `daily_quota_exceeded` and `monthly_quota_exceeded` are a 429 too.
    isRateLimit: (answer) => hasName(answer) && answer.name === 'rate_limit_exceeded',
    // Its limit is of the team, whatever its keys.
    maxRps: () => 5,
    refusalBody,
    refusalStatus,
  };
}

// prettier-ignore
function routesWith(unit: Micros): readonly Route[] {
  return [
    route('POST',  '/emails',            emailPrice(unit), sentValue),
    route('POST',  '/emails/batch',      batchPrice(unit), batchValue(unit)),
    route('POST',  '/emails/:id/cancel', ofPath,           canceledValue),
    route('PATCH', '/emails/:id',        reschedule,       () => noMoney(null)),
    route('GET',   '/emails',            free,             () => noMoney(null)),
    route('GET',   '/emails/:id',        ofPath,           (_status, answer) => emailNews(answer)),
  ];
}

function route(method: Route['method'], path: string, price: Route['price'], value: Route['value']): Route {
  return { name: `${method} ${path}`, method, path, body: 'json', idempotent: true, price, value };
}

const ofPath: Route['price'] = (_request, ids) => ({ ok: true, price: { kind: 'free', objectId: ids['id'] ?? '' } });

/** PATCH /emails/:id moves the time of a scheduled e-mail. */
const reschedule = pricing(({ json }) => {
  const odd = Object.keys(json ?? {}).find((name) => name !== 'scheduled_at');
  if (odd !== undefined) throw unpriceable(odd.slice(0, 60), 'Here only "scheduled_at" may be given.');
  return { price: FREE };
});

const ID = /^[A-Za-z0-9_-]{1,64}$/;

function idIn(answer: unknown): string | undefined {
  const id = at(answer, ['id']);
  return typeof id === 'string' && ID.test(id) ? id : undefined;
}

const sentValue: Route['value'] = (status, answer, _terms, { quoteMicros }) => {
  const id = idIn(answer);
  return status === 402 || id === undefined ? undefined : emailWorth(id, quoteMicros);
};

const canceledValue: Route['value'] = (_status, answer) => {
  const id = idIn(answer);
  return id === undefined ? undefined : emailWorth(id, 0);
};

/** A look-up tells of money only when the e-mail was canceled before it left. */
function emailNews(answer: unknown): Valuation | undefined {
  const id = idIn(answer);
  return id !== undefined && at(answer, ['last_event']) === 'canceled' ? emailWorth(id, 0) : undefined;
}

function emailWorth(id: string, micros: Micros): Valuation {
  return { ...noMoney(id), objectId: id, valueMicros: micros, amountMicros: micros };
}

/**
 * `{"data":[{"id"}…],"errors":[{"index","message"}…]}`. In permissive mode the items in `errors` were not sent; they
 * are believed only when every item is in one list or the other.
 */
function batchValue(unit: Micros): Route['value'] {
  return (status, answer, _terms, { request, quoteMicros }) => {
    const data = at(answer, ['data']);
    if (status === 402 || !Array.isArray(data)) return undefined;
    const counts = batchRecipients(request.json);
    const failed = new Set(failedIn(answer, counts.length));
    const permissive = request.headers['x-batch-validation'] === 'permissive';
    const all = data.length + failed.size === counts.length;
    const back = permissive && all ? counts.filter((_, index) => failed.has(index)) : [];
    const micros = quoteMicros - back.reduce((sum, count) => sum + count * unit, 0);
    return { ...noMoney(idIn(data[0]) ?? null), valueMicros: micros, amountMicros: micros };
  };
}

function failedIn(answer: unknown, count: number): readonly number[] {
  const errors = at(answer, ['errors']);
  const indexes = Array.isArray(errors) ? errors.map((error: unknown) => at(error, ['index'])) : [];
  return indexes.filter(
    (index): index is number => Number.isInteger(index) && Number(index) >= 0 && Number(index) < count,
  );
}

interface Named {
  readonly name: string;
}

function hasName(answer: unknown): answer is Named {
  return typeof at(answer, ['name']) === 'string' && typeof at(answer, ['message']) === 'string';
}

/** A request with the same key that is under way may yet be executed: that answer is no evidence. */
function isResendError(answer: unknown): boolean {
  return hasName(answer) && answer.name !== 'concurrent_idempotent_requests';
}

/** Resend's SDKs hand the body out as the error, or pick a class by its name. */
function refusalBody(code: RefusalCode, message: string, details: RefusalDetails): object {
  const text = message.startsWith(code) ? message : `${code}: ${message}`;
  return { statusCode: refusalStatus(code), name: code, message: text, keybrake: details };
}

function refusalStatus(code: RefusalCode): number {
  return code === 'idempotency_mismatch' ? 409 : REFUSALS[code].status;
}
