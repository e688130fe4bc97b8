/** The tests' own Postgres. It is TypeScript, which nothing but jest compiles: here swc does, as it does there. */
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { transformFileSync } from '@swc/core';

const SOURCE = fileURLToPath(new URL('../../test/support/postgresServer.ts', import.meta.url));

/** Starts a server of its own; undefined, with a word, where its programs cannot be had. */
export async function startPostgres(say) {
  try {
    return await serverModule().startServer();
  } catch (error) {
    say(`Postgres is left out, because it cannot be started here: ${error.message}`);
    return undefined;
  }
}

function serverModule() {
  const { code } = transformFileSync(SOURCE, {
    jsc: { target: 'es2022', parser: { syntax: 'typescript' } },
    module: { type: 'commonjs' },
  });
  const module = { exports: {} };
  // oxlint-disable-next-line typescript/no-implied-eval
  new Function('require', 'exports', 'module', code)(createRequire(SOURCE), module.exports, module);
  return module.exports;
}
