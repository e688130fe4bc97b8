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
  readonly stop: () => Promise<void>;
}

export async function startCliStack(): Promise<CliStack> {
  const folder = mkdtempSync(join(tmpdir(), 'keybrake-cli-'));
  const logger = createLogger({ level: 'error' });
  installTemporalRuntime(logger);
  const stack = await startDevStack({ logger, sourceDir: folder, store: `sqlite:${join(folder, 'keybrake.db')}` });
  return {
    folder,
    stack,
    env: { KEYBRAKE_URL: stack.proxy.url, KEYBRAKE_API_KEY: stack.apiKey, TEMPORAL_ADDRESS: stack.temporal.address },
    stop: async () => {
      await stack.stop();
      await rm(folder, { recursive: true, force: true });
    },
  };
}
