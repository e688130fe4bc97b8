/** The thread that keeps the tables: it applies the records that it is sent, so that the process need not wait for it. */
import { parentPort, workerData } from 'node:worker_threads';
import { connect } from './schema';
import { TableWorker, type Turn } from './turn';

export interface ThreadData {
  readonly path: string;
  readonly syncBytes: number;
  /** A sync failed before there was a thread. */
  readonly distrusted: boolean;
}
export interface ToThread {
  readonly records: readonly Uint8Array[];
  /** There will be no more. */
  readonly close: boolean;
}
export type FromThread = (Turn & { readonly closed?: boolean }) | { readonly failed: string };

const RETRY_MS = 200;

if (parentPort !== null) {
  const port = parentPort;
  const { path, syncBytes, distrusted } = workerData as ThreadData;
  const db = connect(path);
  const worker = new TableWorker(db, syncBytes, distrusted);
  let waiting: Buffer[] = [];
  let timer: NodeJS.Timeout | undefined;
  let closing = false;

  const say = (message: FromThread) => port.postMessage(message);

  const close = ({ applied }: Turn) => {
    const synced = worker.sync();
    db.close();
    say({ applied, ...(synced && { synced: applied }), closed: true });
    port.close();
  };

  function turn(): void {
    clearTimeout(timer);
    try {
      const turned = worker.turn(waiting);
      waiting = [];
      if (closing) close(turned);
      else say(turned);
    } catch (error) {
      say({ failed: error instanceof Error ? error.message : String(error) });
      // What is not in the tables is in the log, and is applied at the next start.
      if (closing) port.close();
      else timer = setTimeout(turn, RETRY_MS);
    }
  }

  port.on('message', ({ records, close: last }: ToThread) => {
    for (const { buffer, byteOffset, length } of records) {
      waiting.push(Buffer.from(buffer as ArrayBuffer, byteOffset, length));
    }
    closing = last;
    turn();
  });
}
