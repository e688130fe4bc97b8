/** A Python of the tests' own, with one package in it, kept between runs. */
import { execFile } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);
const CACHE = join(__dirname, '../../node_modules/.cache/keybrake');

/** The path of a Python that has the package, e.g. `stripe==16.1.0`. Made once; needs `python3` and an index to load from. */
export async function pythonWith(requirement: string): Promise<string> {
  const folder = join(CACHE, `python-${requirement.replaceAll(/[^\w.]+/g, '-')}`);
  const python = join(folder, 'bin/python');
  if (existsSync(python)) return python;
  mkdirSync(CACHE, { recursive: true });
  // Made aside and moved when it is whole, so that neither a cut nor a second run finds half of it.
  const making = mkdtempSync(join(CACHE, 'making-'));
  try {
    await run('python3', ['-m', 'venv', making]);
    const pip = ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', requirement];
    await run(join(making, 'bin/python'), pip, { timeout: 240_000 });
    if (!existsSync(folder)) renameSync(making, folder);
  } finally {
    rmSync(making, { recursive: true, force: true });
  }
  return python;
}
