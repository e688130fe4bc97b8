/** CSV (RFC 4180) for spreadsheets, which run a cell that begins like a formula. */

/** Also tab and line ends: spreadsheets drop them, and what follows is the beginning. */
const FORMULA = /^[=+\-@\t\r\n]/;
const NEEDS_QUOTES = /[",\r\n]/;

export type Cell = string | number | null;

/** One line with its CRLF. Text that begins like a formula gets a leading `'`; numbers are left as they are. */
export function csvLine(cells: readonly Cell[]): string {
  return `${cells.map(csvCell).join(',')}\r\n`;
}

function csvCell(cell: Cell): string {
  if (cell === null) return '';
  if (typeof cell === 'number') return String(cell);
  const text = FORMULA.test(cell) ? `'${cell}` : cell;
  return NEEDS_QUOTES.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
