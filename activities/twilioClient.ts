/**
 * The official Twilio SDK over an HTTP client that turns every product's host (api, verify, lookups, …) to the proxy and
 * puts the vault key, this record's idempotency key and the audit context on each request at the moment it is sent.
 */
import type TwilioSdk from 'twilio';
import { HEADERS } from '../proxy/contract';
import { type BoundCall, boundHeaders, leased, ownKey, tokenOf } from './boundCall';
import { ANSWER_TIMEOUT_MS } from './runtime';

type RequestClient = InstanceType<typeof TwilioSdk.RequestClient>;
type RequestOptions<T> = Parameters<RequestClient['request']>[0] & { data?: T };

/** Stands for the account's id, which the proxy tells with the key, where the caller names no account. */
const ACCOUNT = 'ACvault';
const OWN_ACCOUNT = new RegExp(`/Accounts/${ACCOUNT}(?=[/.]|$)`);

/** The connections of all clients in this process. */
let connections: RequestClient['axios'] | undefined;

export function twilioClient(call: BoundCall): TwilioSdk.Twilio {
  const Sdk = loadTwilio();
  const base = call.context.runtime.baseUrl('twilio');

  class BoundRequestClient extends Sdk.RequestClient {
    constructor() {
      super({ timeout: ANSWER_TIMEOUT_MS });
      this.axios = connections ??= this.axios;
    }

    override async request<T>({ username: _, password: __, ...options }: RequestOptions<T>) {
      const send = async () => {
        const token = await tokenOf(call);
        const given = new Headers(options.headers);
        const own = ownKey(call, { vendor: 'twilio', method: options.method, headers: given });
        const headers = { ...options.headers, ...boundHeaders(call, token), ...own };
        return super.request<T>({ ...options, uri: atProxy(base, options.uri, token), headers });
      };
      const reply = await leased(call, send, ({ headers }) => headersOf(headers)[HEADERS.code]);
      call.context.answered(reply.statusCode, headersOf(reply.headers), reply.body);
      return reply;
    }
  }

  return Sdk(ACCOUNT, 'vault', { httpClient: new BoundRequestClient() });
}

/** `https://verify.twilio.com/v2/…` as `http://127.0.0.1:8787/twilio/verify/v2/…`, an edge or region left out. */
function atProxy(base: string, uri: string, { accountId }: { readonly accountId: string | null }): string {
  const { hostname, pathname, search } = new URL(uri);
  const [product = 'api'] = hostname.split('.');
  const path = accountId === null ? pathname : pathname.replace(OWN_ACCOUNT, `/Accounts/${accountId}`);
  return `${base}${product === 'api' ? '' : `/${product}`}${path}${search}`;
}

function headersOf(headers: unknown): Readonly<Record<string, unknown>> {
  return (headers ?? {}) as Readonly<Record<string, unknown>>;
}

function loadTwilio(): typeof TwilioSdk {
  return require('twilio') as typeof TwilioSdk;
}
