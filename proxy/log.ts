/** The log: JSON lines on stderr, without secrets whatever a caller passes in. */
import { type DestinationStream, type Logger, destination, pino } from 'pino';
import { hideSecrets } from './redact';

export const LOG_LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

export interface LogOptions {
  readonly level?: LogLevel;
  /** Hidden wherever they occur, beside what looks like a key. */
  readonly secrets?: readonly string[];
  /** stderr by default. */
  readonly stream?: DestinationStream;
}

/** A pino logger whose every line passes through {@link hideSecrets} before it is written. */
export function createLogger({ level = 'info', secrets = [], stream }: LogOptions = {}): Logger {
  return pino(
    {
      level,
      base: { pid: process.pid },
      timestamp: pino.stdTimeFunctions.isoTime,
      // The last step of all, so that nothing gets past it: not a child logger's bindings, not an error's stack.
      hooks: { streamWrite: (line) => hideSecrets(line, secrets) },
    },
    stream ?? destination({ fd: 2, sync: true }),
  );
}
