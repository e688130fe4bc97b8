/** What tests install for themselves is kept per user, so that neither a fresh clone nor `npm ci` loads it again. */
import { existsSync, mkdirSync, mkdtempSync, renameSync, rmSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';

/** `$XDG_CACHE_HOME/keybrake/test`, else under `~/.cache`: beside the Temporal CLI. */
function cacheFolder(): string {
  const cache = process.env['XDG_CACHE_HOME'];
  return join(cache !== undefined && cache !== '' ? cache : join(homedir(), '.cache'), 'keybrake/test');
}

/** The folder of that name in the cache; `make` fills it when it is not there yet. */
export async function cached(name: string, make: (folder: string) => Promise<void>): Promise<string> {
  const folder = join(cacheFolder(), name);
  if (existsSync(folder)) return folder;
  mkdirSync(cacheFolder(), { recursive: true });
  // Made aside and moved when it is whole, so that neither a cut nor a second run finds half of it.
  const making = mkdtempSync(join(cacheFolder(), 'making-'));
  try {
    await make(making);
    if (!existsSync(folder)) renameSync(making, folder);
  } finally {
    rmSync(making, { recursive: true, force: true });
  }
  return folder;
}
