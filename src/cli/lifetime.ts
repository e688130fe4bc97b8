/** How long-running commands end: the first signal asks, the second one forces. */
import { tell } from './output';

const SIGNALS = ['SIGINT', 'SIGTERM'] as const;
const FORCED = 130;

/** Resolves at the first SIGINT or SIGTERM. Another one then ends the process at once, after `force` was called. */
export function untilSignalled(what: string, force: () => void = () => undefined): Promise<NodeJS.Signals> {
  return new Promise((resolve) => {
    let signals = 0;
    const onSignal = (signal: NodeJS.Signals): void => {
      signals += 1;
      if (signals > 1) {
        force();
        process.exit(FORCED);
      }
      tell(`\n${signal}: ${what}. Once more forces it.`);
      resolve(signal);
    };
    for (const signal of SIGNALS) process.on(signal, onSignal);
  });
}
