/** How long-running commands begin and end: at their port; the first signal asks, the second one forces. */
import { CliError } from './errors';
import { EXIT_AT } from './exitCodes';
import { tell } from './output';

const HOST_PROBLEMS: Readonly<Record<string, string>> = {
  ENOTFOUND: 'has no address',
  EAI_AGAIN: 'has no address that could be found out now',
  EADDRNOTAVAIL: 'is no address of this machine',
};

/** What has been started, or why it could not have its host or port. `remedy` says which setting chooses another port. */
export async function listening<T>(started: Promise<T>, remedy: string): Promise<T> {
  try {
    return await started;
  } catch (error) {
    const { code, hostname, address, port } = error as NodeJS.ErrnoException & { [name: string]: string | undefined };
    const host = HOST_PROBLEMS[code ?? ''];
    if (host !== undefined) {
      throw new CliError(`The host ${hostname ?? address} ${host}: correct KEYBRAKE_HOST.`, { cause: error });
    }
    if (port === undefined || (code !== 'EADDRINUSE' && code !== 'EACCES')) throw error;
    const problem = code === 'EACCES' ? 'may not be used' : 'is taken by another program';
    throw new CliError(`Port ${port} of ${address} ${problem}. ${remedy}`, { cause: error });
  }
}

/**
 * Resolves at the first SIGINT, SIGTERM or SIGHUP (a terminal that is gone must not cut calls off). Another one then ends
 * the process at once, after `force` was called.
 */
export function untilSignalled(what: string, force: () => void = () => undefined): Promise<NodeJS.Signals> {
  return new Promise((resolve) => {
    const signals = Object.keys(EXIT_AT) as (keyof typeof EXIT_AT)[];
    let heard = 0;
    const onSignal = (signal: keyof typeof EXIT_AT): void => {
      heard += 1;
      if (heard > 1) {
        force();
        process.exit(EXIT_AT[signal]);
      }
      tell(`\n${signal}: ${what}. Once more forces it.`);
      resolve(signal);
    };
    for (const signal of signals) process.on(signal, () => onSignal(signal));
  });
}
