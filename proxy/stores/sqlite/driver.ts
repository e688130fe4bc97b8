import type BetterSqlite3 from 'better-sqlite3';

/** From this major version of Node on, better-sqlite3 13 is used: it is built on Node-API and needs no compiler. */
const NAPI_FROM_NODE = 22;

const WAY_OUT =
  'Install again with a C++ compiler and Python 3 at hand and with install scripts allowed (`npm rebuild better-sqlite3` ' +
  'builds it alone), or use Node 22 or later, which needs none of them.';

/** npm leaves a driver out that is not for the Node it runs on. */
const INSTALL_AGAIN = 'Install again with the Node that is to run, and without `--omit=optional`.';

/**
 * SQLite for the Node that runs. better-sqlite3 12 is the last for Node 20, but aborts the process on Node 24.16 and
 * later whenever a statement is garbage-collected (an assertion in `node::RemoveEnvironmentCleanupHook`; reported as
 * WiseLibs/better-sqlite3#1515); better-sqlite3 13 needs Node 22. Both have one API.
 * Throws an Error that says what to do when the driver was not installed.
 */
export function loadDriver(version = process.versions.node): typeof BetterSqlite3 {
  const napi = Number(version.split('.', 1)[0]) >= NAPI_FROM_NODE;
  const name = napi ? 'better-sqlite3-napi' : 'better-sqlite3';
  try {
    return require(name) as typeof BetterSqlite3;
  } catch (cause) {
    throw new Error(`The SQLite driver ${name} is not installed. ${napi ? INSTALL_AGAIN : WAY_OUT}`, { cause });
  }
}

/**
 * What is wrong with a driver whose native part was not built (npm that runs no install scripts says nothing) or was
 * built for another Node, and what to do; undefined: the error is another. It shows when the first file is opened.
 */
export function unbuilt(cause: unknown): string | undefined {
  if (!(cause instanceof Error)) return undefined;
  if (cause.message.startsWith('Could not locate the bindings file')) return `its driver was never built. ${WAY_OUT}`;
  const { code } = cause as { readonly code?: unknown };
  return code === 'ERR_DLOPEN_FAILED' ? `its driver was built for another Node or machine. ${WAY_OUT}` : undefined;
}
