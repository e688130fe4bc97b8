/** The sockets: reads requests, hands vendor calls to `handle` and the rest to the control plane, drains on close. */
import { readFileSync } from 'node:fs';
import {
  createServer,
  type IncomingMessage,
  type OutgoingHttpHeaders,
  type RequestListener,
  type Server,
  type ServerResponse,
} from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import type { Reply } from './answers';
import { BODY_BYTES_MAX, type DataRequest } from './call';
import { within } from './deadlines';
import { seldom } from './seldom';

/** Longer than clients' keep-alive, so that the client is the one to close an idle connection. */
const KEEP_ALIVE_MS = 75_000;
const REQUEST_TIMEOUT_MS = 60_000;
/** As long as the proxy's own to a vendor: Node waits two minutes. */
const HANDSHAKE_MS = 5_000;
/**
 * Open at one time. Who connects needs no key, and every connection is a file: without a limit they would take those that
 * calls to vendors and to the store need. At most every second one of the files that the process may open.
 */
const CONNECTIONS_MAX = 8_192;
/** So long a request that is on its way may still arrive on a new connection while the proxy drains. */
const SILENT_MS = 500;
/** So long the rest of a request may take while the proxy drains: nothing is reserved for one that is not complete. */
const ARRIVING_MS = 3_000;
/** So long the rest of a body that nobody reads may still come, so that its client reads the answer and no reset. */
const UNREAD_MS = 1_000;
const CONTROL_PATH = /^\/(?:vault(?:\/|$|\?)|healthz|readyz|metrics|openapi\.json)/;

export interface ServerParts {
  readonly handle: (request: DataRequest) => Promise<Reply | undefined>;
  /** Is `handle` sure to refuse who comes with this, whatever the body is? */
  readonly refuses: (authorization: string | undefined) => boolean;
  readonly control: RequestListener;
  readonly tls: { readonly cert: string; readonly key: string } | undefined;
  /** Hears of connections that are too many, once a minute at most. */
  readonly onFull: (connectionsMax: number) => void;
}

export interface Listening {
  readonly port: number;
  readonly url: string;
  /**
   * Takes no new connections and resolves when every request has been answered and every call has ended, those whose
   * client has gone too, or after `timeoutMs`.
   */
  drain(timeoutMs: number): Promise<void>;
}

/** Vendor calls between their request and their end. */
class Calls {
  #underWay = 0;
  #ended: () => void = () => {};

  begin(): void {
    this.#underWay += 1;
  }

  end(): void {
    this.#underWay -= 1;
    if (this.#underWay === 0) this.#ended();
  }

  /** Resolves when none is under way. */
  ended(): Promise<void> {
    return new Promise((resolve) => {
      if (this.#underWay === 0) resolve();
      this.#ended = resolve;
    });
  }
}

export async function listen(parts: ServerParts, host: string, port: number): Promise<Listening> {
  let draining = false;
  const calls = new Calls();
  /** The last answer of each connection: of those behind one another, a connection that ends cuts off all but one. */
  const open = new Map<Socket, ServerResponse>();
  const silent: Silent = new Map();
  const arriving = new Set<IncomingMessage>();
  const state: State = { calls, arriving, draining: () => draining };
  const listener: RequestListener = (request, response) => {
    const { socket } = request;
    if (silent.size > 0) silent.delete(endsOf(socket));
    arriving.add(request);
    if (!CONTROL_PATH.test(request.url ?? '')) {
      dataPlane(parts, state, request, response);
      return;
    }
    request.once('close', () => arriving.delete(request));
    if (draining) response.setHeader('connection', 'close');
    open.set(socket, response);
    response.once('close', () => {
      if (open.get(socket) === response) open.delete(socket);
    });
    parts.control(request, response);
  };
  const server: Server =
    parts.tls === undefined
      ? createServer(listener)
      : createTlsServer({ ...parts.tls, handshakeTimeout: HANDSHAKE_MS }, listener);
  limitConnections(server, silent, parts.onFull);
  server.on(parts.tls === undefined ? 'connection' : 'secureConnection', (socket: Socket) => {
    socket.once('close', () => open.delete(socket));
  });
  server.keepAliveTimeout = KEEP_ALIVE_MS;
  server.headersTimeout = KEEP_ALIVE_MS + 5_000;
  server.requestTimeout = REQUEST_TIMEOUT_MS;
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, host, resolve);
  });
  const address = server.address() as AddressInfo;
  const shown = address.family === 'IPv6' ? `[${address.address}]` : address.address;

  return {
    port: address.port,
    url: `${parts.tls === undefined ? 'http' : 'https'}://${shown}:${address.port}`,
    async drain(timeoutMs) {
      draining = true;
      // Else the connections of requests in flight stay open after their answers, and the drain waits for the time-out.
      for (const response of open.values()) if (!response.headersSent) response.setHeader('connection', 'close');
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      server.closeIdleConnections();
      // To node:http a connection is idle only after a request; load balancers open some long before theirs.
      const hangUp = setTimeout(() => {
        for (const socket of silent.values()) socket.destroy();
      }, SILENT_MS);
      const giveUp = setTimeout(() => {
        for (const request of arriving) if (!request.complete) request.destroy();
      }, ARRIVING_MS);
      // Connections that are closed begin no further call.
      await within(
        closed.then(() => calls.ended()),
        timeoutMs,
      );
      clearTimeout(hangUp);
      clearTimeout(giveUp);
      server.closeAllConnections();
      await closed;
    },
  };
}

/**
 * Connections without a request yet, the longest silent first, by their two ends: over TLS a request comes by a socket of
 * its own, and there is none before the handshake.
 */
type Silent = Map<string, Socket>;

function endsOf({ localAddress, remoteAddress, remotePort }: Socket): string {
  return `${localAddress} ${remoteAddress} ${remotePort}`;
}

/** One too many takes the place of the longest silent one: probes and clients speak at once. Without any it is cut off. */
function limitConnections(server: Server, silent: Silent, onFull: ServerParts['onFull']): void {
  const max = Math.min(CONNECTIONS_MAX, Math.floor(filesMax() / 2));
  let open = 0;
  const warning = seldom(() => performance.now());
  server.on('connection', (socket: Socket) => {
    const ends = endsOf(socket);
    open += 1;
    socket.once('close', () => {
      open -= 1;
      if (silent.get(ends) === socket) silent.delete(ends);
    });
    if (open > max) {
      if (warning.isDue()) onFull(max);
      const [[longestEnds, longest] = [ends, socket]] = silent;
      silent.delete(longestEnds);
      longest.destroy();
    }
    if (!socket.destroyed) silent.set(ends, socket);
  });
}

/** How many files the process may open; Infinity where the system does not say. */
function filesMax(): number {
  try {
    return Number(/^Max open files +(\d+)/m.exec(readFileSync('/proc/self/limits', 'utf8'))?.[1] ?? Infinity);
  } catch {
    return Infinity;
  }
}

/** What goes on in the server, to be waited for when it drains. */
interface State {
  readonly calls: Calls;
  /** Requests whose end has not come yet. */
  readonly arriving: Set<IncomingMessage>;
  readonly draining: () => boolean;
}

/**
 * A client that goes away in the middle of its body is dropped: nothing was reserved. Of a client without a genuine
 * vault key no body is kept, and none is waited for.
 */
function dataPlane(
  { handle, refuses }: ServerParts,
  { calls, arriving, draining }: State,
  request: IncomingMessage,
  response: ServerResponse,
): void {
  const take = (body: Buffer | undefined): void => {
    const incoming = incomingCall(request, response, body);
    calls.begin();
    void handle(incoming).then((reply) => {
      calls.end();
      answer(request, response, reply, draining());
    });
  };
  request.on('error', () => arriving.delete(request));
  if (refuses(request.headers.authorization)) {
    request.once('close', () => arriving.delete(request));
    // A body that came in one piece with its head is complete by then, and its connection stays.
    setImmediate(take, undefined);
    return;
  }
  const chunks: Buffer[] = [];
  let bytes = 0;
  request.on('data', (chunk: Buffer) => {
    bytes += chunk.length;
    if (bytes <= BODY_BYTES_MAX) chunks.push(chunk);
  });
  request.on('end', () => {
    arriving.delete(request);
    const [only] = chunks;
    const whole = chunks.length === 1 && only !== undefined ? only : Buffer.concat(chunks);
    take(bytes > BODY_BYTES_MAX ? undefined : whole);
  });
}

function incomingCall(
  { method = 'GET', url = '/', headers, socket }: IncomingMessage,
  response: ServerResponse,
  body: Buffer | undefined,
): DataRequest {
  return {
    method,
    url,
    headers,
    body,
    // An answer that stands behind another one's on its connection is not told that this has ended.
    gone: () => response.destroyed || socket.destroyed,
    onGone(leave) {
      response.once('close', leave);
      return () => void response.off('close', leave);
    },
  };
}

function answer(request: IncomingMessage, response: ServerResponse, reply: Reply | undefined, draining: boolean): void {
  if (reply === undefined || response.destroyed) return;
  const headers: OutgoingHttpHeaders = Object.assign({ 'content-length': reply.body.length }, reply.headers);
  const { complete } = request;
  if (draining || !complete) headers['connection'] = 'close';
  response.writeHead(reply.status, headers);
  if (complete) response.end(reply.body);
  else endUnread(request, response, reply.body);
}

/** The whole answer leaves at once; the connection ends when the rest of the body has come, or in {@link UNREAD_MS}. */
function endUnread(request: IncomingMessage, response: ServerResponse, body: Buffer): void {
  response.write(body);
  const end = () => {
    clearTimeout(timer);
    response.end();
  };
  const timer = setTimeout(end, UNREAD_MS);
  request.once('close', end);
  request.resume();
}
