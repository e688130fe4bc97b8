/** The vendors' Python SDKs, unmodified, from PyPI, and a `python3` that finds them. */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { cached } from './cache';

const run = promisify(execFile);

export const PYTHON_SDKS = ['stripe==16.1.0', 'twilio==9.13.0', 'resend==2.52.0'] as const;

/** Starts a script, by its path from this folder, with the SDKs at hand. Installs them once; needs `python3` with pip or venv. */
export async function startPython(
  script: string,
  args: readonly string[],
  { env, stderr = 'inherit' }: { readonly env?: NodeJS.ProcessEnv; readonly stderr?: 'inherit' | 'pipe' } = {},
): Promise<ChildProcess> {
  const folder = await pythonSdks();
  const loopback = { NO_PROXY: '127.0.0.1', no_proxy: '127.0.0.1' };
  return spawn('python3', [join(__dirname, script), ...args], {
    env: { ...process.env, ...loopback, PYTHONPATH: folder, ...env },
    stdio: ['pipe', 'pipe', stderr],
  });
}

async function pythonSdks(): Promise<string> {
  const { stdout: tag } = await run('python3', ['-c', 'import sys; print(sys.implementation.cache_tag)']).catch(
    (cause: unknown) => {
      throw new Error('These tests run the Python SDKs: install python3 with pip (or venv).', { cause });
    },
  );
  const name = ['python', tag.trim(), ...PYTHON_SDKS].join('-').replaceAll('==', '-');
  return cached(name, async (folder) => {
    const hasPip = await run('python3', ['-m', 'pip', '--version']).then(
      () => true,
      () => false,
    );
    if (hasPip) await install('python3', folder);
    else await installByVenv(folder);
  });
}

async function install(python: string, folder: string): Promise<void> {
  const pip = ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', '--target', folder];
  await run(python, [...pip, ...PYTHON_SDKS], { timeout: 240_000 });
}

/** Some have no pip of their own, but one that a virtual environment is made with. */
async function installByVenv(folder: string): Promise<void> {
  const venv = mkdtempSync(join(tmpdir(), 'keybrake-venv-'));
  try {
    await run('python3', ['-m', 'venv', venv]);
    await install(join(venv, 'bin/python'), folder);
  } finally {
    rmSync(venv, { recursive: true, force: true });
  }
}
