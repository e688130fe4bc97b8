/** Lines in parts on disk: what goes wrong with the disk is told to who writes, and no file stays open. */
import { mkdtempSync, readdirSync, readlinkSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { merged, Partitions } from '../activities/partitions';
import { eventually } from './support/temporal';

const PARTS = 8;
const folder = mkdtempSync(join(tmpdir(), 'keybrake-parts-'));
afterAll(() => rmSync(folder, { recursive: true }));

/** Descriptors of this process that lead into the folder. */
function openFiles(): number {
  return process.platform === 'linux' ? openLinks().filter((path) => path.startsWith(folder)).length : 0;
}

function openLinks(): string[] {
  return readdirSync('/proc/self/fd').flatMap((fd) => {
    try {
      return [readlinkSync(`/proc/self/fd/${fd}`)];
    } catch {
      return [];
    }
  });
}

interface Line {
  readonly n: number;
  readonly text: string;
}

/** So much that the parts are written to long before the end. */
async function written(name: string): Promise<Partitions<Line>> {
  const parts = await Partitions.open<Line>(folder, name, PARTS);
  try {
    for (let n = 0; n < 10_000; n += 1) await parts.write(n % PARTS, { n, text: 'ü'.repeat(200) });
    await parts.close();
    return parts;
  } finally {
    await parts.abandon();
  }
}

test('what was written is read again in its order, and two sets are merged', async () => {
  const parts = await written('whole');
  const all = merged(
    Array.from({ length: PARTS }, (_, part) => parts.read(part)),
    ({ n }) => n,
  );
  let next = 0;
  for await (const { n, text } of all) expect([n, text.length]).toEqual([next++, 200]);
  expect(next).toBe(10_000);
  await eventually(() => openFiles() === 0);
});

test('a file that cannot be made fails the writing, not the process', async () => {
  writeFileSync(join(folder, 'taken-3.ndjson'), '');
  await expect(written('taken')).rejects.toMatchObject({ code: 'EEXIST' });
  await eventually(() => openFiles() === 0);
});

test('a file that cannot be read fails the reading', async () => {
  const parts = await written('gone');
  rmSync(join(folder, 'gone-2.ndjson'));
  await expect(parts.read(2).next()).rejects.toMatchObject({ code: 'ENOENT' });
});

test('files are closed where writing or merging ends early', async () => {
  const abandoned = await Partitions.open<number>(folder, 'abandoned', PARTS);
  await abandoned.write(0, 1);
  await abandoned.abandon();
  const parts = await written('early');
  for await (const { n } of merged(
    Array.from({ length: PARTS }, (_, part) => parts.read(part)),
    (line) => line.n,
  )) {
    if (n === 100) break;
  }
  await eventually(() => openFiles() === 0);
});
