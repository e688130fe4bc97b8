/** `keybrake sandbox`: stand-ins for the vendors, on loopback. */
import type { Command } from 'commander';
import { startSandbox } from '../sandbox';
import { untilSignalled } from './lifetime';
import { print, printJson, tell } from './output';
import { parsePort } from './parse';

interface Flags {
  readonly port: number;
  readonly secretKey?: string;
  readonly delay?: number;
  readonly json?: boolean;
}

/** Adds `sandbox`. */
export function addSandbox(program: Command): void {
  program
    .command('sandbox')
    .description('Run a stateful stand-in for Stripe on loopback. It forgets everything when it ends.')
    .option('--port <port>', 'port; 0: any free one', parsePort, 8788)
    .option('--secret-key <key>', 'accept this secret only, e.g. sk_test_…')
    .option('--delay <ms>', 'how long each call takes', Number)
    .option('--json', 'print where it listens as JSON')
    .addHelpText('after', HELP)
    .action(sandbox);
}

const HELP = `
Ask it what it has executed:  curl http://127.0.0.1:8788/_sandbox/stats
Let it fail:                  curl -d '{"dropAfter":0.1}' http://127.0.0.1:8788/_sandbox/faults`;

async function sandbox({ port, secretKey, delay, json }: Flags): Promise<void> {
  const running = await startSandbox({
    port,
    ...(secretKey !== undefined && { secretKey }),
    ...(delay !== undefined && { delayMs: delay }),
  });
  const signalled = untilSignalled('ending');
  if (json === true) await printJson({ url: running.url, port: running.port });
  else await print(`Stripe stand-in on ${running.url}`);
  tell(`Point the proxy to it: KEYBRAKE_STRIPE_UPSTREAM=${running.url}`);
  await signalled;
  await running.stop();
}
