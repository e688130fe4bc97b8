/** A wire to Postgres that breaks, or goes dead, at the moment that a test chooses. */
import { once } from 'node:events';
import { createServer, type AddressInfo, connect, type Socket } from 'node:net';

/** `asked`: the commit does not reach the server. `answered`: it is written, and its answer does not come back. */
export type Cut = 'commit asked' | 'commit answered';

export interface Wire {
  /** An address of the database, over this wire. */
  over(url: string): string;
  /** Cuts the connection that commits next, at this moment of its commit; answers when that has happened. */
  cutAt(moment: Cut): Promise<void>;
  /** From its next answer on that holds rows, the connection is silent both ways, but open. */
  stallAfterNextRead(): Promise<void>;
  /** New connections lead to another server. */
  leadTo(port: number): void;
  /** Ends all connections. */
  cutAll(): void;
  /** Whether all connections end at once, new ones too. */
  refuse(yes: boolean): void;
  close(): Promise<void>;
}

const COMMIT = Buffer.from('COMMIT\0');

export async function startWire(port: number): Promise<Wire> {
  let target = port;
  const sockets = new Set<Socket>();
  let cut: { readonly at: Cut; readonly done: () => void } | undefined;
  let stall: (() => void) | undefined;

  let refusing = false;

  const server = createServer((near) => {
    if (refusing) {
      near.destroy();
      return;
    }
    const far = connect(target, '127.0.0.1');
    let silent = false;
    const end = (): void => {
      near.destroy();
      far.destroy();
    };
    const cutHere = (): void => {
      cut?.done();
      cut = undefined;
      end();
    };
    near.on('data', (chunk) => {
      if (silent) return;
      if (cut?.at === 'commit asked' && chunk.includes(COMMIT)) cutHere();
      else far.write(chunk);
    });
    far.on('data', (chunk) => {
      if (silent) return;
      if (cut?.at === 'commit answered' && chunk.includes(COMMIT)) cutHere();
      else near.write(chunk);
      // The clock is what a commit reads last before it writes.
      if (stall === undefined || !chunk.includes('SELECT 1')) return;
      silent = true;
      stall();
      stall = undefined;
    });
    for (const socket of [near, far]) {
      sockets.add(socket);
      socket.on('error', end);
      socket.on('close', () => {
        sockets.delete(socket);
        end();
      });
    }
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const mine = (server.address() as AddressInfo).port;

  return {
    over: (url) => url.replace(`:${port}/`, `:${mine}/`),
    cutAt: (at) => new Promise((done) => (cut = { at, done })),
    stallAfterNextRead: () => new Promise((done) => (stall = done)),
    leadTo(other) {
      target = other;
    },
    cutAll() {
      for (const socket of sockets) socket.destroy();
    },
    refuse(yes) {
      refusing = yes;
      if (yes) for (const socket of sockets) socket.destroy();
    },
    async close() {
      if (!server.listening) return;
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, 'close');
    },
  };
}
