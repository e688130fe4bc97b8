/** Every variable `KEYBRAKE_…`. The help of `keybrake proxy` and `worker` prints these rows; the README names each. */
import type { Complaints } from './complaints';
import { nearestName } from '../../proxy/nearest';

export type Environment = Readonly<Record<string, string | undefined>>;

/** `cli`: the commands beside `proxy` and `worker`. */
type Program = 'proxy' | 'worker' | 'cli';

const PROXY: readonly Program[] = ['proxy'];
const ADMIN: readonly Program[] = ['proxy', 'cli'];
const CLIENTS: readonly Program[] = ['worker', 'cli'];
const ALL: readonly Program[] = ['proxy', 'worker', 'cli'];

interface VariableSpec {
  /** Which programs read it. */
  readonly for: readonly Program[];
  readonly byDefault: string;
  readonly meaning: string;
}

// prettier-ignore
export const VARIABLES = {
  KEYBRAKE_HOST:            { for: PROXY,   byDefault: '127.0.0.1', meaning: 'Address the proxy listens on.' },
  KEYBRAKE_PORT:            { for: ALL,     byDefault: '8787', meaning: 'Port the proxy listens on.' },
  KEYBRAKE_URL:             { for: ALL,     byDefault: 'http://127.0.0.1:8787', meaning: 'Where workers, the CLI and SDKs reach the proxy.' },
  KEYBRAKE_CALLBACK_URL:    { for: PROXY,   byDefault: 'none: prices are only looked for', meaning: 'Where Twilio reaches the proxy to say what became of a text or call: /vault/callbacks/ below it.' },
  KEYBRAKE_STORE:           { for: PROXY,   byDefault: 'sqlite:./keybrake.db', meaning: 'The ledger: a SQLite file for one proxy, or postgres://user@host/database for several.' },
  KEYBRAKE_API_KEY:         { for: ADMIN,   byDefault: '', meaning: 'Bearer of the admin role: at least 20 characters.' },
  KEYBRAKE_WORKER_KEY:      { for: ALL,     byDefault: '', meaning: 'Bearer of the worker role: at least 20 characters.' },
  KEYBRAKE_WORKER_MAX_USD:  { for: PROXY,   byDefault: 'no bound', meaning: 'The most that keys issued by a worker may spend per job, in dollars.' },
  KEYBRAKE_MASTER_KEY:      { for: PROXY,   byDefault: 'a file beside the SQLite store', meaning: 'Derives vault keys and seals stored answers. Several, newest first, separated by commas. Postgres needs it.' },
  KEYBRAKE_SPOOL:           { for: PROXY,   byDefault: './keybrake-spool', meaning: 'Folder for outcomes that Postgres cannot take while it is down.' },
  KEYBRAKE_SOURCE_DIR:      { for: CLIENTS, byDefault: 'the working directory', meaning: 'Folder that input files of runs are read from, on every worker.' },
  KEYBRAKE_CONFIG:          { for: PROXY,   byDefault: './keybrake.yaml, if there', meaning: 'Several accounts, FX floors, prices, vendors of your own.' },
  KEYBRAKE_STRIPE_UPSTREAM: { for: PROXY,   byDefault: 'https://api.stripe.com', meaning: 'Another Stripe, for tests and sandboxes.' },
  KEYBRAKE_TWILIO_UPSTREAM: { for: PROXY,   byDefault: 'https://api.twilio.com', meaning: 'Another Twilio, for tests and sandboxes.' },
  KEYBRAKE_RESEND_UPSTREAM: { for: PROXY,   byDefault: 'https://api.resend.com', meaning: 'Another Resend, for tests and sandboxes.' },
  KEYBRAKE_STRIPE_MAX_RPS:  { for: PROXY,   byDefault: '80 with a live key, 20 with a test key', meaning: 'Calls a second to Stripe at most. No limit at another upstream by default.' },
  KEYBRAKE_TWILIO_MAX_RPS:  { for: PROXY,   byDefault: 'no limit', meaning: 'Calls a second to Twilio at most.' },
  KEYBRAKE_RESEND_MAX_RPS:  { for: PROXY,   byDefault: '5', meaning: 'Calls a second to Resend at most. No limit at another upstream by default.' },
  KEYBRAKE_TLS_CERT:        { for: PROXY,   byDefault: '', meaning: 'PEM file with the certificate chain.' },
  KEYBRAKE_TLS_KEY:         { for: PROXY,   byDefault: '', meaning: 'PEM file with the private key.' },
  KEYBRAKE_ALLOW_PLAINTEXT: { for: ALL,     byDefault: '0', meaning: '1: keys may travel beyond loopback without TLS.' },
  KEYBRAKE_LOG_LEVEL:       { for: ALL,     byDefault: 'info', meaning: 'trace, debug, info, warn, error, fatal or silent.' },
  KEYBRAKE_DEBUG:           { for: CLIENTS, byDefault: '0', meaning: '1: the CLI shows stack traces.' },
} as const satisfies Record<string, VariableSpec>;

export type Variable = keyof typeof VARIABLES;

/** The variables that are 1 or 0. */
const SWITCHES: readonly Variable[] = ['KEYBRAKE_ALLOW_PLAINTEXT', 'KEYBRAKE_DEBUG'];

/** Complains about every `KEYBRAKE_…` variable that means nothing (a mistyped cap is no cap), and odd switches. */
export function checkNames(env: Environment, complaints: Complaints): void {
  const known = Object.keys(VARIABLES);
  for (const name of Object.keys(env)) {
    if (!name.startsWith('KEYBRAKE_') || known.includes(name) || isServiceLink(name, env[name] ?? '')) continue;
    const near = nearestName(name, known);
    complaints.add(name, 'is not a setting.', near === undefined ? 'Unset it.' : `Did you mean ${near}?`);
  }
  for (const name of SWITCHES) {
    if (['0', '1'].includes(read(env, name) ?? '0')) continue;
    complaints.add(name, 'is neither 1 nor 0.', 'Set it to 1, or unset it.');
  }
}

const IP = String.raw`(?:[\d.]+|\[?[\da-f:.]+\]?)`;
const LINK = `(?:tcp|udp|sctp)://${IP}:\\d{1,5}`;
/** What Kubernetes puts into every container of a namespace for a Service `keybrake`, or `keybrake-…`: name, value. */
const SERVICE_LINKS = (
  [
    ['SERVICE_HOST', IP],
    ['SERVICE_PORT(?:_[A-Z0-9_]+)?', String.raw`\d{1,5}`],
    ['PORT', LINK],
    [String.raw`PORT_\d{1,5}_(?:TCP|UDP|SCTP)`, LINK],
    [String.raw`PORT_\d{1,5}_(?:TCP|UDP|SCTP)_PROTO`, 'tcp|udp|sctp'],
    [String.raw`PORT_\d{1,5}_(?:TCP|UDP|SCTP)_PORT`, String.raw`\d{1,5}`],
    [String.raw`PORT_\d{1,5}_(?:TCP|UDP|SCTP)_ADDR`, IP],
  ] as const
).map(([name, value]) => ({
  name: new RegExp(`^KEYBRAKE(?:_[A-Z0-9]+)*_${name}$`),
  value: new RegExp(`^(?:${value})$`),
}));

/** Is it nobody's setting, but an address that Kubernetes tells of a Service? */
export function isServiceLink(name: string, value: string): boolean {
  return SERVICE_LINKS.some((link) => link.name.test(name) && link.value.test(value));
}

/** The value of a variable; an empty one counts as unset. */
export function read(env: Environment, name: string): string | undefined {
  const value = env[name]?.trim();
  return value === '' ? undefined : value;
}
