/**
 * The thread that keeps the tables: it applies the records that it is sent some time later, many at once, so that the
 * process that serves calls does not wait for it.
 */
import { parentPort, workerData } from 'node:worker_threads';
import { connect } from './schema';
import { TableWorker, type Turn } from './turn';

export interface ThreadData {
  readonly path: string;
  readonly syncBytes: number;
}
export type ToThread = { readonly record: Uint8Array } | 'flush' | 'close';
export type FromThread = (Turn & { readonly closed?: boolean }) | { readonly failed: string };

/** A row that changes twice within this time is written once. */
export const APPLY_AFTER_MS = 300;
/** From so many bytes on nothing is waited for. */
const APPLY_BYTES = 4 * 1024 * 1024;
const RETRY_MS = 200;

if (parentPort !== null) {
  const port = parentPort;
  const { path, syncBytes } = workerData as ThreadData;
  const db = connect(path);
  const worker = new TableWorker(db, syncBytes);
  let waiting: Buffer[] = [];
  let bytes = 0;
  let timer: NodeJS.Timeout | undefined;
  let closing = false;

  const say = (message: FromThread) => port.postMessage(message);
  const later = (ms: number) => (timer ??= setTimeout(turn, ms));

  const close = (turned: Turn) => {
    const synced = worker.sync();
    db.close();
    say({ applied: turned.applied, ...(synced && { synced: turned.applied }), closed: true });
    port.close();
  };

  function turn(): void {
    clearTimeout(timer);
    timer = undefined;
    try {
      const turned = worker.turn(waiting);
      waiting = [];
      bytes = 0;
      if (closing) close(turned);
      else say(turned);
    } catch (error) {
      say({ failed: error instanceof Error ? error.message : String(error) });
      // What is not in the tables is in the log, and is applied at the next start.
      if (closing) port.close();
      else later(RETRY_MS);
    }
  }

  port.on('message', (message: ToThread) => {
    if (message === 'close') closing = true;
    if (message === 'flush' || message === 'close') {
      turn();
      return;
    }
    const { buffer, byteOffset, length } = message.record;
    waiting.push(Buffer.from(buffer as ArrayBuffer, byteOffset, length));
    bytes += length;
    if (bytes >= APPLY_BYTES) turn();
    else later(APPLY_AFTER_MS);
  });
}
