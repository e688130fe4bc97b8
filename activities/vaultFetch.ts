/** `vault().fetch`: the platform's fetch, at the vendor's root of the proxy. */
import { HEADERS } from '../proxy/contract';
import { type BoundCall, boundHeaders } from './stripeClient';

/** Where requests written for the vendor itself are turned to the proxy. */
const VENDOR_ORIGIN = 'https://api.stripe.com';

export function vaultFetch(call: BoundCall): typeof globalThis.fetch {
  return async (input, init) => {
    const given = new Request(urlAtProxy(input, call), requestInit(input, init));
    const headers = new Headers(given.headers);
    for (const [name, value] of Object.entries(await boundHeaders(call))) headers.set(name, value);
    if (given.method === 'POST' && !headers.has(HEADERS.idempotencyKey)) {
      headers.set(HEADERS.idempotencyKey, call.idempotencyKey);
    }
    const body = given.body === null ? null : await given.arrayBuffer();
    const { method, url } = given;
    // No signal: a paid call that was sent is never aborted.
    const reply = await fetch(url, { method, headers, body, redirect: 'manual' });
    call.context.answered(reply.status, Object.fromEntries(reply.headers), await jsonOf(reply));
    return reply;
  };
}

function urlAtProxy(input: Parameters<typeof fetch>[0], { context }: BoundCall): string {
  const text = input instanceof Request ? input.url : String(input);
  const path = text.startsWith(`${VENDOR_ORIGIN}/`) ? text.slice(VENDOR_ORIGIN.length) : text;
  if (!path.startsWith('/')) throw new TypeError(`vault().fetch wants a path such as /v1/customers, not ${text}`);
  return `${context.runtime.baseUrl('stripe')}${path}`;
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
