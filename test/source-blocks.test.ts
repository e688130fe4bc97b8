/** Records that are asked for one by one: read together where they lie together, and never from another file. */
import { truncateSync, utimesSync } from 'node:fs';
import { join } from 'node:path';
import { readRange, readRecord } from '../activities/sources';
import { BLOCK_BYTES, Blocks } from '../activities/sources/blocks';
import { env, failureOf, type FileSource, itemsOf, planOf, refsOf, removeSources, sourceDir } from './source-fixture';

afterAll(removeSources);

const FILE = Buffer.alloc(3 * BLOCK_BYTES, 'abcdefghij');

/** Blocks of {@link FILE}, what was read of it, and a clock. */
function blocksOfFile() {
  const looks: { readonly offset: number; readonly length: number }[] = [];
  const clock = { now: 0 };
  const blocks = new Blocks(() => clock.now);
  const read = (offset: number, length: number, file = 'a'): Promise<Buffer> =>
    blocks.read(file, { offset, length }, FILE.length, async (place) => {
      looks.push(place);
      return FILE.subarray(place.offset, place.offset + place.length);
    });
  return { read, looks, clock };
}

describe('blocks', () => {
  test('many that ask at once share one look at the file', async () => {
    const { read, looks } = blocksOfFile();
    const offsets = Array.from({ length: 50 }, (_, index) => index * 10);
    const parts = await Promise.all(offsets.map((offset) => read(offset, 10)));
    expect(parts.map(String)).toEqual(offsets.map(() => 'abcdefghij'));
    expect(looks).toEqual([{ offset: 0, length: BLOCK_BYTES }]);
  });

  test.each([
    ['across the end of a block', BLOCK_BYTES - 5, 10],
    ['longer than a block', 7, BLOCK_BYTES + 1],
    ['at the end of the file', FILE.length - 3, 3],
    ['empty', 20, 0],
  ])('what lies %s is whole', async (_, offset, length) => {
    const { read } = blocksOfFile();
    await read(0, 10);
    expect(await read(offset, length)).toEqual(FILE.subarray(offset, offset + length));
  });

  test('one file is never taken for another', async () => {
    const { read, looks } = blocksOfFile();
    await read(0, 10, 'a');
    await read(0, 10, 'b');
    expect(looks).toHaveLength(2);
  });

  test('what was read is good for less than a second', async () => {
    const { read, looks, clock } = blocksOfFile();
    await read(0, 10);
    clock.now = 999;
    await read(0, 10);
    expect(looks).toHaveLength(1);
    clock.now = 1_000;
    await read(0, 10);
    expect(looks).toHaveLength(2);
  });

  test('a look that failed fails all who waited for it, and is taken again', async () => {
    const blocks = new Blocks(() => 0);
    const place = { offset: 0, length: 1 };
    const broken = () => Promise.reject(new Error('gone'));
    const both = [blocks.read('a', place, 9, broken), blocks.read('a', place, 9, broken)];
    for (const read of both) await expect(read).rejects.toThrow('gone');
    expect(await blocks.read('a', place, 9, async () => Buffer.from('x'))).toEqual(Buffer.from('x'));
  });

  test('what is kept does not grow with the file', async () => {
    const { read, looks } = blocksOfFile();
    const files = Array.from({ length: 17 }, (_, index) => `file-${index}`);
    for (const file of files) await read(0, 10, file);
    await read(0, 10, 'file-16');
    expect(looks).toHaveLength(17);
    await read(0, 10, 'file-0');
    expect(looks).toHaveLength(18);
  });
});

test.each(['jsonl', 'csv'])(
  'each record of a %s file is what it is, in any order, wherever blocks end',
  async (kind) => {
    const filler = (index: number): string => 'é'.repeat((index * 7_919) % 3_000);
    const lines = Array.from({ length: 200 }, (_, index) => ({ id: `r${index}`, filler: filler(index) }));
    const rows = lines.map((line) => (kind === 'csv' ? `${line.id},${line.filler}` : JSON.stringify(line)));
    const plan = await planOf(kind, `${kind === 'csv' ? 'id,filler\n' : ''}${rows.join('\n')}\n`);
    const refs = await refsOf(plan, 50);
    const shuffled = refs.toSorted((a, b) => ((a.offset * 31) % 101) - ((b.offset * 31) % 101));
    for (const order of [refs, shuffled]) {
      const read = await Promise.all(order.map((ref) => readRecord(plan.source, ref, env)));
      expect(read).toEqual(order.map(({ line }) => lines[line - (kind === 'csv' ? 2 : 1)]));
    }
    expect((await itemsOf(plan)).map(({ record }) => record)).toEqual(lines);
  },
);

test('a source that changes is noticed a second later at the latest; until then its records are those of the plan', async () => {
  const plan = await planOf('jsonl', '{"id":1}\n{"id":2}\n');
  const [first, second] = await refsOf(plan, 2);
  const clock = { now: 0 };
  const kept = { ...env, blocks: new Blocks(() => clock.now) };
  expect(await readRecord(plan.source, first!, kept)).toEqual({ id: 1 });
  utimesSync(join(sourceDir, (plan.source as FileSource).path), 1, 1);
  expect(await readRecord(plan.source, second!, kept)).toEqual({ id: 2 });
  clock.now = 1_000;
  const failure = await failureOf(readRecord(plan.source, second!, kept));
  expect(failure).toMatchObject({ type: 'keybrake.source_changed', nonRetryable: true });
});

test('a source that is cut off while a range of it is read fails the reader: no record is passed over in silence', async () => {
  const line = `${JSON.stringify({ id: 'x'.repeat(1_000) })}\n`;
  const plan = await planOf('jsonl', line.repeat(1_000));
  const source = plan.source as FileSource;
  const { start, end } = plan.shards[0]!;
  const read = async (): Promise<number> => {
    let records = 0;
    for await (const _ of readRange(source, { start, end, line: 1 }, 'id', env)) {
      if (records === 0) truncateSync(join(sourceDir, source.path), 300_000);
      records += 1;
    }
    return records;
  };
  await expect(read()).rejects.toMatchObject({ type: 'keybrake.source_changed' });
});
