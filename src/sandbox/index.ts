/**
 * Stateful stand-ins for Stripe, Twilio and Resend on loopback, on one port. They share no code with the proxy: in the
 * tests they are the independent witness of what was executed, how often, and for how much.
 */
import { type IncomingMessage, type Server, type ServerResponse, createServer } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { ADMIN_PREFIX, administer } from './admin';
import type { Faults } from './faults';
import type { LoggedRequest, VendorName } from './request-log';
import type { ResendOptions } from './resend/protocol';
import type { SandboxEmail } from './resend/stats';
import type { SandboxCharge } from './stats';
import type { AdvanceOptions, Advanced } from './twilio/advance';
import type { TwilioOptions } from './twilio/protocol';
import type { SandboxMessage } from './twilio/stats';
import { type SandboxStats, Vendors } from './vendors';

export type { Duplicate } from './duplicates';
export type { Faults, Rate } from './faults';
export type { LoggedRequest, VendorName } from './request-log';
export type { ResendOptions } from './resend/protocol';
export type { ResendStats, SandboxEmail } from './resend/stats';
export type { MinorByCurrency, SandboxCharge, StripeStats } from './stats';
export type { AdvanceOptions, Advanced } from './twilio/advance';
export type { Callback } from './twilio/callbacks';
export type { Price, PriceTable } from './twilio/prices';
export type { TwilioOptions } from './twilio/protocol';
export type { SandboxMessage, TwilioStats } from './twilio/stats';
export type { SandboxStats } from './vendors';

/** How to start the sandbox. */
export interface SandboxOptions {
  /** A loopback address; 127.0.0.1 when left out. */
  readonly host?: string;
  /** 0, or left out: any free port. */
  readonly port?: number;
  /** Stripe's secret; when given, any other is refused with a 401. */
  readonly secretKey?: string;
  /** Twilio's account. */
  readonly twilio?: TwilioOptions;
  /** Resend's team. */
  readonly resend?: ResendOptions;
  /** How long every call takes before it executes. */
  readonly delayMs?: number;
  /** Each vendor answers 429 to more requests in a second than this, reads too. */
  readonly limitPerSecond?: number;
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
  /** One row per message, call, verification and billed look-up. */
  messages(): readonly SandboxMessage[];
  /** One row per email. */
  emails(): readonly SandboxEmail[];
  /** Lets messages and calls reach their ends and prices; resolves when their status callbacks are answered. */
  advance(options?: AdvanceOptions): Promise<readonly Advanced[]>;
  /** The last 10,000 vendor requests as they were received, oldest first. */
  requests(): readonly LoggedRequest[];
  /** Replaces the faults to inject, into one vendor or into each; throws when they make no sense. */
  setFaults(faults: Faults, vendor?: VendorName): void;
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
  const { host = '127.0.0.1', port = 0, secretKey, twilio = {}, resend = {}, delayMs = 0, log = true } = options;
  if (!LOOPBACK.includes(host)) throw new Error(`The sandbox listens on loopback only, not on ${host}.`);
  const { limitPerSecond, now = Date.now } = options;
  const vendors = new Vendors({ secretKey, twilio, resend, delayMs, limitPerSecond, log, now });
  const server = createServer({ keepAliveTimeout: KEEP_ALIVE_MS }, (req, res) => {
    serve(vendors, req, res).catch(() => req.socket.destroy());
  });
  server.on('clientError', (_error, socket) => socket.destroy());
  server.on('connection', (socket: Socket) => socket.setNoDelay(true));
  await listen(server, port, host);
  const bound = (server.address() as AddressInfo).port;
  return {
    url: `http://${host.includes(':') ? `[${host}]` : host}:${bound}`,
    port: bound,
    stats: () => vendors.stats(),
    charges: () => vendors.charges(),
    messages: () => vendors.messages(),
    emails: () => vendors.emails(),
    advance: (how) => vendors.advance(how),
    requests: () => vendors.log.list(),
    setFaults: (faults, vendor) => void vendors.setFaults(faults, vendor),
    reset: () => vendors.reset(),
    stop: () => {
      vendors.close();
      return stop(server);
    },
  };
}

async function serve(vendors: Vendors, req: IncomingMessage, res: ServerResponse): Promise<void> {
  const body = await readBody(req);
  const { method = '', url: target = '', headers } = req;
  if (body === undefined) {
    res.writeHead(413, { connection: 'close' }).end();
    return;
  }
  if (target.startsWith(ADMIN_PREFIX)) {
    const reply = await administer(vendors, { method, target, headers, body });
    send(res, reply.status, { 'content-type': reply.contentType }, reply.text);
    return;
  }
  const reply = await vendors.of(target).handle({ method, target, headers, body });
  if (reply === null) {
    req.socket.destroy();
    return;
  }
  const text = typeof reply.body === 'string' ? reply.body : JSON.stringify(reply.body);
  send(res, reply.status, { 'content-type': 'application/json', ...reply.headers }, text);
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
