/** Record boundaries found by byte are those that csv-parse finds, wherever the file is cut. */
import { parse } from 'csv-parse/sync';
import * as fc from 'fast-check';
import { createScanner, type Span } from '../activities/sources/scanner';
import { ShardPlanner, SHARDS_MAX } from '../activities/sources/shards';

/** What is left of a random CSV when it is cut into shards and each is scanned in chunks of any size. */
function cutAndScan(bytes: Buffer, shardRecords: number, chunkBytes: number): string[] {
  const spansOf = (start: number, end: number, line: number): Span[] => {
    const spans: Span[] = [];
    const scanner = createScanner('csv', { offset: start, line });
    for (let at = start; at < end; at += chunkBytes) {
      scanner.push(bytes.subarray(at, Math.min(end, at + chunkBytes)), (span) => spans.push(span));
    }
    scanner.end((span) => spans.push(span));
    expect(scanner.malformed).toBeUndefined();
    return spans;
  };
  const planner = new ShardPlanner(shardRecords, 8);
  for (const { offset, line } of spansOf(0, bytes.length, 1)) planner.add(offset, line);
  const shards = planner.finish(bytes.length);
  expect(shards.length).toBeLessThanOrEqual(8);
  return shards.flatMap(({ start, end, firstLine, records }) => {
    const spans = spansOf(start, end, firstLine);
    expect(spans).toHaveLength(records);
    for (const { offset, line } of spans) expect(line).toBe(bytes.subarray(0, offset).toString().split('\n').length);
    return spans.map(({ offset, length }) => bytes.subarray(offset, offset + length).toString());
  });
}

const OPTIONS = { record_delimiter: ['\r\n', '\n'], skip_empty_lines: true, relax_column_count: true };

function csvParseRefuses(text: string): boolean {
  try {
    parse(text, OPTIONS);
    return false;
  } catch {
    return true;
  }
}

function scannerRefuses(text: string): boolean {
  const scanner = createScanner('csv', { offset: 0, line: 1 });
  scanner.push(Buffer.from(text), () => undefined);
  scanner.end(() => undefined);
  return scanner.malformed !== undefined;
}

describe('the boundary scanner', () => {
  const piece = fc.constantFrom('a', 'é', '"', ',', '\n', '\r\n', '\r', ' ', '😀', '');
  const value = fc.array(piece, { maxLength: 5 }).map((pieces) => pieces.join(''));
  const field = value.chain((text) => {
    const quoted = `"${text.replaceAll('"', '""')}"`;
    return /[",\n\r]/.test(text) ? fc.constant(quoted) : fc.constantFrom(text, quoted);
  });
  const row = fc.array(field, { minLength: 1, maxLength: 4 }).map((fields) => fields.join(','));
  // Lines of white space alone are records to csv-parse and blank to us.
  const rows = fc.array(fc.tuple(row, fc.constantFrom('\n', '\r\n', '\n\n')).filter(([text]) => !/^ +$/.test(text)));

  test('shards of any size concatenate to what csv-parse reads in the whole file', () => {
    fc.assert(
      fc.property(
        rows,
        fc.integer({ min: 1, max: 5 }),
        fc.integer({ min: 1, max: 9 }),
        fc.boolean(),
        (all, size, chunk, cut) => {
          const text = all.map(([row_, end]) => row_ + end).join('');
          const bytes = Buffer.from(cut ? text.replace(/[\r\n]+$/, '') : text);
          const whole = parse(bytes, OPTIONS);
          const parts = cutAndScan(bytes, size, chunk).flatMap((record) => parse(record.replace(/\r$/, ''), OPTIONS));
          expect(parts).toEqual(whole);
        },
      ),
      { numRuns: 2_000 },
    );
  });

  test('what csv-parse refuses to read, the scanner refuses too, and nothing else', () => {
    // A last line that ends in a bare carriage return after a quote is taken as if it had its line feed.
    const text = fc
      .array(piece)
      .map((pieces) => `a${pieces.join('')}`)
      .filter((whole) => !whole.endsWith('"\r'));
    fc.assert(
      fc.property(text, (whole) => expect(scannerRefuses(whole)).toBe(csvParseRefuses(whole))),
      { numRuns: 2_000 },
    );
  });
});

describe('shards', () => {
  test('however many records there are, there are never more than the most shards', () => {
    const planner = new ShardPlanner(10);
    const count = 123_457;
    for (let index = 0; index < count; index++) planner.add(index, index + 1);
    const shards = planner.finish(count);
    expect(shards.length).toBeGreaterThan(SHARDS_MAX / 4);
    expect(shards.length).toBeLessThanOrEqual(SHARDS_MAX);
    expect(shards.map(({ end, start }) => end - start)).toEqual(shards.map(({ records }) => records));
    expect(shards.reduce((sum, { records }) => sum + records, 0)).toBe(count);
    expect(shards.map(({ start }) => start).slice(1)).toEqual(shards.map(({ end }) => end).slice(0, -1));
  });
});
