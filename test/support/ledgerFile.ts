/** A SQLite store on a file of its own, as its tests use it. */
import { copyFileSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Store } from '../../proxy/stores/store';

const folders: string[] = [];
afterAll(() => {
  for (const folder of folders) rmSync(folder, { recursive: true, force: true });
});

export function newPath(): string {
  const folder = mkdtempSync(join(tmpdir(), 'keybrake-log-'));
  folders.push(folder);
  return join(folder, 'ledger.db');
}

/** As a crash leaves it: every file as it is now. */
export function crashed(path: string): string {
  const copy = newPath();
  const from = join(path, '..');
  for (const name of readdirSync(from)) copyFileSync(join(from, name), join(copy, '..', name));
  return copy;
}

export function put(store: Store, name: string, value: string): Promise<void> {
  return store.commit((rows) => rows.put('meta', { name, value }));
}

export async function valuesIn(store: Store, names: readonly string[]): Promise<Record<string, string | undefined>> {
  let values: Record<string, string | undefined> = {};
  await store.commit((rows) => {
    values = Object.fromEntries(names.map((name) => [name, rows.get('meta', name)?.value]));
  });
  return values;
}
