/** Twilio's status callbacks: when they are asked for, and whether one is Twilio's. */
import { createHmac, timingSafeEqual } from 'node:crypto';
import { isService } from './twilio-sender';
import type { Callbacks, FormPairs, Route } from './vendor';

/** A callback of the client's own, or a service or application that may have one: the proxy's would take its place. */
const CLIENTS_OWN = /^(?:StatusCallback|MessagingServiceSid$|ApplicationSid$)/;

function hasOwn([name, value]: FormPairs[number]): boolean {
  return CLIENTS_OWN.test(name) || (name === 'From' && isService(value));
}

/** Asks Twilio to post to `url` when something becomes of the message or call, if nobody else is to be told. */
export function withCallback(price: Route['price'], url: string | undefined): Route['price'] {
  if (url === undefined) return price;
  return (request, ids, terms) => {
    const priced = price(request, ids, terms);
    if (!priced.ok || request.body.some(hasOwn)) return priced;
    return { ...priced, adds: [...(priced.adds ?? []), ['StatusCallback', url]] };
  };
}

/** Before these there is no price, and no end. */
const BEGINNINGS: ReadonlySet<string> = new Set([
  'accepted',
  'scheduled',
  'queued',
  'sending',
  'initiated',
  'ringing',
  'in-progress',
]);

export const twilioCallbacks: Callbacks = {
  isGenuine({ url, fields, header }, { secret, user, accountId }) {
    // Twilio signs with the account's auth token; an API key's secret is another.
    if (user !== undefined && user !== accountId) return undefined;
    const given = Buffer.from(header('x-twilio-signature') ?? '');
    return addresses(url).some((address) => {
      const right = Buffer.from(signatureOf(address, fields, secret));
      return right.length === given.length && timingSafeEqual(right, given);
    });
  },
  news(fields) {
    const field = (...names: readonly string[]) => fields.find(([name]) => names.includes(name))?.[1];
    const accountId = field('AccountSid');
    const objectId = field('MessageSid', 'SmsSid', 'CallSid');
    const status = field('MessageStatus', 'SmsStatus', 'CallStatus');
    if (accountId === undefined || status === undefined || BEGINNINGS.has(status)) return undefined;
    return objectId !== undefined && /^(?:SM|MM|CA)[A-Za-z0-9]{2,64}$/.test(objectId)
      ? { accountId, objectId }
      : undefined;
  },
};

/** https://www.twilio.com/docs/usage/security : the address, then each field's name and value, sorted by name. */
function signatureOf(url: string, fields: FormPairs, token: string): string {
  const sorted = fields.toSorted(([a], [b]) => (a < b ? -1 : 1));
  const text = sorted.reduce((signed, [name, value]) => signed + name + value, url);
  return createHmac('sha1', token).update(text).digest('base64');
}

/** Twilio signs with the port in the address or without it; its own libraries accept both. */
function addresses(url: string): readonly string[] {
  const { protocol, port, host, hostname } = new URL(url);
  const other = port === '' ? `${hostname}:${protocol === 'https:' ? 443 : 80}` : hostname;
  return [url, url.replace(`//${host}`, `//${other}`)];
}
