/** The environment, read once and checked: a wrong setting stops the start with the whole list of complaints. */
import { unescape } from 'node:querystring';
import { CAP_USD_MAX, type Micros, usdToMicros } from '../../proxy/contract';
import type { KeybrakeClientOptions } from '../../proxy/client';
import type { ProxyOptions } from '../../proxy/options';
import { LOG_LEVELS, type LogLevel } from '../../proxy/log';
import { readAccounts } from './accounts';
import { Complaints } from './complaints';
import { readConfigFile } from './file';
import { vendorSettings } from './prices';
import { folderProblem } from './folder';
import { readCallbackUrl, readPort, readProxyUrl, readTls } from './network';
import { type Environment, checkNames, read } from './variables';

export { type Complaint, ConfigError } from './complaints';
export { folderProblem } from './folder';
export { type Environment, VARIABLES } from './variables';

const DEFAULT_HOST = '127.0.0.1';
const DEFAULT_PORT = 8787;
const DEFAULT_STORE = 'sqlite:./keybrake.db';
/** Roles are guarded by these alone, so they must not be guessable. */
const ROLE_KEY_LENGTH_MIN = 20;
const MASTER_KEY_LENGTH_MIN = 32;
const REQUIRED = true;

/** What `keybrake proxy` runs with, all but its logger. Throws {@link ConfigError}. */
export function proxyOptionsFromEnv(env: Environment): Omit<ProxyOptions, 'logger'> {
  const complaints = new Complaints();
  checkNames(env, complaints);
  readLogLevel(env, complaints);
  // In brackets, as it stands in addresses.
  const host = (read(env, 'KEYBRAKE_HOST') ?? DEFAULT_HOST).replace(/^\[(.*)\]$/, '$1');
  const port = readPort(env, 'KEYBRAKE_PORT', complaints) ?? DEFAULT_PORT;
  const publicUrl = readProxyUrl(env, complaints);
  const callbackUrl = readCallbackUrl(env, complaints);
  const store = readStore(env, complaints);
  const apiKey = readRoleKey(env, 'KEYBRAKE_API_KEY', complaints, REQUIRED);
  const workerKey = readRoleKey(env, 'KEYBRAKE_WORKER_KEY', complaints);
  if (workerKey !== undefined && workerKey === apiKey) {
    complaints.add('KEYBRAKE_WORKER_KEY', 'is the same as KEYBRAKE_API_KEY.', 'Give each role its own key.');
  }
  const workerMaxMicros = readDollars(env, 'KEYBRAKE_WORKER_MAX_USD', complaints);
  const masterKeys = readMasterKeys(env, complaints);
  if (isPostgres(store) && read(env, 'KEYBRAKE_MASTER_KEY') === undefined) {
    const remedy = 'Set it to the same secret on every proxy of this ledger: openssl rand -hex 32';
    complaints.add('KEYBRAKE_MASTER_KEY', 'is not set, and a ledger in Postgres needs it.', remedy);
  }
  const spool = readSpool(env, store, complaints);
  const { file, draft } = readConfigFile(env, complaints);
  const accounts = readAccounts(env, draft, complaints);
  const tls = readTls(env, host, complaints);
  complaints.check();
  return {
    host,
    port,
    store,
    apiKey: apiKey ?? '',
    accounts,
    fxFloor: file.fx_floors,
    ...vendorSettings(file.prices, file.vendors),
    ...(file.pacing.wait_ms !== undefined && { paceWaitMs: file.pacing.wait_ms }),
    ...(file.pacing.queue !== undefined && { paceQueueMax: file.pacing.queue }),
    ...(workerKey !== undefined && { workerKey }),
    ...(workerMaxMicros !== undefined && { workerMaxMicros }),
    ...(masterKeys !== undefined && { masterKeys }),
    ...(spool !== undefined && { spool }),
    ...(tls !== undefined && { tls }),
    ...(publicUrl !== undefined && { publicUrl: trimmed(publicUrl) }),
    ...(callbackUrl !== undefined && { callbackUrl: trimmed(callbackUrl) }),
  };
}

/** How the CLI reaches the proxy: the admin key, or the worker's where that is all there is. */
export function clientOptionsFromEnv(env: Environment): KeybrakeClientOptions & { readonly role: 'admin' | 'worker' } {
  const complaints = new Complaints();
  checkNames(env, complaints);
  const url = readClientUrl(env, complaints);
  const apiKey = readRoleKey(env, 'KEYBRAKE_API_KEY', complaints);
  const workerKey = readRoleKey(env, 'KEYBRAKE_WORKER_KEY', complaints);
  if (apiKey === undefined && workerKey === undefined && !complaints.any) {
    complainOfMissing('KEYBRAKE_API_KEY', complaints, KNOWN_SECRET);
  }
  complaints.check();
  return { url, apiKey: apiKey ?? workerKey ?? '', role: apiKey === undefined ? 'worker' : 'admin' };
}

export interface WorkerSettings {
  readonly url: string;
  readonly workerKey: string;
  readonly sourceDir: string;
}

/** What `keybrake worker` runs with. It never holds the admin key. */
export function workerOptionsFromEnv(env: Environment): WorkerSettings {
  const complaints = new Complaints();
  checkNames(env, complaints);
  readLogLevel(env, complaints);
  const url = readClientUrl(env, complaints);
  const workerKey = readRoleKey(env, 'KEYBRAKE_WORKER_KEY', complaints);
  if (read(env, 'KEYBRAKE_WORKER_KEY') === undefined)
    complainOfMissing('KEYBRAKE_WORKER_KEY', complaints, KNOWN_SECRET);
  const sourceDir = read(env, 'KEYBRAKE_SOURCE_DIR') ?? process.cwd();
  const unfit = folderProblem(sourceDir);
  if (unfit !== undefined)
    complaints.add('KEYBRAKE_SOURCE_DIR', `names ${sourceDir}, ${unfit}.`, 'Correct it, or make it.');
  complaints.check();
  return { url, workerKey: workerKey ?? '', sourceDir };
}

/** `KEYBRAKE_LOG_LEVEL`; `info` where it is unset. */
export function logLevelFromEnv(env: Environment, byDefault: LogLevel = 'info'): LogLevel {
  const complaints = new Complaints();
  const level = readLogLevel(env, complaints);
  complaints.check();
  return level ?? byDefault;
}

/** Every secret value of the environment, for the log to hide. */
export function secretsFromEnv(env: Environment): string[] {
  const names = Object.keys(env).filter((name) => /(?:SECRET|TOKEN|API_KEY|WORKER_KEY|MASTER_KEY|_KEY)$/.test(name));
  const values = names
    .filter((name) => !name.endsWith('TLS_KEY'))
    .flatMap((name) => (read(env, name) ?? '').split(','));
  return [...values, ...passwordsOf(env)].map((value) => value.trim()).filter((value) => value.length >= 8);
}

/** The database's password: as it stands in the address, and as it is. */
function passwordsOf(env: Environment): string[] {
  const store = read(env, 'KEYBRAKE_STORE') ?? '';
  const written = URL.canParse(store) ? new URL(store).password : '';
  return [written, unescape(written), read(env, 'PGPASSWORD') ?? ''];
}

function readLogLevel(env: Environment, complaints: Complaints): LogLevel | undefined {
  const text = read(env, 'KEYBRAKE_LOG_LEVEL');
  const level = LOG_LEVELS.find((known) => known === text);
  if (text === undefined || level !== undefined) return level;
  return complaints.add('KEYBRAKE_LOG_LEVEL', 'is not a log level.', `Use one of ${LOG_LEVELS.join(', ')}.`);
}

function readClientUrl(env: Environment, complaints: Complaints): string {
  const url = readProxyUrl(env, complaints);
  const port = readPort(env, 'KEYBRAKE_PORT', complaints) ?? DEFAULT_PORT;
  return url === undefined ? `http://${DEFAULT_HOST}:${port}` : trimmed(url);
}

function trimmed(url: URL): string {
  return url.href.replace(/\/+$/, '');
}

function readStore(env: Environment, complaints: Complaints): string {
  const store = read(env, 'KEYBRAKE_STORE') ?? DEFAULT_STORE;
  if (isPostgres(store)) {
    if (!URL.canParse(store) || new URL(store).pathname.length < 2) {
      complaints.add('KEYBRAKE_STORE', 'names no database.', 'Write it like postgres://user@host:5432/database.');
    }
  } else if (/^sqlite:\s*(?::memory:)?$/.test(store)) {
    const problem = 'is not a file: what was spent would be forgotten at the end of the process.';
    complaints.add('KEYBRAKE_STORE', problem, 'Name one, like sqlite:./keybrake.db.');
  } else if (!store.startsWith('sqlite:')) {
    const remedy = 'Write it like sqlite:./keybrake.db (one proxy), or postgres://user@host/database (several).';
    complaints.add('KEYBRAKE_STORE', 'is not a store.', remedy);
  }
  return store;
}

function isPostgres(store: string): boolean {
  return /^postgres(?:ql)?:/.test(store);
}

function readSpool(env: Environment, store: string, complaints: Complaints): string | undefined {
  const spool = read(env, 'KEYBRAKE_SPOOL');
  if (spool === undefined || isPostgres(store)) return spool;
  return complaints.add('KEYBRAKE_SPOOL', 'has no meaning for a SQLite ledger.', 'Unset it.');
}

function readRoleKey(env: Environment, name: string, complaints: Complaints, required = false): string | undefined {
  const key = read(env, name);
  if (key === undefined) return required ? complainOfMissing(name, complaints, NEW_SECRET) : undefined;
  if (key.length >= ROLE_KEY_LENGTH_MIN && /^[\x21-\x7e]+$/.test(key)) return key;
  const remedy = `Use at least ${ROLE_KEY_LENGTH_MIN} printable characters without spaces: openssl rand -hex 24`;
  return complaints.add(name, 'is too easy to guess, or holds characters that no header can carry.', remedy);
}

const NEW_SECRET = 'Set it to the same secret on the proxy and here: openssl rand -hex 24';
/** Who talks to a proxy takes its secret; to make one up helps nobody. */
const KNOWN_SECRET =
  'Set it to what the proxy was started with. That of keybrake dev: set -a; . ./.keybrake/dev.env; set +a';

function complainOfMissing(name: string, complaints: Complaints, remedy: string): undefined {
  return complaints.add(name, 'is not set.', remedy);
}

function readDollars(env: Environment, name: string, complaints: Complaints): Micros | undefined {
  const text = read(env, name);
  if (text === undefined) return undefined;
  const micros = /^\d+(\.\d+)?$/.test(text) ? usdToMicros(Number(text)) : undefined;
  if (micros !== undefined && micros > 0) return micros;
  return complaints.add(name, 'is not an amount.', `Give dollars above 0 and up to ${CAP_USD_MAX}, e.g. 500 or 99.50.`);
}

function readMasterKeys(env: Environment, complaints: Complaints): readonly string[] | undefined {
  const text = read(env, 'KEYBRAKE_MASTER_KEY');
  if (text === undefined) return undefined;
  const keys = text.split(',').map((key) => key.trim());
  if (keys.some((key) => key.length < MASTER_KEY_LENGTH_MIN)) {
    const remedy = 'Separate several by commas, newest first. Make one with: openssl rand -hex 32';
    return complaints.add('KEYBRAKE_MASTER_KEY', `holds a key below ${MASTER_KEY_LENGTH_MIN} characters.`, remedy);
  }
  return keys;
}
