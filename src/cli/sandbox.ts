/** `keybrake sandbox`: stand-ins for the vendors, on loopback. */
import { type Command, InvalidArgumentError } from 'commander';
import { type TwilioOptions, startSandbox } from '../sandbox';
import { listening, untilSignalled } from './lifetime';
import { print, printJson, tell } from './output';
import { parseCount, parseMs, parsePort } from './parse';

interface Flags {
  readonly port: number;
  readonly secretKey?: string;
  readonly twilio?: TwilioOptions;
  readonly resendKey?: string;
  readonly late?: number;
  readonly delay?: number;
  readonly limit?: number;
  readonly json?: boolean;
}

/** Adds `sandbox`. */
export function addSandbox(program: Command): void {
  program
    .command('sandbox')
    .description(
      'Run stateful stand-ins for Stripe, Twilio and Resend on loopback. They forget everything when it ends.',
    )
    .option('--port <port>', 'port; 0: any free one', parsePort, 8788)
    .option('--secret-key <key>', 'accept this secret of Stripe only, e.g. sk_test_…')
    .option('--twilio <sid:token>', 'accept this account of Twilio only, e.g. AC…:…', parseTwilio)
    .option('--resend-key <key>', 'accept this key of Resend only, e.g. re_…')
    .option('--late <ms>', "when a message's price is known, e.g. 2000; otherwise when told to advance", parseMs)
    .option('--delay <ms>', 'how long each call takes', parseMs)
    .option('--limit <n>', 'answer 429 to more calls in a second than this, e.g. 20', parseCount)
    .option('--json', 'print where it listens as JSON')
    .addHelpText('after', HELP)
    .action(sandbox);
}

const HELP = `
Ask it what it has executed:  curl http://127.0.0.1:8788/_sandbox/stats
Let messages arrive:          curl -d '{}' http://127.0.0.1:8788/_sandbox/twilio/advance
Let it fail:                  curl -d '{"dropAfter":0.1}' http://127.0.0.1:8788/_sandbox/faults`;

async function sandbox({ port, secretKey, twilio, resendKey, late, delay, limit, json }: Flags): Promise<void> {
  const starting = startSandbox({
    port,
    ...(secretKey !== undefined && { secretKey }),
    twilio: { ...twilio, ...(late !== undefined && { lateMs: late }) },
    ...(resendKey !== undefined && { resend: { apiKey: resendKey } }),
    ...(delay !== undefined && { delayMs: delay }),
    ...(limit !== undefined && { limitPerSecond: limit }),
  });
  const running = await listening(starting, 'Choose another port with --port.');
  const signalled = untilSignalled('ending');
  if (json === true) await printJson({ url: running.url, port: running.port });
  else await print(`Stripe, Twilio and Resend stand-in on ${running.url}`);
  tell(`Point the proxy to it: KEYBRAKE_STRIPE_UPSTREAM=${running.url} (and so for TWILIO and RESEND)`);
  await signalled;
  await running.stop();
}

function parseTwilio(text: string): TwilioOptions {
  const [, accountSid, authToken] = /^(AC[^:]+):(.+)$/.exec(text) ?? [];
  if (accountSid === undefined || authToken === undefined) throw new InvalidArgumentError('Write AC…:token.');
  return { accountSid, authToken };
}
