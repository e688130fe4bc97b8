/** Beam's direct runner in a Python environment of its own. */
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { pythonEnvironment } from '../python.mjs';

const run = promisify(execFile);
const RUN_TIMEOUT_MS = 5 * 60_000;

/** Python with Beam and Stripe's SDK; undefined, and a word about it, when they cannot be installed. */
export async function beamPython(say) {
  const packages = ['apache-beam', 'stripe'];
  const folder = await pythonEnvironment('bench-venv', packages, ['apache_beam', 'stripe'], say);
  return folder && join(folder, 'bin', 'python');
}

/** Records per second, without the start of Python. */
export async function runBeam(python, upstream, path, records) {
  const script = fileURLToPath(new URL('./beam_direct.py', import.meta.url));
  const { stdout } = await run(python, [script, upstream, path], { timeout: RUN_TIMEOUT_MS });
  const done = JSON.parse(stdout.trim().split('\n').at(-1));
  if (done.records !== records) throw new Error(`Beam charged ${done.records} of ${records} records`);
  return records / done.seconds;
}
