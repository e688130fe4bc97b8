/** `keybrake proxy`: the proxy alone. */
import type { Command } from 'commander';
import { VARIABLES, logLevelFromEnv, proxyOptionsFromEnv, secretsFromEnv } from '../config';
import { createLogger } from '../../proxy/log';
import { listening, untilSignalled } from './lifetime';
import { print, printJson } from './output';
import { parsePort } from './parse';

interface Flags {
  readonly host?: string;
  readonly port?: number;
  readonly store?: string;
  readonly json?: boolean;
}

/** Adds `proxy`. */
export function addProxy(program: Command): void {
  program
    .command('proxy')
    .description('Run the proxy. It is set up by environment variables; flags go before them.')
    .option('--host <address>', 'address to listen on')
    .option('--port <port>', 'port to listen on; 0: any free one', parsePort)
    .option('--store <store>', 'the ledger: sqlite:./keybrake.db, or postgres://user@host/database')
    .option('--json', 'print where it listens as JSON')
    .addHelpText('after', environmentHelp('proxy'))
    .action(proxy);
}

/** The variables that a program reads, for its help. */
export function environmentHelp(program: 'proxy' | 'worker'): string {
  const rows = Object.entries(VARIABLES)
    .filter(([, spec]) => spec.for.includes(program))
    .map(([name, { meaning, byDefault }]) => [name, `${meaning}${byDefault === '' ? '' : ` [${byDefault}]`}`] as const);
  const all = program === 'proxy' ? [...rows, ...CREDENTIALS] : rows;
  const width = Math.max(...all.map(([name]) => name.length));
  return `\nEnvironment:\n${all.map(([name, meaning]) => `  ${name.padEnd(width)}  ${meaning}`).join('\n')}`;
}

const CREDENTIALS = [
  ['STRIPE_SECRET_KEY', 'The real Stripe key: stays in here, as do those below.'],
  ['TWILIO_ACCOUNT_SID', 'The Twilio account, with TWILIO_AUTH_TOKEN, or TWILIO_API_KEY and TWILIO_API_SECRET.'],
  ['TWILIO_AUTH_TOKEN', 'Its auth token.'],
  ['TWILIO_API_KEY', 'An API key of it, SK…, instead.'],
  ['TWILIO_API_SECRET', 'The secret of that API key.'],
  ['RESEND_API_KEY', 'The real Resend key.'],
] as const;

const PORT_TAKEN = 'Choose another port with KEYBRAKE_PORT or --port.';

async function proxy(flags: Flags): Promise<void> {
  const env = {
    ...process.env,
    ...(flags.host !== undefined && { KEYBRAKE_HOST: flags.host }),
    ...(flags.port !== undefined && { KEYBRAKE_PORT: String(flags.port) }),
    ...(flags.store !== undefined && { KEYBRAKE_STORE: flags.store }),
  };
  // Before the log, so that a wrong level is told together with all else that is wrong.
  const options = proxyOptionsFromEnv(env);
  // Of accounts in keybrake.yaml, whatever the variables of their secrets are called.
  const secrets = [...secretsFromEnv(env), ...Object.values(options.accounts).map(({ secret }) => secret)];
  const logger = createLogger({ level: logLevelFromEnv(env), secrets });
  // Loaded when asked for: other commands start faster without.
  const { startProxy } = await import('../../proxy/index.js');
  const running = await listening(startProxy({ ...options, logger }), PORT_TAKEN);
  const signalled = untilSignalled('no new calls; those in flight end and settle first');
  if (flags.json === true) await printJson({ url: running.url, port: running.port });
  else await print(`Keybrake proxy on ${running.url}`);
  await signalled;
  await running.close();
}
