/** `keybrake dev`: Temporal with its UI, stand-ins for the vendors, the proxy and a worker, in one terminal. */
import { existsSync } from 'node:fs';
import { chmod, mkdir, readFile, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join, relative } from 'node:path';
import type { Command } from 'commander';
import type { ProxyOptions } from '../../proxy/options';
import { parseEnv } from 'node:util';
import { logLevelFromEnv, proxyOptionsFromEnv, secretsFromEnv } from '../config';
import type { DevStack } from '../devStack';
import { createLogger } from '../../proxy/log';
import { randomSecret } from '../secrets';
import { CliError, explain, tellError } from './errors';
import { EXIT } from './exitCodes';
import { untilSignalled } from './lifetime';
import { print, printJson, tell } from './output';
import { checkSourceDir, parsePort } from './parse';
import { terminalLog } from './shortLog';

interface Flags {
  readonly live?: boolean;
  readonly port: number;
  readonly temporalPort: number;
  readonly uiPort: number;
  readonly dir: string;
  readonly sourceDir: string;
  readonly json?: boolean;
}

/** Adds `dev`. */
export function addDev(program: Command): void {
  program
    .command('dev')
    .description(
      'Run everything on this machine: Temporal with its UI, stand-ins for the vendors, the proxy, a worker.',
    )
    .option('--live', 'call the accounts of the environment (STRIPE_SECRET_KEY, …) instead of the stand-ins')
    .option('--port <port>', 'port of the proxy', parsePort, 8787)
    .option('--temporal-port <port>', 'port of Temporal', parsePort, 7233)
    .option('--ui-port <port>', "port of Temporal's UI", parsePort, 8233)
    .option('--dir <path>', 'where ledger, workflows and keys are kept', '.keybrake')
    .option('--source-dir <path>', 'folder of input files', '.')
    .option('--json', 'print the addresses as JSON')
    .addHelpText('after', HELP)
    .action(dev);
}

const HELP = `
A port that is taken is replaced by a free one. Ctrl-C ends everything in order. A terminal shows the log in short;
KEYBRAKE_DEBUG=1 shows all of it, as JSON.`;

async function dev(flags: Flags): Promise<void> {
  checkSourceDir(flags.sourceDir);
  const signalled = untilSignalled('ending the worker, the proxy, the vendor and Temporal, in this order');
  const keys = await openFolder(flags.dir);
  const live: { readonly proxy?: LiveOptions } =
    flags.live === true ? { proxy: liveOptions({ ...process.env, ...keys }) } : {};
  const stream = terminalLog();
  const logger = createLogger({
    ...(stream !== undefined && { stream }),
    level: logLevelFromEnv(process.env, 'warn'),
    secrets: [
      ...secretsFromEnv(process.env),
      ...Object.values(keys),
      ...Object.values(live.proxy?.accounts ?? {}).map(({ secret }) => secret),
    ],
  });
  // Loaded when asked for: other commands start faster without.
  const [{ startDevStack }, { installTemporalRuntime }] = await Promise.all([
    import('../devStack.js'),
    import('../worker.js'),
  ]);
  installTemporalRuntime(logger);
  tell('Starting Temporal, the proxy and a worker …');
  const stack = await startDevStack({
    logger,
    sourceDir: flags.sourceDir,
    store: `sqlite:${join(flags.dir, 'keybrake.db')}`,
    apiKey: keys.KEYBRAKE_API_KEY,
    workerKey: keys.KEYBRAKE_WORKER_KEY,
    proxyPort: await free(flags.port),
    temporal: {
      dbFilename: join(flags.dir, 'temporal.db'),
      port: await free(flags.temporalPort),
      ui: (await free(flags.uiPort)) || true,
    },
    ...live,
  }).catch((error: unknown) => {
    throw ownWayOut(error);
  });
  try {
    await writeKeys(join(flags.dir, 'dev.env'), stack);
    await announce(stack, flags);
    const gone = stack.temporal.done.catch((error: unknown) => error);
    const end = await Promise.race([signalled, stack.worker.done, gone]);
    if (end instanceof Error) {
      // Said at once: the rest has stopped only when calls in flight have ended.
      tellError(end);
      tell('Ending the worker, the proxy and the vendor, in this order.');
      process.exitCode = EXIT.failed;
    }
  } finally {
    await stack.stop();
  }
}

/** What is dev's own (addresses, ledger, keys) is left out. */
const LIVE = [
  'accounts',
  'fxFloor',
  'prices',
  'vendors',
  'workerMaxMicros',
  'paceWaitMs',
  'paceQueueMax',
  'callbackUrl',
] as const satisfies readonly (keyof ProxyOptions)[];

type LiveOptions = Pick<ProxyOptions, (typeof LIVE)[number]>;

/** The real accounts and all that bounds the calls to them, checked as `keybrake proxy` checks them. */
export function liveOptions(env: Readonly<Record<string, string | undefined>>): LiveOptions {
  const options = proxyOptionsFromEnv(env);
  const given = LIVE.filter((name) => options[name] !== undefined).map((name) => [name, options[name]] as const);
  return Object.fromEntries(given) as unknown as LiveOptions;
}

/** Makes the folder where it is missing, and reads its keys. */
async function openFolder(dir: string): Promise<DevKeys> {
  try {
    await mkdir(dir, { recursive: true });
    return await readOrMakeKeys(join(dir, 'dev.env'));
  } catch (cause) {
    throw new CliError(`${dir} cannot be used (${explain(cause)}): name a folder that can be written with --dir.`, {
      cause,
    });
  }
}

/** The ledger's trouble names a setting that `dev` does not take. */
function ownWayOut(error: unknown): unknown {
  const told = explain(error);
  const own = told.replace(/name another ledger with KEYBRAKE_STORE/, 'name another folder with --dir');
  return own === told ? error : new CliError(own, { cause: error });
}

interface DevKeys {
  readonly KEYBRAKE_API_KEY: string;
  readonly KEYBRAKE_WORKER_KEY: string;
}

/** The role keys of the folder: kept, so that another terminal goes on working after a restart. */
async function readOrMakeKeys(path: string): Promise<DevKeys> {
  const kept = existsSync(path) ? parseEnv(await readFile(path, 'utf8')) : {};
  return {
    KEYBRAKE_API_KEY: kept['KEYBRAKE_API_KEY'] ?? randomSecret('kb_admin_'),
    KEYBRAKE_WORKER_KEY: kept['KEYBRAKE_WORKER_KEY'] ?? randomSecret('kb_worker_'),
  };
}

async function writeKeys(path: string, { apiKey, workerKey, proxy, temporal }: DevStack): Promise<void> {
  const lines = [
    `KEYBRAKE_URL=${proxy.url}`,
    `KEYBRAKE_API_KEY=${apiKey}`,
    `KEYBRAKE_WORKER_KEY=${workerKey}`,
    `TEMPORAL_ADDRESS=${temporal.address}`,
  ];
  await writeFile(path, `${lines.join('\n')}\n`, { mode: 0o600 });
  await chmod(path, 0o600);
}

/** The port, or 0 when something else listens on it. */
function free(port: number): Promise<number> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(0));
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(port)));
  });
}

async function announce(stack: DevStack, { dir, json }: Flags): Promise<void> {
  const { temporal, sandbox, proxy } = stack;
  const urls = { ui: temporal.uiUrl, temporal: temporal.address, proxy: proxy.url, vendor: sandbox?.url ?? 'live' };
  if (json === true) return printJson(urls);
  const environment = relative('.', join(dir, 'dev.env')) || 'dev.env';
  const lines = [
    '',
    `  Temporal UI   ${temporal.uiUrl ?? 'none'}`,
    `  Temporal      ${temporal.address}`,
    `  Proxy         ${proxy.url}`,
    sandbox === null
      ? '  Vendors       the accounts of the environment and of keybrake.yaml'
      : `  Vendors       stand-ins for Stripe, Twilio and Resend on ${sandbox.url}`,
    '',
    'In another terminal:',
    '',
    `  set -a; . ${environment.startsWith('/') ? environment : `./${environment}`}; set +a`,
    ...(sandbox === null ? [] : TRY_IT),
    '',
    'Ctrl-C ends everything.',
  ];
  for (const line of lines) await print(line);
}

const TRY_IT = [
  `  seq 1 40 | sed 's/.*/{"id":"cus_&","amount_cents":250}/' > customers.jsonl`,
  '  npx keybrake run --source customers.jsonl --endpoint "POST /v1/payment_intents" --cap 50 \\',
  "    --param 'amount={{amount_cents}}' --param currency=usd --param 'customer={{id}}' --param confirm=true",
  '',
  `  seq 1000 1039 | sed 's/.*/{"id":"p&","phone":"+1415556&"}/' > people.jsonl`,
  '  npx keybrake run --vendor twilio --source people.jsonl --cap 0.5 --param From=+15005550006 --param Body=Hello \\',
  "    --param 'To={{phone}}' --endpoint 'POST /2010-04-01/Accounts/{AccountSid}/Messages.json'",
];
