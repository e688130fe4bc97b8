/** Paths inside the source directory: no `..`, no absolute paths, no symbolic link that leads out. */
import { constants } from 'node:fs';
import { access, lstat, open, realpath, type FileHandle } from 'node:fs/promises';
import { basename, dirname, isAbsolute, join, relative, sep } from 'node:path';
import { ApplicationFailure } from '@temporalio/common';
import { FAILURES } from '../codes';
import { invalidInput } from '../inputIssues';
import type { Blocks } from './blocks';

/** Where this worker reads its sources. */
export interface SourceEnv {
  /** `KEYBRAKE_SOURCE_DIR`, absolute. */
  readonly sourceDir: string;
  /** The worker's host name, for messages. */
  readonly host: string;
  /** What was read of the sources a moment ago. */
  readonly blocks: Blocks;
}

const PATH_CHARS_MAX = 1_000;

/** What is nobody's records: hidden files, and what Keybrake itself may keep in the folder, its master key before all. */
const PRIVATE = /^\.(?!\.?$)|\.(?:db|sqlite3?)(?:[-.].*)?$|\.(?:env|key|keys|pem)$|^keybrake\.ya?ml$/i;

function isPrivate(path: string): boolean {
  return path.split(/[\\/]/).some((segment) => PRIVATE.test(segment));
}

/** What is wrong with a path before any file is looked at, or undefined. */
export function pathIssue(path: string): string | undefined {
  if (path.trim() === '' || path.length > PATH_CHARS_MAX) return `must be a path of 1 to ${PATH_CHARS_MAX} characters`;
  if (/\p{Cc}/u.test(path)) return 'must not hold control characters';
  if (isAbsolute(path) || /^[A-Za-z]:/.test(path)) return 'must be relative to KEYBRAKE_SOURCE_DIR';
  if (path.split(/[\\/]/).includes('..')) return 'must stay inside KEYBRAKE_SOURCE_DIR: no ".."';
  if (isPrivate(path)) return 'must not name a hidden file or folder, a ledger, a key or settings';
  return undefined;
}

/** Opens a source file for reading. Missing is retryable, since another worker may have it; all else is not. */
export async function openSource(path: string, env: SourceEnv): Promise<FileHandle> {
  const real = await resolveInside(path, 'source.path', env);
  let file: FileHandle | undefined;
  try {
    // A pipe would block the open for ever without O_NONBLOCK.
    file = await open(real, constants.O_RDONLY | constants.O_NONBLOCK);
    if (!(await file.stat()).isFile()) throw invalidInput([{ path: 'source.path', message: 'must name a file' }]);
    return file;
  } catch (error) {
    await file?.close();
    throw toFailure(error, path, 'source.path', env);
  }
}

/** The absolute path to write results to. Its folder must exist, and it must not be the source. */
export async function resolveResults(path: string, sourcePath: string | null, env: SourceEnv): Promise<string> {
  const issue = pathIssue(path);
  if (issue !== undefined) throw invalidInput([{ path: 'results.path', message: issue }]);
  const folder = await resolveInside(dirname(path), 'results.path', env);
  const target = join(folder, basename(path));
  const existing = await lstat(target).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'ENAMETOOLONG') return undefined;
    const message = `is longer than worker ${env.host} can name a file: most file systems take names of 255 bytes`;
    throw invalidInput([{ path: 'results.path', message }]);
  });
  if (existing !== undefined && !existing.isFile()) {
    throw invalidInput([{ path: 'results.path', message: 'must be a new file or one that may be replaced' }]);
  }
  if (sourcePath !== null && target === (await resolveInside(sourcePath, 'source.path', env))) {
    throw invalidInput([{ path: 'results.path', message: 'must not be the source itself' }]);
  }
  if (existing !== undefined && !(await isOfResults(target))) {
    const message = 'is there and holds no results of a run: name another file, or remove that one';
    throw invalidInput([{ path: 'results.path', message }]);
  }
  return target;
}

/** How a line of results begins. */
const RESULT_LINE = '{"record_id":';

/** May the file be replaced? One that cannot be read is somebody else's. */
async function isOfResults(target: string): Promise<boolean> {
  const file = await open(target, constants.O_RDONLY | constants.O_NONBLOCK).catch(() => undefined);
  if (file === undefined) return false;
  try {
    const { buffer, bytesRead } = await file.read(Buffer.alloc(RESULT_LINE.length), 0, RESULT_LINE.length, 0);
    return bytesRead === 0 || buffer.toString() === RESULT_LINE;
  } finally {
    await file.close();
  }
}

/** Throws where this worker may not write into the folder of the results: before the first call, better than after the last. */
export async function checkWritable(target: string, { host }: SourceEnv): Promise<void> {
  try {
    await access(dirname(target), constants.W_OK | constants.X_OK);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    const wayOut = 'Let the user that the worker runs as write there, or name another folder.';
    const message = `its folder cannot be written by worker ${host} (${code}). ${wayOut}`;
    throw invalidInput([{ path: 'results.path', message }]);
  }
}

async function resolveInside(path: string, field: string, env: SourceEnv): Promise<string> {
  const issue = pathIssue(path);
  if (issue !== undefined) throw invalidInput([{ path: field, message: issue }]);
  try {
    const root = await realpath(env.sourceDir);
    const real = await realpath(join(root, path));
    const inside = relative(root, real);
    if (inside === '..' || inside.startsWith(`..${sep}`) || isAbsolute(inside)) {
      throw invalidInput([{ path: field, message: 'leads out of KEYBRAKE_SOURCE_DIR' }]);
    }
    if (isPrivate(inside)) throw invalidInput([{ path: field, message: 'leads to a hidden file, a ledger or a key' }]);
    return real;
  } catch (error) {
    throw toFailure(error, path, field, env);
  }
}

function toFailure(error: unknown, path: string, field: string, { host, sourceDir }: SourceEnv): unknown {
  if (error instanceof ApplicationFailure) return error;
  const code = typeof error === 'object' && error !== null && 'code' in error ? error.code : undefined;
  if (code === 'ENOENT' || code === 'ENOTDIR') {
    return ApplicationFailure.create({
      type: FAILURES.sourceMissing,
      message:
        `Worker ${host} has no "${path}" in ${sourceDir}. ` +
        'Every worker needs the sources in its KEYBRAKE_SOURCE_DIR; this is tried again.',
      nonRetryable: false,
    });
  }
  if (code === 'EMFILE' || code === 'ENFILE' || code === 'EIO') return error;
  const why = typeof code === 'string' ? code : 'unknown error';
  return invalidInput([{ path: field, message: `worker ${host} cannot read it (${why})` }]);
}
