/** `vault().fetch`: the platform's fetch, at the vendor's root of the proxy. */
import { HEADERS } from '../proxy/contract';
import { type BoundCall, boundHeaders, leased, ownKey, tokenOf } from './boundCall';
import { withAccount } from './template';
import type { Token } from './tokens';

/** Where requests written for the vendor itself are turned to the proxy. */
const AT_PROXY: Readonly<Record<string, string>> = {
  'https://api.stripe.com': 'stripe',
  'https://api.twilio.com': 'twilio',
  'https://verify.twilio.com': 'twilio/verify',
  'https://lookups.twilio.com': 'twilio/lookups',
  'https://api.resend.com': 'resend',
};

export function vaultFetch(call: BoundCall): typeof globalThis.fetch {
  return async (input, init) => {
    const token = await tokenOf(call);
    const given = new Request(urlAtProxy(input, call, token), requestInit(input, init));
    const body = given.body === null ? null : await given.arrayBuffer();
    const { method, url } = given;
    const send = async () => {
      const headers = new Headers(given.headers);
      const { vendor } = token;
      const bound = { ...boundHeaders(call, await tokenOf(call)), ...ownKey(call, { vendor, method, headers }) };
      for (const [name, value] of Object.entries(bound)) headers.set(name, value);
      // No signal: a paid call that was sent is never aborted.
      return fetch(url, { method, headers, body, redirect: 'manual' });
    };
    const reply = await leased(call, send, ({ headers }) => headers.get(HEADERS.code));
    call.context.answered(reply.status, Object.fromEntries(reply.headers), await jsonOf(reply));
    return reply;
  };
}

function urlAtProxy(input: Parameters<typeof fetch>[0], { context }: BoundCall, token: Token): string {
  const text = input instanceof Request ? input.url : String(input);
  const [, origin = '', rest = ''] = /^(https:\/\/[^/]+)?(.*)$/s.exec(text) ?? [];
  const root = origin === '' ? token.vendor : AT_PROXY[origin];
  if (root === undefined || !rest.startsWith('/')) {
    throw new TypeError(`vault().fetch wants a path of the vendor's, such as /v1/customers, not ${text}`);
  }
  return `${context.runtime.baseUrl(root)}${withAccount(rest, token.accountId)}`;
}

function requestInit(input: Parameters<typeof fetch>[0], init: RequestInit | undefined): RequestInit {
  const { signal: _, ...rest } = init ?? {};
  if (!(input instanceof Request)) return rest;
  const { method, headers, body } = input;
  return { method, headers, ...(body !== null && { body, duplex: 'half' }), ...rest };
}

async function jsonOf(reply: Response): Promise<unknown> {
  try {
    return await reply.clone().json();
  } catch {
    return undefined;
  }
}
