/** What commands print: lines, JSON, and columns that line up. Results go to stdout, all else to stderr. */
import { once } from 'node:events';

/** One line on stdout. Waits where the reader is slower than we are. */
export async function print(line: string): Promise<void> {
  if (!process.stdout.write(`${line}\n`)) await once(process.stdout, 'drain');
}

/** One line on stderr: progress and advice, which a pipe must not receive. */
export function tell(line: string): void {
  process.stderr.write(`${line}\n`);
}

/** A value as JSON on stdout. */
export async function printJson(value: unknown): Promise<void> {
  await print(JSON.stringify(value, null, 2));
}

export interface Column<Row> {
  readonly title: string;
  readonly value: (row: Row) => string;
  readonly right?: boolean;
  /** What the column is fitted to; longer values push the rest of the line. */
  readonly width?: number;
  /** For rows that come one by one: the most that a long value among the first of them may widen the column to. */
  readonly widthMax?: number;
}

/** Rows under their titles, each column as wide as its widest value. Two spaces between, nothing at the line's end. */
export function table<Row>(rows: readonly Row[], columns: readonly Column<Row>[]): string[] {
  const fitted = fittedTo(rows, columns);
  return [titles(fitted), ...rows.map((row) => cells(row, fitted))];
}

/** Rows by which the columns of a listing are fitted; what comes after them keeps to that. */
const ROWS_TO_FIT = 200;

/** Prints rows as they come, under titles, once the first of them show how wide the columns are. Answers their number. */
export async function printRows<Row>(rows: AsyncIterable<Row>, columns: readonly Column<Row>[]): Promise<number> {
  const first: Row[] = [];
  let count = 0;
  let show: ((row: Row) => Promise<void>) | undefined;
  const begin = async (): Promise<(row: Row) => Promise<void>> => {
    const fitted = fittedTo(first, columns);
    await print(titles(fitted));
    const cut = process.stdout.isTTY;
    const shown = (row: Row): Promise<void> => print(cells(row, cut ? fitted.map(cutting) : fitted));
    for (const row of first) await shown(row);
    return shown;
  };
  try {
    for await (const row of rows) {
      count += 1;
      if (show !== undefined) await show(row);
      else if (first.push(row) === ROWS_TO_FIT) show = await begin();
    }
  } finally {
    // Also of an answer that is broken off: what came of it is shown.
    if (show === undefined && count > 0) await begin();
  }
  return count;
}

/** The columns as wide as the rows need, within their bounds. */
export function fittedTo<Row>(rows: readonly Row[], columns: readonly Column<Row>[]): readonly Column<Row>[] {
  return columns.map((column) => {
    const longest = Math.max(column.title.length, ...rows.map((row) => column.value(row).length));
    return { ...column, width: Math.min(longest, column.widthMax ?? Infinity) };
  });
}

/** Nobody reads on after a value that shifts the rest of the line; a program must have it whole. */
export function cutting<Row>(column: Column<Row>): Column<Row> {
  const { width, widthMax } = column;
  if (width === undefined || widthMax === undefined) return column;
  return { ...column, value: (row) => cutTo(column.value(row), width) };
}

/** A text of at most so many characters: the rest is an ellipsis. */
export function cutTo(text: string, chars: number): string {
  return text.length <= chars ? text : `${text.slice(0, Math.max(0, chars - 1))}…`;
}

/** The title line of columns that have a width. */
export function titles<Row>(columns: readonly Column<Row>[]): string {
  return join(columns.map((column) => pad(column.title, column)));
}

/** One row of columns that have a width. */
export function cells<Row>(row: Row, columns: readonly Column<Row>[]): string {
  return join(columns.map((column) => pad(harmless(column.value(row)), column)));
}

/** What ends a line, moves a terminal's cursor, or turns the direction in which a line is read. */
const CONTROLS = /[\p{Cc}\u2028\u2029\u202a-\u202e\u2066-\u2069]/gu;

/** A text of others, a vendor's code say, for a person's terminal: in one line, which it cannot make look like another. */
export function harmless(text: string): string {
  return text.replaceAll(CONTROLS, ' ');
}

/** The same of a text of several lines, which it keeps. */
export function harmlessLines(text: string): string {
  return text.split('\n').map(harmless).join('\n');
}

/** An id as a word of a command that a person pastes into a shell: no id says what else is done there. */
export function word(id: string): string {
  return /^[\w@%+=:,./-]+$/.test(id) ? id : `'${harmless(id).replaceAll("'", String.raw`'\''`)}'`;
}

/** Names and values under each other. Fields whose value is null are left out. */
export function fields(pairs: readonly (readonly [name: string, value: string | null])[]): string[] {
  const shown = pairs.filter(([, value]) => value !== null);
  const width = Math.max(0, ...shown.map(([name]) => name.length));
  return shown.map(([name, value]) => `  ${name.padEnd(width)}  ${harmless(value ?? '')}`);
}

function pad<Row>(text: string, { width = 0, right = false }: Column<Row>): string {
  return right ? text.padStart(width) : text.padEnd(width);
}

function join(parts: readonly string[]): string {
  return parts.join('  ').trimEnd();
}
