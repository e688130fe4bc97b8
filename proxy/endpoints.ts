/** The names of routes, `POST /v1/refunds/:id`, for all who write or read them: the proxy, allowlists and run inputs. */
import type { VendorId } from './contract';

/** How a body is written: nested names, plain names of which some may be repeated, or JSON. */
export type BodyKind = 'form' | 'flat' | 'json';

/** A vendor of `GET /vault/vendors`: what a key for it may name. */
export interface VendorView {
  readonly vendor: VendorId;
  /** The configured accounts of this vendor, by name. */
  readonly accounts: readonly string[];
  /** `endpoint` is the name that an allowlist uses: `POST /v1/payment_intents/:id/confirm`. */
  readonly routes: readonly { readonly endpoint: string; readonly body: BodyKind }[];
}

/** `POST /v1/refunds/{refund}` as `POST /v1/refunds/:`: an id may be written `:id`, `{id}` or `*`. */
export function routeShape(endpoint: string): string {
  return endpoint.replaceAll(/(?<=\/)(?::\w*|\{\w*\}|\*)(?=\/|\.json$|$)/g, ':');
}
