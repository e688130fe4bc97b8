/** Twilio as a table: messages, calls, Verify and Lookup. Facts: VENDORS.md sections 3 and 8, twilio-oai 2026-04-14. */
import { type RefusalCode, type RefusalDetails, REFUSALS } from '../contract';
import { valueIfAny } from '../form';
import { free, pricing, refused } from './pricing';
import { twilioCallbacks, withCallback } from './twilio-callback';
import {
  callPrice,
  lookupPrice,
  messagePrice,
  TWILIO_REPEATS,
  verificationCheckPrice,
  verificationPrice,
} from './twilio-price';
import { messageFinder } from './twilio-find';
import { twilioPrices, type TwilioPrices } from './twilio-prices';
import { twilioStatement } from './twilio-statement';
import { currencyOfPrice, madeValue, newsValue, quotedValue, valueOfCall, valueOfMessage } from './twilio-value';
import { CLEAR_REFUSALS, noMoney, type Redirection, type Route, type Vendor, type VendorRequest } from './vendor';

/**
 * Twilio with the operator's prices, and where it posts what becomes of a message or call. No call of Twilio's takes an
 * idempotency key: none is ever sent twice.
 */
export function twilioWith(own?: Partial<TwilioPrices>, callbackUrl?: string): Vendor {
  return {
    id: 'twilio',
    origin: 'https://api.twilio.com',
    hosts: { verify: 'https://verify.twilio.com', lookups: 'https://lookups.twilio.com' },
    authorization: ({ secret, user, accountId }) => {
      const pair = Buffer.from(`${user ?? accountId ?? ''}:${secret}`).toString('base64');
      return { authorization: `Basic ${pair}` };
    },
    idempotencyHeader: null,
    routes: routesWith(twilioPrices(own), callbackUrl),
    forbidden: FORBIDDEN.map((pattern) => ({ method: '*', pattern })),
    passHeaders: ['accept', 'user-agent', 'x-twilio-client'],
    repeats: TWILIO_REPEATS,
    redirection,
    lookupPath: (objectId, accountId) => {
      const list = objectId.startsWith('CA') ? 'Calls' : 'Messages';
      return `/2010-04-01/Accounts/${accountId ?? ''}/${list}/${objectId}.json`;
    },
    lookupValue: (answer, terms) => valueOfMessage(answer, terms) ?? valueOfCall(answer, terms),
    statement: twilioStatement,
    callbacks: twilioCallbacks,
    currencyOf: currencyOfPrice,
    toMicros: () => undefined,
    clearRefusals: CLEAR_REFUSALS,
    isVendorError: isTwilioError,
    errorCode: (answer) => (isTwilioError(answer) ? String(answer.code) : null),
    // Other codes of a 429 are limits of a day, or of one number.
    isRateLimit: (answer) => isTwilioError(answer) && answer.code === 20_429,
    refusalBody,
    refusalStatus,
  };
}

// prettier-ignore
function routesWith(prices: TwilioPrices, callbackUrl?: string): readonly Route[] {
  const told = (price: Route['price']) => withCallback(price, callbackUrl);
  return [
    { ...route('POST', '/2010-04-01/Accounts/:AccountSid/Messages.json', told(messagePrice(prices)), madeValue(valueOfMessage)), find: messageFinder },
    route('POST', '/2010-04-01/Accounts/:AccountSid/Messages/:Sid.json', messageUpdate,        newsValue(valueOfMessage)),
    route('GET',  '/2010-04-01/Accounts/:AccountSid/Messages.json',      free,                 nothingSaid),
    route('GET',  '/2010-04-01/Accounts/:AccountSid/Messages/:Sid.json', ofPath,               newsValue(valueOfMessage)),
    route('POST', '/2010-04-01/Accounts/:AccountSid/Calls.json',         told(callPrice(prices)),    madeValue(valueOfCall)),
    route('POST', '/2010-04-01/Accounts/:AccountSid/Calls/:Sid.json',    callUpdate,           newsValue(valueOfCall)),
    route('GET',  '/2010-04-01/Accounts/:AccountSid/Calls.json',         free,                 nothingSaid),
    route('GET',  '/2010-04-01/Accounts/:AccountSid/Calls/:Sid.json',    ofPath,               newsValue(valueOfCall)),

    route('POST', '/verify/v2/Services/:ServiceSid/Verifications',       verificationPrice(prices),      quotedValue),
    route('POST', '/verify/v2/Services/:ServiceSid/VerificationCheck',   verificationCheckPrice(prices), quotedValue),
    route('POST', '/verify/v2/Services/:ServiceSid/Verifications/:Sid',  verificationUpdate,             nothingSaid),
    route('GET',  '/verify/v2/Services/:ServiceSid/Verifications/:Sid',  free,                           nothingSaid),
    route('GET',  '/lookups/v2/PhoneNumbers/:PhoneNumber',               lookupPrice(prices),            quotedValue),
  ];
}

function route(method: Route['method'], path: string, price: Route['price'], value: Route['value']): Route {
  return { name: `${method} ${path}`, method, path, body: 'flat', idempotent: false, price, value };
}

const nothingSaid: Route['value'] = () => noMoney(null);

/** A read of one message or call may show its price, so it is serialised with what changes it. */
const ofPath: Route['price'] = (_request, ids) => ({ ok: true, price: { kind: 'free', objectId: ids['Sid'] ?? '' } });

/** POST …/Messages/:Sid.json cancels a scheduled message, or empties its text. */
const messageUpdate = onlyThese([
  ['Status', /^canceled$/],
  ['Body', /^$/],
]);
/** POST …/Calls/:Sid.json ends a call. With new instructions, or a longer limit, it could cost more than was held. */
const callUpdate = onlyThese([['Status', /^(?:canceled|completed)$/]]);
/** POST …/Verifications/:Sid gives up a verification; `approved` is billed as success. */
const verificationUpdate = onlyThese([['Status', /^canceled$/]]);

function onlyThese(allowed: readonly (readonly [field: string, value: RegExp])[]): Route['price'] {
  return pricing(({ body }, ids) => {
    for (const [name] of body) {
      const pattern = allowed.find(([field]) => field === name)?.[1];
      if (pattern?.test(valueIfAny(body, name) ?? '') === true) continue;
      const fields = allowed.map(([field]) => field).join(' and ');
      throw refused('parameter_not_allowed', name, `Here only ${fields} may be given, and only to end something.`);
    }
    return { price: { kind: 'free', objectId: ids['Sid'] ?? '' } };
  });
}

/** A token of a parent account opens the paths of its subaccounts too: only the key's own account is let through. */
function redirection({ path }: VendorRequest, _route?: Route, accountId?: string): Redirection | undefined {
  const named = /^\/2010-04-01\/Accounts\/([^/]+)/.exec(path)?.[1];
  if (named === undefined || (accountId !== undefined && named === accountId)) return undefined;
  const reason = `The path names account ${named}; this key's is ${accountId ?? 'not configured'}.`;
  return { code: 'account_not_allowed', reason, field: 'AccountSid' };
}

/** VENDORS 8: an account shows its auth token, keys and tokens show their secrets, whatever the format's suffix. */
const FORBIDDEN = [
  /^\/2010-04-01\/Accounts(?:\/[^/.]+)?(?:\.\w+)?$/i,
  /^\/2010-04-01\/Accounts\/[^/]+\/(?:Keys|SigningKeys|Tokens)(?:[/.]|$)/i,
  /^\/(?:accounts|iam|preview-iam|oauth|oauth2)(?:\/|$)/i,
];

interface TwilioError {
  readonly code: number;
  readonly message: string;
}

/** `{"code":21211,"message":…,"more_info":…,"status":400}`: twilio-node `RestException`. */
function isTwilioError(answer: unknown): answer is TwilioError {
  if (typeof answer !== 'object' || answer === null) return false;
  const { code, message } = answer as { code?: unknown; message?: unknown };
  return typeof code === 'number' && typeof message === 'string';
}

/** Both SDKs type `code` as a number, so the refusal's own code is in `details` and in the text. */
function refusalBody(code: RefusalCode, message: string, details: RefusalDetails): object {
  const status = refusalStatus(code);
  return {
    code: 99_000 + status,
    message: message.startsWith(code) ? message : `${code}: ${message}`,
    more_info: REFUSALS[code].meaning,
    status,
    details: { keybrake_code: code, ...details },
  };
}

function refusalStatus(code: RefusalCode): number {
  return code === 'idempotency_mismatch' ? 409 : REFUSALS[code].status;
}
