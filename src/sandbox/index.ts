/**
 * A stateful stand-in for Stripe on loopback. It shares no code with the proxy: in the tests it is the independent
 * witness of what was executed, how often, and for how much.
 */
import { type IncomingMessage, type Server, type ServerResponse, createServer } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { ADMIN_PREFIX, administer, statsOf } from './admin';
import { FaultInjector, type Faults } from './faults';
import type { LoggedRequest } from './request-log';
import { type SandboxCharge, type SandboxStats, listCharges } from './stats';
import { StripeVendor } from './vendor';

export type { Faults, Rate } from './faults';
export type { LoggedRequest } from './request-log';
export type { Duplicate, MinorByCurrency, SandboxCharge, SandboxStats, StripeStats } from './stats';

/** How to start the sandbox. */
export interface SandboxOptions {
  /** A loopback address; 127.0.0.1 when left out. */
  readonly host?: string;
  /** 0, or left out: any free port. */
  readonly port?: number;
  /** When given, any other secret is refused with a 401. */
  readonly secretKey?: string;
  /** How long every call takes before it executes. */
  readonly delayMs?: number;
  /** False: requests are not kept, for benchmarks. */
  readonly log?: boolean;
  /** The clock, in milliseconds. */
  readonly now?: () => number;
}

/** A running sandbox. */
export interface Sandbox {
  readonly url: string;
  readonly port: number;
  /** What was executed, added up. */
  stats(): SandboxStats;
  /** One row per PaymentIntent and per charge without one. */
  charges(): readonly SandboxCharge[];
  /** The last 10,000 vendor requests as they were received, oldest first. */
  requests(): readonly LoggedRequest[];
  /** Replaces the faults to inject; throws when they make no sense. */
  setFaults(faults: Faults): void;
  /** Forgets everything: objects, keys, log, counts and faults. */
  reset(): void;
  /** Cuts every connection and frees the port. */
  stop(): Promise<void>;
}

const LOOPBACK: readonly string[] = ['127.0.0.1', '::1', 'localhost'];
const BODY_BYTES_MAX = 1024 * 1024;
const KEEP_ALIVE_MS = 120_000;

/** Starts the sandbox; it listens when the promise resolves. */
export async function startSandbox(options: SandboxOptions = {}): Promise<Sandbox> {
  const { host = '127.0.0.1', port = 0, secretKey, delayMs = 0, log = true, now = Date.now } = options;
  if (!LOOPBACK.includes(host)) throw new Error(`The sandbox listens on loopback only, not on ${host}.`);
  const vendor = new StripeVendor({ secretKey, delayMs, log, now });
  const server = createServer({ keepAliveTimeout: KEEP_ALIVE_MS }, (req, res) => {
    serve(vendor, req, res).catch(() => req.socket.destroy());
  });
  server.on('clientError', (_error, socket) => socket.destroy());
  server.on('connection', (socket: Socket) => socket.setNoDelay(true));
  await listen(server, port, host);
  const bound = (server.address() as AddressInfo).port;
  return {
    url: `http://${host.includes(':') ? `[${host}]` : host}:${bound}`,
    port: bound,
    stats: () => statsOf(vendor),
    charges: () => listCharges(vendor.state),
    requests: () => vendor.log.list(),
    setFaults: (faults) => {
      vendor.faults = new FaultInjector(faults);
    },
    reset: () => vendor.reset(),
    stop: () => stop(server),
  };
}

async function serve(vendor: StripeVendor, req: IncomingMessage, res: ServerResponse): Promise<void> {
  const body = await readBody(req);
  const { method = '', url: target = '', headers } = req;
  if (body === undefined) {
    res.writeHead(413, { connection: 'close' }).end();
    return;
  }
  if (target.startsWith(ADMIN_PREFIX)) {
    const reply = administer(vendor, { method, target, headers, body });
    send(res, reply.status, { 'content-type': reply.contentType }, reply.text);
    return;
  }
  const reply = await vendor.handle({ method, target, headers, body });
  if (reply === null) req.socket.destroy();
  else send(res, reply.status, { 'content-type': 'application/json', ...reply.headers }, JSON.stringify(reply.body));
}

function send(res: ServerResponse, status: number, headers: Readonly<Record<string, string>>, text: string): void {
  res.writeHead(status, { ...headers, 'content-length': Buffer.byteLength(text) });
  res.end(text);
}

/** The body as text; undefined when it is too long. */
function readBody(req: IncomingMessage): Promise<string | undefined> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let bytes = 0;
    req.on('data', (chunk: Buffer) => {
      bytes += chunk.length;
      if (bytes > BODY_BYTES_MAX) resolve(undefined);
      else chunks.push(chunk);
    });
    req.on('end', () => resolve(chunks.length === 1 ? String(chunks[0]) : Buffer.concat(chunks).toString()));
    req.on('error', reject);
  });
}

function listen(server: Server, port: number, host: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, host, () => {
      server.off('error', reject);
      resolve();
    });
  });
}

function stop(server: Server): Promise<void> {
  return new Promise((resolve) => {
    server.close(() => resolve());
    server.closeAllConnections();
  });
}
