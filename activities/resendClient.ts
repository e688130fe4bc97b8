/**
 * The official Resend SDK with the vault key, this record's idempotency key and the audit context on each request. The
 * SDK returns errors instead of throwing them. What Resend itself says is returned so, too; what the proxy refuses, or a
 * proxy that does not answer, is thrown: an error that nobody looks at would be an e-mail that nobody sends.
 */
import { ApplicationFailure } from '@temporalio/common';
import type { Resend as ResendSdk } from 'resend';
import { HEADERS } from '../proxy/contract';
import { type BoundCall, boundHeaders, leased, ownKey, tokenOf } from './boundCall';
import { FAILURES } from './codes';
import { refusalFailure, refusalIn } from './failures';

type Answer<T> = Awaited<ReturnType<typeof ResendSdk.prototype.fetchRequest<T>>>;

export function resendClient(call: BoundCall): ResendSdk {
  const { runtime } = call.context;
  const base = runtime.baseUrl('resend');
  // The real key is put in place below; the SDK only wants one to be there.
  const resend = new (loadResend())('vault', { baseUrl: base });
  // All methods of the SDK end here. Its own would not know what the proxy refuses from what Resend does.
  resend.fetchRequest = async <T>(path: string, options: RequestInit = {}) => {
    const send = async () => {
      const headers = new Headers(options.headers);
      const own = ownKey(call, { vendor: 'resend', method: options.method ?? 'GET', headers });
      const bound = { ...boundHeaders(call, await tokenOf(call)), ...own };
      for (const [name, value] of Object.entries(bound)) headers.set(name, value);
      // No signal: a paid call that was sent is never aborted.
      return fetch(`${base}${path}`, { ...options, headers, signal: null, redirect: 'manual' }).catch(unreachable);
    };
    const reply = await leased(call, send, ({ headers }) => headers.get(HEADERS.code));
    const headers = Object.fromEntries(reply.headers);
    const body: unknown = await reply.json().catch(() => undefined);
    call.context.answered(reply.status, headers, body);
    const refused = reply.ok ? undefined : refusalIn(body, headers);
    if (refused !== undefined) throw refusalFailure(refused);
    return toAnswer<T>(reply, headers, body);
  };
  return resend;

  function unreachable(cause: Error): never {
    const message = `No answer from the proxy at ${runtime.url.origin}.`;
    throw ApplicationFailure.create({ type: FAILURES.unreachable, message, nonRetryable: false, cause });
  }
}

function toAnswer<T>({ ok, status }: Response, headers: Record<string, string>, body: unknown): Answer<T> {
  if (ok) return { data: body as T, error: null, headers };
  const odd = { name: 'application_error', statusCode: status, message: 'The answer is not JSON.' };
  return { data: null, error: body ?? odd, headers } as Answer<T>;
}

function loadResend(): typeof ResendSdk {
  return (require('resend') as { Resend: typeof ResendSdk }).Resend;
}
