/** The long-running commands: what they say, how they end. */
import { cpSync, mkdtempSync, readFileSync, statSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseEnv } from 'node:util';
import { type TemporalDev, startTemporalDev } from '../src/temporalDev';
import { scanText } from '../src/testing/scan';
import { keybrake, start } from './support/cli';

const API_KEY = 'kb_admin_0123456789abcdef';
const WORKER_KEY = 'kb_worker_0123456789abcdef';
const SECRET = 'sk_test_51ABCDEFGHIJKLMNOP';

function folder(): string {
  return mkdtempSync(join(tmpdir(), 'keybrake-programs-'));
}

test('proxy: a wrong environment stops the start with the whole list', async () => {
  const env = { KEYBRAKE_PORT: 'x', KEYBRAKE_STORE: 'postgres://x', KEYBRAKE_HOTS: 'y' };
  const { code, stderr } = await keybrake(['proxy'], { env, cwd: folder() });
  expect(code).toBe(1);
  expect(stderr).toMatch(/6 settings cannot be used/);
  for (const name of ['PORT', 'STORE', 'HOTS', 'API_KEY', 'MASTER_KEY']) expect(stderr).toContain(`KEYBRAKE_${name}`);
  expect(stderr).not.toMatch(/^\s+at /m);
});

test('sandbox and proxy: they serve, log no secret, and end with code 0 at SIGTERM', async () => {
  const sandbox = start(['sandbox', '--port', '0', '--secret-key', SECRET, '--limit', '1']);
  const [, upstream = ''] = await sandbox.said(/stand-in on (http:\S+)/);
  const read = () => fetch(`${upstream}/v1/payment_intents`, { headers: { authorization: `Bearer ${SECRET}` } });
  const reads = await Promise.all([read(), read(), read()]);
  expect(reads.some(({ status, headers }) => status === 429 && headers.get('retry-after') === '1')).toBe(true);
  const env = {
    KEYBRAKE_API_KEY: API_KEY,
    KEYBRAKE_WORKER_KEY: WORKER_KEY,
    STRIPE_SECRET_KEY: SECRET,
    KEYBRAKE_STRIPE_UPSTREAM: upstream,
    KEYBRAKE_LOG_LEVEL: 'debug',
  };
  const proxy = start(['proxy', '--port', '0'], { env, cwd: folder() });
  const [, url = ''] = await proxy.said(/proxy on (http:\S+)/);
  const issue = ['keys', 'issue', '--label', 'x', '--cap', '5', '--ttl', '1h', '--allow', 'POST /v1/payment_intents'];
  const issued = await keybrake(issue, { env: { KEYBRAKE_URL: url, KEYBRAKE_API_KEY: API_KEY } });
  const reply = await fetch(`${url}/stripe/v1/payment_intents`, {
    method: 'POST',
    headers: { authorization: `Bearer ${issued.stdout.trim()}` },
    body: new URLSearchParams({ amount: '500', currency: 'usd', payment_method: 'pm_card_visa', confirm: 'true' }),
  });
  expect(reply.status).toBe(200);
  proxy.child.kill('SIGTERM');
  const ended = await proxy.ended;
  expect(ended.code).toBe(0);
  const secrets = [SECRET, API_KEY, WORKER_KEY];
  expect(scanText(ended.stdout + ended.stderr, { secrets })).toEqual([]);
  sandbox.child.kill('SIGTERM');
  expect((await sandbox.ended).code).toBe(0);
});

describe('worker', () => {
  let temporal: TemporalDev;
  beforeAll(async () => {
    temporal = await startTemporalDev();
  });
  afterAll(() => temporal.stop());

  test('serves its task queue, and ends with code 0 at SIGTERM', async () => {
    const env = { KEYBRAKE_WORKER_KEY: WORKER_KEY, TEMPORAL_ADDRESS: temporal.address };
    const worker = start(['worker', '--task-queue', 'mine'], { env, cwd: folder() });
    await worker.said(/worker on task queue mine of default/);
    worker.child.kill('SIGTERM');
    const { code, stderr } = await worker.ended;
    expect(stderr).toMatch(/SIGTERM: no new work; calls in flight end first/);
    expect(code).toBe(0);
  });

  test('without its key or without Temporal it says what is missing', async () => {
    expect((await keybrake(['worker'])).stderr).toMatch(/KEYBRAKE_WORKER_KEY: is not set/);
    const env = { KEYBRAKE_WORKER_KEY: WORKER_KEY, TEMPORAL_ADDRESS: '127.0.0.1:9' };
    const { code, stderr } = await keybrake(['worker'], { env });
    expect(code).toBe(1);
    expect(stderr).toMatch(/No answer from Temporal at 127\.0\.0\.1:9/);
  });
});

test('dev: everything is up, its printed environment works, keys survive a restart, Ctrl-C ends all', async () => {
  const cwd = folder();
  const args = ['dev', '--port', '0', '--temporal-port', '0', '--ui-port', '0'];
  const dev = start(args, { cwd });
  const [, address = ''] = await dev.said(/Temporal {6}(\S+)/);
  await dev.said(/Ctrl-C ends everything/);
  const file = join(cwd, '.keybrake/dev.env');
  expect(statSync(file).mode & 0o777).toBe(0o600);
  const env = readEnv(file);
  expect((await keybrake(['doctor'], { env })).stdout).not.toMatch(/^(warn|fail)/m);
  await runExamples(cwd, env);
  await interrupt(dev);
  expect(await listens(address)).toBe(false);

  const again = start(args, { cwd });
  await again.said(/Ctrl-C ends everything/);
  expect(readEnv(file)['KEYBRAKE_API_KEY']).toBe(env['KEYBRAKE_API_KEY']);
  await interrupt(again);
}, 120_000);

/** Each vendor's example, and one made of flags. */
async function runExamples(cwd: string, env: Record<string, string>): Promise<void> {
  const examples = join(__dirname, '../examples');
  cpSync(examples, join(cwd, 'examples'), { recursive: true, filter: (path) => !/\.(ts|py)$/.test(path) });
  const flags = ['--vendor', 'resend', '--source', 'examples/people.jsonl', '--endpoint', 'POST /emails', '--cap', '1'];
  const params = ['from=a@example.com', 'to[0]={{mail}}', 'subject=Flags', 'text=x'].flatMap((pair) => [
    '--param',
    pair,
  ]);
  for (const args of [['examples/texts.json'], ['examples/mails.json'], [...flags, ...params]]) {
    const { code, stdout, stderr } = await keybrake(['run', ...args, '--json'], { env, cwd });
    expect([code, stderr]).toEqual([0, expect.any(String)]);
    expect(JSON.parse(stdout)).toMatchObject({ status: 'completed', records: { succeeded: 3, total: 3 } });
  }
}

async function interrupt(dev: ReturnType<typeof start>): Promise<void> {
  dev.child.kill('SIGINT');
  const { code, stderr, stdout } = await dev.ended;
  expect(stderr).toMatch(/SIGINT: ending the worker, the proxy, the vendor and Temporal/);
  expect(scanText(stdout + stderr, { patterns: [/kb_(admin|worker)_\w+/g, /sk_test_\w+/g] })).toEqual([]);
  expect(code).toBe(0);
}

function readEnv(path: string): Record<string, string> {
  return parseEnv(readFileSync(path, 'utf8')) as Record<string, string>;
}

async function listens(address: string): Promise<boolean> {
  const [host = '', port] = address.split(':');
  await sleep(50);
  return new Promise((resolve) => {
    const socket = connect(Number(port), host, () => resolve(true));
    socket.once('error', () => resolve(false));
    socket.once('connect', () => socket.destroy());
  });
}
