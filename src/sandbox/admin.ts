import { FaultInjector } from './faults';
import { type SandboxStats, listCharges, summarise } from './stats';
import type { StripeVendor, VendorRequest } from './vendor';

/** The path below which the sandbox itself is asked and told. */
export const ADMIN_PREFIX = '/_sandbox/';

/** An answer of the sandbox about itself. */
export interface AdminReply {
  readonly status: number;
  readonly contentType: string;
  readonly text: string;
}

/** `GET stats`, `charges`, `requests` (`?format=ndjson` for one a line), `POST faults`, `POST reset`. */
export function administer(vendor: StripeVendor, request: VendorRequest): AdminReply {
  const [path = '', query = ''] = request.target.split('?');
  const lines = query.includes('format=ndjson') || String(request.headers['accept']).includes('ndjson');
  switch (`${request.method} ${path.slice(ADMIN_PREFIX.length)}`) {
    case 'GET stats':
      return json(200, statsOf(vendor));
    case 'GET charges':
      return list(listCharges(vendor.state), lines);
    case 'GET requests':
      return list(vendor.log.list(), lines);
    case 'POST faults':
      return setFaults(vendor, request.body);
    case 'POST reset':
      vendor.reset();
      return json(200, { reset: true });
    default:
      return json(404, { error: `No such sandbox endpoint: ${request.method} ${path}` });
  }
}

/** What all vendors have done. */
export function statsOf(vendor: StripeVendor): SandboxStats {
  return { stripe: summarise(vendor.state, vendor.counts) };
}

function setFaults(vendor: StripeVendor, body: string): AdminReply {
  try {
    vendor.faults = new FaultInjector(JSON.parse(body === '' ? '{}' : body));
    return json(200, vendor.faults.settings);
  } catch (error) {
    return json(400, { error: error instanceof Error ? error.message : String(error) });
  }
}

function list(items: readonly unknown[], lines: boolean): AdminReply {
  if (!lines) return json(200, items);
  const text = items.map((item) => `${JSON.stringify(item)}\n`).join('');
  return { status: 200, contentType: 'application/x-ndjson', text };
}

function json(status: number, value: unknown): AdminReply {
  return { status, contentType: 'application/json', text: JSON.stringify(value) };
}
