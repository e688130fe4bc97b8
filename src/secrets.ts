import { randomBytes } from 'node:crypto';

/** A random key for a role, or a vendor's secret in a sandbox. */
export function randomSecret(prefix: string): string {
  return `${prefix}${randomBytes(24).toString('hex')}`;
}
