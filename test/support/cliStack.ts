/** Temporal, sandbox, proxy and worker for tests of the built command, and what tells the command where they are. */
import { mkdtempSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type DevStack, startDevStack } from '../../src/devStack';
import { createLogger } from '../../proxy/log';
import { installTemporalRuntime } from '../../src/worker';

export interface CliStack {
  /** Where the command runs, and where its sources are. */
  readonly folder: string;
  readonly stack: DevStack;
  readonly env: Readonly<Record<string, string>>;
}

/** Starts all of it before the tests of a file, or of a `describe`, and stops it after them: what is read of it is there by then. */
export function useCliStack(): CliStack {
  const folder = mkdtempSync(join(tmpdir(), 'keybrake-cli-'));
  let running: DevStack | undefined;
  const stack = (): DevStack => {
    if (running === undefined) throw new Error('The stack has not been started yet: read it in a test.');
    return running;
  };
  beforeAll(async () => {
    const logger = createLogger({ level: 'error' });
    installTemporalRuntime(logger);
    running = await startDevStack({ logger, sourceDir: folder, store: `sqlite:${join(folder, 'keybrake.db')}` });
  }, 120_000);
  afterAll(async () => {
    await running?.stop();
    await rm(folder, { recursive: true, force: true });
  }, 120_000);
  return {
    folder,
    get stack() {
      return stack();
    },
    get env() {
      const { proxy, apiKey, temporal } = stack();
      return { KEYBRAKE_URL: proxy.url, KEYBRAKE_API_KEY: apiKey, TEMPORAL_ADDRESS: temporal.address };
    },
  };
}
