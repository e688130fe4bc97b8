/** The vendors' official SDKs: optional, and loaded when an activity asks for one. */
import { ApplicationFailure } from '@temporalio/common';
import { FAILURES } from './codes';

/**
 * The client that `make` puts together with the package `name`. Where that is not installed, an object that says so as
 * soon as it is used: `const { stripe, twilio } = vault(id)` must not ask for both.
 */
export function withSdk<T extends object>(name: string, versions: string, make: () => T): T {
  try {
    return make();
  } catch (error) {
    if (!isMissing(error, name)) throw error;
    return new Proxy({} as T, {
      get() {
        throw ApplicationFailure.create({
          type: FAILURES.noContext,
          message: `vault().${name} needs the package "${name}": npm install ${name} (${versions}), or use vault().fetch.`,
          nonRetryable: true,
          cause: error,
        });
      },
    });
  }
}

/** Not there at all; a package that is there and broken is told as it is. */
function isMissing(error: unknown, name: string): error is Error {
  const { code, message } = error as { code?: unknown; message?: unknown };
  return code === 'MODULE_NOT_FOUND' && String(message).startsWith(`Cannot find module '${name}'`);
}
