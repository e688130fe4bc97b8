import type { VendorRequest } from './vendor';
import { type Vendors, isVendorName } from './vendors';

/** The path below which the sandbox itself is asked and told. */
export const ADMIN_PREFIX = '/_sandbox/';

/** An answer of the sandbox about itself. */
export interface AdminReply {
  readonly status: number;
  readonly contentType: string;
  readonly text: string;
}

/**
 * `GET stats`, `charges`, `messages`, `emails`, `requests` (`?format=ndjson` for one a line), `POST faults`
 * (`?vendor=twilio` for one vendor alone), `POST twilio/advance`, `POST reset`.
 */
export async function administer(vendors: Vendors, request: VendorRequest): Promise<AdminReply> {
  const [path = '', text = ''] = request.target.split('?');
  const query = new URLSearchParams(text);
  const lines = query.get('format') === 'ndjson' || String(request.headers['accept']).includes('ndjson');
  switch (`${request.method} ${path.slice(ADMIN_PREFIX.length)}`) {
    case 'GET stats':
      return json(200, vendors.stats());
    case 'GET charges':
      return list(vendors.charges(), lines);
    case 'GET messages':
      return list(vendors.messages(), lines);
    case 'GET emails':
      return list(vendors.emails(), lines);
    case 'GET requests':
      return list(vendors.log.list(), lines);
    case 'POST faults':
      return told(request.body, (faults) => setFaults(vendors, faults, query.get('vendor')));
    case 'POST twilio/advance':
      return told(request.body, (options) => vendors.advance(options));
    case 'POST reset':
      vendors.reset();
      return json(200, { reset: true });
    default:
      return json(404, { error: `No such sandbox endpoint: ${request.method} ${path}` });
  }
}

function setFaults(vendors: Vendors, faults: unknown, vendor: string | null): unknown {
  if (vendor === null) return vendors.setFaults(faults);
  if (!isVendorName(vendor)) throw new Error(`No such vendor: ${vendor}`);
  return vendors.setFaults(faults, vendor);
}

/** Does what a JSON body says; what makes no sense is a 400. */
async function told(body: string, run: (value: unknown) => unknown): Promise<AdminReply> {
  try {
    return json(200, await run(JSON.parse(body === '' ? '{}' : body)));
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
