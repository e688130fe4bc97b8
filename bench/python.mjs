/** Python environments of the bench, one for each peer, kept in the user's cache. */
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);
const INSTALL_TIMEOUT_MS = 10 * 60_000;

/**
 * The folder of an environment that holds `packages`, installed once and proved by importing `modules`; undefined, and a
 * word about it, when it cannot be had.
 */
export async function pythonEnvironment(name, packages, modules, say) {
  const cache = process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache');
  const folder = join(cache, 'keybrake-temporal', name);
  const python = join(folder, 'bin', 'python');
  try {
    if (existsSync(python) && (await imports(python, modules))) return folder;
    say(`installing ${packages.join(' and ')} into ${folder} (once, some minutes) …`);
    await rm(folder, { recursive: true, force: true });
    await run('python3', ['-m', 'venv', folder]);
    await run(python, ['-m', 'pip', 'install', '--quiet', ...packages], { timeout: INSTALL_TIMEOUT_MS });
    if (!(await imports(python, modules))) throw new Error(`${modules.join(', ')} cannot be imported`);
    return folder;
  } catch (error) {
    const words = String(error.stderr || error.message).trim();
    say(`${packages[0]} is left out: it could not be installed (${words.slice(-300)}).`);
    return undefined;
  }
}

function imports(python, modules) {
  return run(python, ['-c', `import ${modules.join(', ')}`]).then(
    () => true,
    () => false,
  );
}
