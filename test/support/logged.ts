import { Writable } from 'node:stream';
import { type Logger, pino } from 'pino';

export interface Line {
  readonly level: number;
  readonly msg: string;
  readonly reason?: string;
}

/** A logger, and what it has written. */
export function logged(): { readonly logger: Logger; readonly lines: Line[] } {
  const lines: Line[] = [];
  const sink = new Writable({
    write(chunk, _, done) {
      lines.push(JSON.parse(String(chunk)) as Line);
      done();
    },
  });
  return { logger: pino(sink), lines };
}
