/** Counts the vendor calls that a proxy of this process receives: what an SDK really sent, retries included. */
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import type { IncomingMessage } from 'node:http';

const CHANNEL = 'http.server.request.start';

export interface Received {
  /** The calls since the last call of this; of one vault key only, when it is given. */
  take(vaultKey?: string): number;
  stop(): void;
}

export function countReceived(port: number): Received {
  let seen: string[] = [];
  const onRequest = (message: unknown): void => {
    const { request } = message as { request: IncomingMessage };
    const isControl = request.url?.startsWith('/vault') === true;
    if (request.socket.localPort === port && !isControl) seen.push(secretOf(request.headers.authorization ?? ''));
  };
  subscribe(CHANNEL, onRequest);
  return {
    take(vaultKey) {
      const mine = seen.filter((key) => vaultKey === undefined || key === vaultKey);
      seen = seen.filter((key) => !mine.includes(key));
      return mine.length;
    },
    stop: () => void unsubscribe(CHANNEL, onRequest),
  };
}

/** The token of a Bearer, the password of a Basic. */
function secretOf(authorization: string): string {
  const [scheme, value = ''] = authorization.split(' ', 2);
  return scheme === 'Basic' ? (Buffer.from(value, 'base64').toString().split(':')[1] ?? '') : value;
}
