/** Beam's direct runner in a Python environment of its own, kept in the user's cache. */
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const run = promisify(execFile);
const INSTALL_TIMEOUT_MS = 10 * 60_000;
const RUN_TIMEOUT_MS = 5 * 60_000;

/** Python with Beam and Stripe's SDK; undefined, and a word about it, when they cannot be installed. */
export async function beamPython(say) {
  const cache = process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache');
  const venv = join(cache, 'keybrake-temporal', 'bench-venv');
  const python = join(venv, 'bin', 'python');
  try {
    if (existsSync(python) && (await imports(python))) return python;
    say(`installing apache-beam and stripe into ${venv} (once, some minutes) …`);
    await rm(venv, { recursive: true, force: true });
    await run('python3', ['-m', 'venv', venv]);
    await run(python, ['-m', 'pip', 'install', '--quiet', 'apache-beam', 'stripe'], { timeout: INSTALL_TIMEOUT_MS });
    return python;
  } catch (error) {
    say(
      `Beam is left out: it could not be installed (${String(error.stderr || error.message)
        .trim()
        .slice(-300)}).`,
    );
    return undefined;
  }
}

function imports(python) {
  return run(python, ['-c', 'import apache_beam, stripe']).then(
    () => true,
    () => false,
  );
}

/** Records per second, without the start of Python. */
export async function runBeam(python, upstream, path, records) {
  const script = fileURLToPath(new URL('./beam_direct.py', import.meta.url));
  const { stdout } = await run(python, [script, upstream, path], { timeout: RUN_TIMEOUT_MS });
  const done = JSON.parse(stdout.trim().split('\n').at(-1));
  if (done.records !== records) throw new Error(`Beam charged ${done.records} of ${records} records`);
  return records / done.seconds;
}
