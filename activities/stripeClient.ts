/**
 * The official Stripe SDK over an HTTP client that puts the vault key, this record's idempotency key and the audit
 * context on each request at the moment it is sent. That also takes the path of KEYBRAKE_URL, which the SDK's own `host`
 * option cannot.
 */
import type StripeSdk from 'stripe';
import { HEADERS } from '../proxy/contract';
import { type BoundCall, boundHeaders, leased, ownKey, tokenOf } from './boundCall';
import type { CallContext } from './callContext';

type HttpClient = InstanceType<typeof StripeSdk.HttpClient>;
type HttpResponse = Awaited<ReturnType<HttpClient['makeRequest']>>;

export function stripeClient(call: BoundCall): StripeSdk {
  const Stripe = loadStripe();
  const inner = Stripe.createNodeHttpClient();
  const { url } = call.context.runtime;
  const prefix = new URL(call.context.runtime.baseUrl('stripe')).pathname;
  const isHttp = url.protocol === 'http:';
  const host = url.hostname.replace(/^\[|\]$/g, '');
  const port = url.port === '' ? (isHttp ? '80' : '443') : url.port;
  const protocol = isHttp ? 'http' : 'https';
  const httpClient: HttpClient = {
    getClientName: () => inner.getClientName(),
    makeRequest: async (_host, _port, path, method, headers, data, _protocol, timeout) => {
      const given = chosenBy(headers);
      const send = async () => {
        const bound = {
          ...Object.fromEntries(given),
          ...boundHeaders(call, await tokenOf(call)),
          ...ownKey(call, { vendor: 'stripe', method, headers: given }),
        };
        return inner.makeRequest(host, port, `${prefix}${path}`, method, bound, data, protocol, timeout);
      };
      return observed(await leased(call, send, codeOf), call.context);
    },
  };
  // The real key is put in place above; the SDK only wants one to be there.
  return new Stripe('vault', { httpClient, telemetry: false });
}

/** What the SDK sends, without its placeholder of a key and the idempotency key that it makes at random. */
function chosenBy(headers: object): Headers {
  const given = new Headers(headers as Record<string, string>);
  given.delete('authorization');
  if (given.get(HEADERS.idempotencyKey)?.startsWith('stripe-node-retry-') === true) {
    given.delete(HEADERS.idempotencyKey);
  }
  return given;
}

function codeOf(reply: HttpResponse): unknown {
  return (reply.getHeaders() as Readonly<Record<string, unknown>>)[HEADERS.code];
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
  const loaded = require('stripe') as typeof StripeSdk | { default: typeof StripeSdk };
  return 'default' in loaded ? loaded.default : loaded;
}
