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
  /** For rows that come one by one: the width to keep to; longer values push the rest of the line. */
  readonly width?: number;
}

/** Rows under their titles, each column as wide as its widest value. Two spaces between, nothing at the line's end. */
export function table<Row>(rows: readonly Row[], columns: readonly Column<Row>[]): string[] {
  const fitted = columns.map((column) => {
    const longest = Math.max(column.title.length, ...rows.map((row) => column.value(row).length));
    return { ...column, width: longest };
  });
  return [titles(fitted), ...rows.map((row) => cells(row, fitted))];
}

/** The title line of columns that have a width. */
export function titles<Row>(columns: readonly Column<Row>[]): string {
  return join(columns.map((column) => pad(column.title, column)));
}

/** One row of columns that have a width. */
export function cells<Row>(row: Row, columns: readonly Column<Row>[]): string {
  return join(columns.map((column) => pad(column.value(row), column)));
}

/** Names and values under each other. Fields whose value is null are left out. */
export function fields(pairs: readonly (readonly [name: string, value: string | null])[]): string[] {
  const shown = pairs.filter(([, value]) => value !== null);
  const width = Math.max(0, ...shown.map(([name]) => name.length));
  return shown.map(([name, value]) => `  ${name.padEnd(width)}  ${value}`);
}

function pad<Row>(text: string, { width = 0, right = false }: Column<Row>): string {
  return right ? text.padStart(width) : text.padEnd(width);
}

function join(parts: readonly string[]): string {
  return parts.join('  ').trimEnd();
}
