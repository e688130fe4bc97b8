/** Counts the HTTP requests that a server of this process receives, by port: what an SDK really sent, retries included. */
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import type { IncomingMessage } from 'node:http';

const CHANNEL = 'http.server.request.start';

export interface Received {
  /** The requests since the last call of this. */
  take(): number;
  stop(): void;
}

export function countReceived(port: number): Received {
  let count = 0;
  const onRequest = (message: unknown): void => {
    const { request } = message as { request: IncomingMessage };
    if (request.socket.localPort === port && request.url?.includes('/v1/') === true) count += 1;
  };
  subscribe(CHANNEL, onRequest);
  return {
    take() {
      const taken = count;
      count = 0;
      return taken;
    },
    stop: () => void unsubscribe(CHANNEL, onRequest),
  };
}
