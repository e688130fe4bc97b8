/** `keybrake doctor`: looks at each piece and says what to do about those that are not well. */
import type { Client } from '@temporalio/client';
import type { Command } from 'commander';
import { request } from 'undici';
import { KeybrakeApiError, KeybrakeClient } from '../../proxy/client';
import { type CallView, formatUsd } from '../../proxy/contract';
import { clientOptionsFromEnv } from '../config';
import { type TemporalFlags, type TemporalPlace, temporalFlags, withTemporal } from './connect';
import { explain } from './errors';
import { EXIT } from './exitCodes';
import { print, printJson, word } from './output';
import { isPolled } from './pollers';
import { micros } from './parse';

type Level = 'ok' | 'warn' | 'fail';

interface Check {
  readonly level: Level;
  readonly what: string;
  readonly finding: string;
  readonly remedy?: string;
}

interface Flags extends TemporalFlags {
  readonly json?: boolean;
}

const SKEW_MS_MAX = 2_000;
/** Unknown calls younger than this may still clear by themselves, unless the proxy has given them up. */
const UNKNOWN_AGE_MS = 15 * 60_000;
const REPLY_TIMEOUT_MS = 5_000;

/** Adds `doctor`. */
export function addDoctor(program: Command): void {
  const command = program
    .command('doctor')
    .description('Check settings, proxy, store, Temporal, workers, clocks and money that does not clear.')
    .option('--json', 'print JSON')
    .addHelpText('after', '\nExit code: 1 when a check fails; warnings alone exit 0.');
  temporalFlags(command, { taskQueue: true }).action(doctor);
}

async function doctor(flags: Flags): Promise<void> {
  const checks = [...(await checkProxySide()), ...(await checkTemporalSide(flags))];
  // Also where nobody reads what is printed.
  if (checks.some(({ level }) => level === 'fail')) process.exitCode = EXIT.failed;
  if (flags.json === true) await printJson(checks);
  else for (const check of checks) await print(line(check));
}

function line({ level, what, finding, remedy }: Check): string {
  const head = `${level.padEnd(4)}  ${what.padEnd(12)}  ${finding}`;
  return remedy === undefined ? head : `${head}\n${' '.repeat(20)}-> ${remedy.replaceAll('\n', `\n${' '.repeat(23)}`)}`;
}

function ok(what: string, finding: string): Check {
  return { level: 'ok', what, finding };
}

function bad(level: 'warn' | 'fail', what: string, finding: string, remedy: string): Check {
  return { level, what, finding, remedy };
}

async function checkProxySide(): Promise<Check[]> {
  let options: ReturnType<typeof clientOptionsFromEnv>;
  try {
    options = clientOptionsFromEnv(process.env);
  } catch (error) {
    return [bad('fail', 'settings', 'the environment cannot be used', explain(error))];
  }
  const client = new KeybrakeClient({ ...options, timeoutMs: REPLY_TIMEOUT_MS });
  try {
    const alive = await checkAlive(options.url);
    const settings = ok('settings', `${options.url} as ${options.role}`);
    if (alive.some(({ level }) => level === 'fail')) return [settings, ...alive];
    return [settings, ...alive, await checkStore(client), ...(await checkRoleAndMoney(client, options.role))];
  } finally {
    await client.close();
  }
}

/** Reachable, and what its clock says. */
async function checkAlive(url: string): Promise<Check[]> {
  try {
    const sentAt = Date.now();
    const reply = await request(`${url}/healthz`, { headersTimeout: REPLY_TIMEOUT_MS });
    await reply.body.dump();
    const middle = (sentAt + Date.now()) / 2;
    if (reply.statusCode !== 200) {
      const remedy = 'Is this the proxy? Look at KEYBRAKE_URL, and at what stands in front of it.';
      return [bad('fail', 'proxy', `${url}/healthz answers ${reply.statusCode}`, remedy)];
    }
    return [ok('proxy', `answers in ${Date.now() - sentAt} ms`), checkClock(reply.headers['date'], middle)];
  } catch (error) {
    const remedy = 'Start it (keybrake proxy, or keybrake dev), or correct KEYBRAKE_URL.';
    return [bad('fail', 'proxy', `no answer at ${url}: ${explain(error)}`, remedy)];
  }
}

/** The proxy's clock decides expiry and days. HTTP dates are whole seconds, cut off. */
function checkClock(date: string | string[] | undefined, now: number): Check {
  const theirs = typeof date === 'string' ? Date.parse(date) + 500 : Number.NaN;
  const skewMs = Math.round(Math.abs(theirs - now));
  if (Number.isNaN(skewMs)) return ok('clock', 'the proxy does not tell its time');
  if (skewMs <= SKEW_MS_MAX) return ok('clock', `within ${SKEW_MS_MAX / 1_000} s of the proxy's`);
  const remedy = "Set both clocks by NTP: keys expire by the proxy's.";
  return bad('warn', 'clock', `${(skewMs / 1_000).toFixed(1)} s away from the proxy's`, remedy);
}

async function checkStore(client: KeybrakeClient): Promise<Check> {
  try {
    await client.ready();
    return ok('store', 'the ledger can be written');
  } catch (error) {
    const remedy = "Until it can, no call goes out. Look at the proxy's log: disk full, file gone, Postgres down?";
    const code = error instanceof KeybrakeApiError ? error.code : '';
    // Whoever answers otherwise than a proxy knows nothing of a ledger.
    if (code === 'unreadable_answer') return bad('fail', 'store', 'nothing there knows of a ledger', explain(error));
    return bad('fail', 'store', `the proxy is not ready: ${explain(error)}`, remedy);
  }
}

async function checkRoleAndMoney(client: KeybrakeClient, role: 'admin' | 'worker'): Promise<Check[]> {
  try {
    const { items, next_cursor: more } = await client.listCalls({ state: 'unknown', limit: 1_000 });
    const known = ok('role key', `the proxy knows it as ${role}`);
    const old = (call: CallView) => Date.now() - Date.parse(call.created_at) > UNKNOWN_AGE_MS;
    const stuck = items.filter((call) => call.stuck_at !== null || old(call));
    if (stuck.length === 0) {
      const finding = items.length === 0 ? 'none' : `${items.length}, all recent; the proxy is finding out`;
      return [known, ok('unknown', finding)];
    }
    const usd = stuck.reduce((sum, call) => sum + micros(call.quote_usd), 0);
    const finding = `${more === null ? '' : 'more than '}${stuck.length} calls do not clear; ${formatUsd(usd)} stay held`;
    const remedy = 'keybrake audit --state unknown; look each up at the vendor; then keybrake resolve CALL_ID …';
    return [known, bad('warn', 'unknown', finding, remedy)];
  } catch (error) {
    if (!(error instanceof KeybrakeApiError)) throw error;
    if (error.code !== 'unauthenticated' && error.code !== 'forbidden') {
      return [bad('fail', 'unknown', `the ledger cannot be asked (${error.code})`, explain(error))];
    }
    const name = role === 'admin' ? 'KEYBRAKE_API_KEY' : 'KEYBRAKE_WORKER_KEY';
    const remedy = `Set ${name} to what the proxy was started with.`;
    return [bad('fail', 'role key', `the proxy refuses it (${error.code})`, remedy)];
  }
}

async function checkTemporalSide(flags: Flags): Promise<Check[]> {
  try {
    return await withTemporal(flags, async (client, place) => [
      ok('temporal', `${place.address}, namespace ${place.namespace}`),
      ...(await checkPollers(client, place)),
    ]);
  } catch (error) {
    return [bad('fail', 'temporal', 'cannot be used', explain(error))];
  }
}

async function checkPollers(client: Client, { taskQueue }: TemporalPlace): Promise<Check[]> {
  return Promise.all(
    (['workflows', 'activities'] as const).map(async (what) => {
      if (await isPolled(client.workflow, taskQueue, what)) return ok(what, `a worker polls ${taskQueue}`);
      const remedy = `Start one: keybrake worker --task-queue ${word(taskQueue)}. Until then runs wait.`;
      return bad('fail', what, `no worker polls ${taskQueue}`, remedy);
    }),
  );
}
