/** The file that the ledger's log is written to: what was added is there, byte by byte, however the disk is written. */
import { constants, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as fc from 'fast-check';
import { SyncedFile } from '../proxy/stores/sqlite/syncedFile';

const folder = mkdtempSync(join(tmpdir(), 'keybrake-synced-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const MIB = 1024 * 1024;
let files = 0;

function newFile(direct: number | undefined) {
  const path = join(folder, `file-${(files += 1)}`);
  return { path, file: new SyncedFile(path, direct) };
}

async function add(file: SyncedFile, record: Buffer, wait = true): Promise<void> {
  await file.grow(record.length);
  await file.add(record, wait);
}

function filled(bytes: number, seed: number): Buffer {
  return Buffer.from(Array.from({ length: bytes }, (_, index) => 1 + ((index * 31 + seed) % 255)));
}

const ways = [
  ['past the cache, where this disk can', constants.O_DIRECT],
  ['where the system knows no such way', undefined],
] as const;

describe.each(ways)('%s', (_, direct) => {
  test('records of any size follow one another, and what an earlier turn wrote stays behind them only', async () => {
    const sizes = fc.oneof(fc.integer({ min: 1, max: 300 }), fc.integer({ min: 3_000, max: 20_000 }));
    const steps = fc.array(fc.record({ bytes: sizes, wait: fc.boolean(), rewind: fc.boolean() }), { maxLength: 20 });
    await fc.assert(
      fc.asyncProperty(steps, async (all) => {
        const { path, file } = newFile(direct);
        let records: Buffer[] = [];
        for (const [index, { bytes, wait, rewind }] of all.entries()) {
          if (rewind) {
            file.rewind();
            records = [];
          }
          records.push(filled(bytes, index));
          await add(file, records.at(-1) as Buffer, wait);
          const whole = Buffer.concat(records);
          expect(file.end).toBe(whole.length);
          expect(readFileSync(path).subarray(0, whole.length).equals(whole)).toBe(true);
        }
        file.close();
      }),
      { numRuns: 40 },
    );
  });

  test('a record larger than what is written at a time is whole, and so is the next one', async () => {
    const { path, file } = newFile(direct);
    const records = [filled(5_000, 1), filled(2 * MIB + 777, 2), filled(10, 3)];
    for (const record of records) await add(file, record, false);
    const whole = Buffer.concat(records);
    expect(readFileSync(path).subarray(0, whole.length).equals(whole)).toBe(true);
    file.close();
  });

  test('behind the last record there are zeros, as far as the file has grown', async () => {
    const { path, file } = newFile(direct);
    await add(file, filled(4_000, 1));
    await add(file, filled(200, 2));
    const bytes = readFileSync(path);
    expect(bytes.length).toBe(MIB);
    expect(bytes.subarray(4_200).every((byte) => byte === 0)).toBe(true);
    file.close();
  });
});
