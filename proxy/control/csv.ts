/** CSV (RFC 4180) for spreadsheets, which run a cell that begins like a formula. */

/**
 * Also what stands after a tab or line end at the beginning, since spreadsheets drop these, and after a semicolon, a tab or
 * a line end: where commas are for decimals, these part cells, and a quotation mark in the middle does not hold them
 * together. The wide forms are signs of a formula in East Asian settings.
 */
const FORMULA = /^(?:\s*[=+\-@＝＋－＠]|[\t\r\n])|(?<=[;\t\r\n][\s"]*)[=+\-@＝＋－＠]/g;
const NEEDS_QUOTES = /[",\r\n]/;

export type Cell = string | number | null;

/** One line with its CRLF. What begins like a formula in a text gets a `'` before it; numbers are left as they are. */
export function csvLine(cells: readonly Cell[]): string {
  return `${cells.map(csvCell).join(',')}\r\n`;
}

function csvCell(cell: Cell): string {
  if (cell === null) return '';
  if (typeof cell === 'number') return String(cell);
  const text = cell.replaceAll(FORMULA, "'$&");
  return NEEDS_QUOTES.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
