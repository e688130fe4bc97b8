/** The sockets: reads requests, hands vendor calls to `handle` and the rest to the control plane, drains on close. */
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

/** Longer than clients' keep-alive, so that the client is the one to close an idle connection. */
const KEEP_ALIVE_MS = 75_000;
const REQUEST_TIMEOUT_MS = 60_000;
/** So long a request that is on its way may still arrive on a new connection while the proxy drains. */
const SILENT_MS = 500;
/** So long the rest of a request may take while the proxy drains: nothing is reserved for one that is not complete. */
const ARRIVING_MS = 3_000;
const CONTROL_PATH = /^\/(?:vault(?:\/|$|\?)|healthz|readyz|metrics|openapi\.json)/;

export interface ServerParts {
  readonly handle: (request: DataRequest) => Promise<Reply | undefined>;
  readonly control: RequestListener;
  readonly tls: { readonly cert: string; readonly key: string } | undefined;
}

export interface Listening {
  readonly port: number;
  readonly url: string;
  /** Takes no new connections and resolves when every request has been answered, or after `timeoutMs`. */
  drain(timeoutMs: number): Promise<void>;
}

export async function listen(parts: ServerParts, host: string, port: number): Promise<Listening> {
  let draining = false;
  const open = new Set<ServerResponse>();
  const silent = new Set<Socket>();
  const arriving = new Set<IncomingMessage>();
  const listener: RequestListener = (request, response) => {
    silent.delete(request.socket);
    if (!request.complete) {
      arriving.add(request);
      request.once('close', () => arriving.delete(request));
    }
    if (!CONTROL_PATH.test(request.url ?? '')) {
      dataPlane(parts, request, response, () => draining);
      return;
    }
    if (draining) response.setHeader('connection', 'close');
    open.add(response);
    response.once('close', () => open.delete(response));
    parts.control(request, response);
  };
  const server: Server = parts.tls === undefined ? createServer(listener) : createTlsServer(parts.tls, listener);
  server.on(parts.tls === undefined ? 'connection' : 'secureConnection', (socket: Socket) => {
    silent.add(socket);
    socket.once('close', () => silent.delete(socket));
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
      for (const response of open) if (!response.headersSent) response.setHeader('connection', 'close');
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      server.closeIdleConnections();
      // To node:http a connection is idle only after a request; load balancers open some long before theirs.
      const hangUp = setTimeout(() => {
        for (const socket of silent) socket.destroy();
      }, SILENT_MS);
      const giveUp = setTimeout(() => {
        for (const request of arriving) if (!request.complete) request.destroy();
      }, ARRIVING_MS);
      const timer = setTimeout(() => server.closeAllConnections(), timeoutMs);
      await closed;
      clearTimeout(hangUp);
      clearTimeout(giveUp);
      clearTimeout(timer);
    },
  };
}

/** A client that goes away in the middle of its body is dropped: nothing was reserved. */
function dataPlane(
  { handle }: ServerParts,
  request: IncomingMessage,
  response: ServerResponse,
  draining: () => boolean,
): void {
  const chunks: Buffer[] = [];
  let bytes = 0;
  request.on('data', (chunk: Buffer) => {
    bytes += chunk.length;
    if (bytes <= BODY_BYTES_MAX) chunks.push(chunk);
  });
  request.on('end', () => {
    const [only] = chunks;
    const whole = chunks.length === 1 && only !== undefined ? only : Buffer.concat(chunks);
    const incoming = incomingCall(request, response, bytes > BODY_BYTES_MAX ? undefined : whole);
    void handle(incoming).then((reply) => answer(response, reply, draining()));
  });
  request.on('error', () => undefined);
}

function incomingCall(
  { method = 'GET', url = '/', headers }: IncomingMessage,
  response: ServerResponse,
  body: Buffer | undefined,
): DataRequest {
  return {
    method,
    url,
    headers,
    body,
    gone: () => response.destroyed,
    onGone(leave) {
      response.once('close', leave);
      return () => void response.off('close', leave);
    },
  };
}

function answer(response: ServerResponse, reply: Reply | undefined, last: boolean): void {
  if (reply === undefined || response.destroyed) return;
  const headers: OutgoingHttpHeaders = Object.assign({ 'content-length': reply.body.length }, reply.headers);
  if (last) headers['connection'] = 'close';
  response.writeHead(reply.status, headers);
  response.end(reply.body);
}
