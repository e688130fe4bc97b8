/** Lines that fit: columns of the audit log, and the progress bar in a narrow terminal. */
import { execFileSync } from 'node:child_process';
import { keybrake } from './support/cli';
import { barLine } from '../src/cli/progress';
import { cells, type Column, cutting, fields, fittedTo, table, titles, word } from '../src/cli/output';

interface Row {
  readonly record: string;
  readonly call: string;
}

const COLUMNS: readonly Column<Row>[] = [
  { title: 'RECORD', value: ({ record }) => record, widthMax: 20 },
  { title: 'CALL', value: ({ call }) => call },
];

describe('a listing', () => {
  const rows = [
    { record: 'a', call: 'POST /v1' },
    { record: 'cus_decline_edsger', call: 'POST /v1' },
  ];

  test('is as wide as its rows need, so that no value shifts the columns after it', () => {
    const fitted = fittedTo(rows, COLUMNS);
    const starts = rows.map((row) => cells(row, fitted).indexOf('POST'));
    expect(new Set([...starts, titles(fitted).indexOf('CALL')])).toEqual(new Set([20]));
  });

  test('cuts what is longer than a column may be for a person, and leaves it whole for a program', () => {
    const long = { record: 'x'.repeat(30), call: 'POST /v1' };
    const fitted = fittedTo([long], COLUMNS);
    expect(cells(long, fitted.map(cutting))).toBe(`${'x'.repeat(19)}…  POST /v1`);
    expect(cells(long, fitted)).toBe(`${'x'.repeat(30)}  POST /v1`);
  });

  test('is a line for each row, whatever control characters a vendor or a source has put into it', () => {
    const forged = 'x\n2026-11-29T10:00:00  settled\u001b[1A\u001b[2K\r\u009b2K\u007f\u2028\u2029\u202ea\u2066b\u2069';
    const shown = 'x 2026-11-29T10:00:00  settled [1A [2K  2K    a b';
    const row = { record: forged, call: 'POST /v1' };
    const fitted = fittedTo([row], [{ ...COLUMNS[0]!, widthMax: 80 }, COLUMNS[1]!]);
    expect(cells(row, fitted)).toBe(`${shown}   POST /v1`);
    expect(table([row], COLUMNS)).toHaveLength(2);
    expect(fields([['code', forged]])).toEqual([`  code  ${shown} `]);
  });

  test('keeps letters of every script as they are', () => {
    const text = 'ünïcode 顧客 مرحبا 👩‍👩‍👧';
    expect(fields([['label', text]])).toEqual([`  label  ${text}`]);
  });
});

test('an error is told without the control characters of a name or of what others said', async () => {
  const { stderr } = await keybrake(['run', 'a\u001b[2J\u202e.json']);
  expect(stderr).toMatch(/^keybrake: a \[2J \.json cannot be read: .*\n$/);
});

test('an id in a command to paste is one word there, whatever it holds', () => {
  expect(word('keybrake-billing/2026-11-24')).toBe('keybrake-billing/2026-11-24');
  for (const id of ['my job; echo $(id)', "it's", '`id`', '$HOME', 'a"b', '*', '']) {
    expect(execFileSync('sh', ['-c', `printf %s ${word(id)}`], { encoding: 'utf8' })).toBe(id);
  }
});

describe('the progress bar', () => {
  const parts = { label: 'billing/2026-11-24', done: 20, all: 40, money: '$50.00 of $100.00', note: '' };

  test('gives way to spend, cap and note where the terminal is narrow; the label is the next to', () => {
    expect(barLine(parts, 0.5, 120)).toBe(
      `billing/2026-11-24 ${'█'.repeat(12)}${'░'.repeat(12)} 20/40 $50.00 of $100.00`,
    );
    expect(barLine(parts, 0.5, 50)).toBe('billing/2026-11-24 ████░░░ 20/40 $50.00 of $100.00');
    expect(barLine(parts, 0.5, 40)).toBe('billing/2026-11… 20/40 $50.00 of $100.00');
    const note = 'waiting for cap: The cap of $100 is spent.';
    const noted = barLine({ ...parts, note }, 0.5, 80);
    expect(noted).toBe(`billing/2026… 20/40 $50.00 of $100.00 ${note}`);
    expect(noted).toHaveLength(80);
  });
});
