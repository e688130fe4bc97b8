/** Reading the environment and keybrake.yaml in tests. */
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ConfigError, proxyOptionsFromEnv } from '../../src/config';

export const API_KEY = 'kb_admin_0123456789abcdef';
export const LIVE = 'sk_live_51ABCDEFGHIJKLMNOP';
export const TEST = 'sk_test_51ABCDEFGHIJKLMNOP';
export const GOOD = { KEYBRAKE_API_KEY: API_KEY, STRIPE_SECRET_KEY: TEST };

const folder = mkdtempSync(join(tmpdir(), 'keybrake-config-'));

export function file(name: string, text: string): string {
  const path = join(folder, name);
  writeFileSync(path, text);
  return path;
}

/** The complaints about an environment; none when it can be used. */
export function complaints(env: Record<string, string>, read: (env: Record<string, string>) => unknown = proxyOptions) {
  try {
    read(env);
    return [];
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    const secrets = Object.values(env).filter((value) => /^(sk|rk|kb|pk)_/.test(value));
    expect(secrets.filter((secret) => error.message.includes(secret))).toEqual([]);
    return error.complaints.map(({ setting, problem, remedy }) => `${setting} ${problem} ${remedy}`);
  }
}

export function proxyOptions(env: Record<string, string>) {
  return proxyOptionsFromEnv(env);
}
