/**
 * The official Stripe SDK over an HTTP client that puts the vault key, this record's idempotency key and the audit
 * context on each request at the moment it is sent. That also takes the path of KEYBRAKE_URL, which the SDK's own `host`
 * option cannot.
 */
import { ApplicationFailure } from '@temporalio/common';
import type StripeSdk from 'stripe';
import { HEADERS } from '../proxy/contract';
import type { CallContext } from './callContext';
import { FAILURES } from './codes';
import { contextHeaders } from './recordCall';

/** What each call of one `vault()` carries. */
export interface BoundCall {
  readonly context: CallContext;
  readonly keyId: string;
  /** The record id as header and audit row have it. */
  readonly recordKey: string;
  readonly idempotencyKey: string;
  /** Where the record lies in the run's source. */
  readonly offset: number | undefined;
}

type HttpClient = InstanceType<typeof StripeSdk.HttpClient>;
type HttpResponse = Awaited<ReturnType<HttpClient['makeRequest']>>;

/** The headers of a call, without its idempotency key. */
export async function boundHeaders({ context, keyId, recordKey, offset }: BoundCall): Promise<Record<string, string>> {
  const vaultKey = await context.runtime.tokens.get(keyId);
  return { authorization: `Bearer ${vaultKey}`, ...contextHeaders(context.caller, recordKey, offset) };
}

export function stripeClient(call: BoundCall): StripeSdk {
  const Stripe = loadStripe();
  const inner = Stripe.createNodeHttpClient();
  const { url } = call.context.runtime;
  const prefix = new URL(call.context.runtime.baseUrl('stripe')).pathname;
  const isHttp = url.protocol === 'http:';
  const httpClient: HttpClient = {
    getClientName: () => inner.getClientName(),
    makeRequest: async (_host, _port, path, method, headers, data, _protocol, timeout) => {
      const bound = {
        ...withoutAuthorization(headers),
        ...(await boundHeaders(call)),
        ...ownKey(headers, method, call),
      };
      const host = url.hostname.replace(/^\[|\]$/g, '');
      const port = url.port === '' ? (isHttp ? '80' : '443') : url.port;
      const protocol = isHttp ? 'http' : 'https';
      const reply = await inner.makeRequest(host, port, `${prefix}${path}`, method, bound, data, protocol, timeout);
      return observed(reply, call.context);
    },
  };
  // The real key is put in place above; the SDK only wants one to be there.
  return new Stripe('vault', { httpClient, telemetry: false });
}

/** Stripe's SDK makes a random key for each POST; one that the caller chose stays. */
function ownKey(headers: object, method: string, call: BoundCall): Record<string, string> {
  if (method.toUpperCase() !== 'POST') return {};
  const entry = Object.entries(headers).find(([name]) => name.toLowerCase() === HEADERS.idempotencyKey);
  const chosen = typeof entry?.[1] === 'string' && !entry[1].startsWith('stripe-node-retry-');
  return chosen ? {} : { [entry?.[0] ?? HEADERS.idempotencyKey]: call.idempotencyKey };
}

function withoutAuthorization(headers: object): Record<string, string> {
  return Object.fromEntries(Object.entries(headers).filter(([name]) => name.toLowerCase() !== 'authorization'));
}

/** The same answer; its body is looked at when the SDK reads it. */
function observed(reply: HttpResponse, context: CallContext): HttpResponse {
  const toJSON = reply.toJSON.bind(reply);
  reply.toJSON = async () => {
    const body: unknown = await toJSON();
    context.answered(reply.getStatusCode(), reply.getHeaders(), body);
    return body;
  };
  return reply;
}

function loadStripe(): typeof StripeSdk {
  try {
    // Optional: only those who use `vault().stripe` need it.
    const loaded = require('stripe') as typeof StripeSdk | { default: typeof StripeSdk };
    return 'default' in loaded ? loaded.default : loaded;
  } catch (cause) {
    throw ApplicationFailure.create({
      type: FAILURES.noContext,
      message: 'vault().stripe needs the package "stripe": npm install stripe (22 or later), or use vault().fetch.',
      nonRetryable: true,
      ...(cause instanceof Error && { cause }),
    });
  }
}
