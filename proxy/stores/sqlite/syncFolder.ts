import { closeSync, fsyncSync, openSync } from 'node:fs';
import { dirname, resolve } from 'node:path';

/** Makes the name of a file that was just made durable: else it can be gone after a power cut, with all that is in it. */
export function syncFolderOf(path: string): void {
  const folder = openSync(dirname(resolve(path)), 'r');
  try {
    fsyncSync(folder);
  } finally {
    closeSync(folder);
  }
}
