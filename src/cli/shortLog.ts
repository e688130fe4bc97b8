/** The log for a person at a terminal: a line for each entry. Elsewhere, and with `KEYBRAKE_DEBUG=1`, it is JSON. */
import { type DestinationStream, destination } from 'pino';
import { harmless } from './output';

const LEVELS: Readonly<Record<number, string>> = {
  10: 'trace',
  20: 'debug',
  30: 'info',
  40: 'warn',
  50: 'error',
  60: 'fatal',
};
const TEXT_CHARS_MAX = 500;
/** Of what Temporal tells, what says where to look. */
const OF_TEMPORAL = ['activityType', 'workflowType', 'workflowId', 'attempt'];
const TOLD_ELSEWHERE = new Set(['level', 'time', 'pid', 'msg', 'err', 'temporal']);

/** Where log lines go in `keybrake dev`; undefined: as they are, to stderr. */
export function terminalLog(): DestinationStream | undefined {
  if (!process.stderr.isTTY || process.env['KEYBRAKE_DEBUG'] === '1') return undefined;
  const stderr = destination({ fd: 2, sync: true });
  return { write: (line) => void stderr.write(`${shortLine(line)}\n`) };
}

/** `09:15:02 warn Activity failed activityType=… attempt=3: why`, of a line of the log. */
export function shortLine(line: string): string {
  const entry = parsed(line);
  if (entry === undefined) return harmless(line.trimEnd());
  const { level, time, msg, err, temporal } = entry;
  const of = record(temporal);
  const told = [
    ...Object.entries(entry).filter(([name]) => !TOLD_ELSEWHERE.has(name)),
    ...OF_TEMPORAL.map((name) => [name, of[name]] as const),
  ];
  const marks = told.filter(([, value]) => ['string', 'number', 'boolean'].includes(typeof value));
  const words = [String(time).slice(11, 19), LEVELS[Number(level)] ?? '', text(msg)];
  const where = marks.map(([name, value]) => `${name}=${String(value)}`);
  const why = text(record(err)['message']);
  const said = [...words, ...where].filter((word) => word !== '').join(' ');
  return harmless(why === '' ? said : `${said}: ${why}`).slice(0, TEXT_CHARS_MAX);
}

function parsed(line: string): Readonly<Record<string, unknown>> | undefined {
  try {
    return record(JSON.parse(line));
  } catch {
    return undefined;
  }
}

function text(value: unknown): string {
  return typeof value === 'string' ? value : '';
}

function record(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null ? (value as Readonly<Record<string, unknown>>) : {};
}
