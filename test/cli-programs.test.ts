/** The long-running commands: what they say, how they end. */
import { cpSync, mkdirSync, mkdtempSync, readFileSync, realpathSync, statSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { createServer as createHttp2Server } from 'node:http2';
import { type AddressInfo, connect, createServer as createTcpServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseEnv } from 'node:util';
import { KeybrakeClient } from '../proxy/client';
import { openSqlite } from '../proxy/stores/sqlite';
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
  const env = { KEYBRAKE_PORT: 'x', KEYBRAKE_STORE: 'postgres://x', KEYBRAKE_HOTS: 'y', KEYBRAKE_LOG_LEVEL: 'loud' };
  const { code, stderr } = await keybrake(['proxy'], { env, cwd: folder() });
  expect(code).toBe(1);
  expect(stderr).toMatch(/7 settings cannot be used/);
  for (const name of ['LOG_LEVEL', 'PORT', 'STORE', 'HOTS', 'API_KEY', 'MASTER_KEY'])
    expect(stderr).toContain(`KEYBRAKE_${name}`);
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
  expect(await balancerCheck(url)).toMatch(/^HTTP\/1\.\d 200 /);
  proxy.child.kill('SIGTERM');
  const ended = await proxy.ended;
  expect(ended.code).toBe(0);
  const secrets = [SECRET, API_KEY, WORKER_KEY];
  expect(scanText(ended.stdout + ended.stderr, { secrets })).toEqual([]);
  sandbox.child.kill('SIGTERM');
  expect((await sandbox.ended).code).toBe(0);
});

test('proxy: whoever reads its log may go first, and a call in flight still ends', async () => {
  const sandbox = start(['sandbox', '--port', '0', '--secret-key', SECRET, '--delay', '1000']);
  const [, upstream = ''] = await sandbox.said(/stand-in on (http:\S+)/);
  const keys = { KEYBRAKE_API_KEY: API_KEY, STRIPE_SECRET_KEY: SECRET };
  const env = { ...keys, KEYBRAKE_STRIPE_UPSTREAM: upstream, KEYBRAKE_LOG_LEVEL: 'debug' };
  const proxy = start(['proxy', '--port', '0'], { env, cwd: folder() });
  const [, url = ''] = await proxy.said(/proxy on (http:\S+)/);
  const client = new KeybrakeClient({ url, apiKey: API_KEY });
  const endpoint = 'POST /v1/payment_intents';
  const asked = { vendor: 'stripe', agent_run_label: 'x', usd_cap: 5, expires_in: '1h' } as const;
  const { vault_key: key, key_id: keyId } = await client.issueKey({ ...asked, allowed_endpoints: [endpoint] });
  const reply = fetch(`${url}/stripe/v1/payment_intents`, {
    method: 'POST',
    headers: { authorization: `Bearer ${key}` },
    body: new URLSearchParams({ amount: '500', currency: 'usd', payment_method: 'pm_card_visa', confirm: 'true' }),
  });
  while ((await client.getKey(keyId)).spend.held_usd === 0) await sleep(20);
  await client.close();
  for (const pipe of [proxy.child.stdout, proxy.child.stderr]) pipe?.destroy();
  proxy.child.kill('SIGINT');
  expect((await reply).status).toBe(200);
  expect((await proxy.ended).code).toBe(0);
  sandbox.child.kill('SIGTERM');
  await sandbox.ended;
});

test('proxy: the log hides the secret of an account in keybrake.yaml, whatever its variable is called', async () => {
  const cwd = folder();
  const word = 'fax-word-0123456789';
  const vendor = `{ origin: http://127.0.0.1:9, routes: [{ route: POST /v1/faxes, price: { usd: 0.07 } }] }`;
  // The only secret that the proxy has reason to log: one that is the account's name too.
  const accounts = `accounts: { ${word}: { vendor: fax, secret: "env:FAX_WORD" } }`;
  writeFileSync(join(cwd, 'keybrake.yaml'), `vendors: { fax: ${vendor} }\n${accounts}\n`);
  const proxy = start(['proxy', '--port', '0'], { env: { KEYBRAKE_API_KEY: API_KEY, FAX_WORD: word }, cwd });
  await proxy.said(/proxy on/);
  proxy.child.kill('SIGTERM');
  const { code, stderr } = await proxy.ended;
  expect([code, stderr]).toEqual([0, expect.stringContaining('"accounts":["[hidden]"]')]);
});

test('a port that is taken: one sentence with the setting that chooses another', async () => {
  const taken = createServer();
  await new Promise<void>((resolve) => taken.listen(0, '127.0.0.1', resolve));
  const port = String((taken.address() as AddressInfo).port);
  const problem = `keybrake: Port ${port} of 127.0.0.1 is taken by another program.`;
  const env = { KEYBRAKE_API_KEY: API_KEY, STRIPE_SECRET_KEY: SECRET, KEYBRAKE_PORT: port };
  const [proxy, sandbox] = await Promise.all([
    keybrake(['proxy'], { env, cwd: folder() }),
    keybrake(['sandbox', '--port', port]),
  ]);
  expect([proxy.code, sandbox.code]).toEqual([1, 1]);
  expect(proxy.stderr).toBe(`${problem} Choose another port with KEYBRAKE_PORT or --port.\n`);
  expect(sandbox.stderr).toBe(`${problem} Choose another port with --port.\n`);
  taken.close();
});

test('a ledger that cannot be opened: one sentence with its path and the way out', async () => {
  const env = { KEYBRAKE_API_KEY: API_KEY, STRIPE_SECRET_KEY: SECRET };
  const cwd = folder();
  writeFileSync(join(cwd, 'notes.db'), 'This is a text, and no ledger of any kind. '.repeat(50));
  mkdirSync(join(cwd, 'folder.db'));
  const open = openSqlite(join(cwd, 'open.db'));
  const orAnother = 'or name another ledger with KEYBRAKE_STORE';
  const refusals = {
    'nowhere/x.db': `cannot be opened, as there is no folder ${realpathSync(cwd)}/nowhere: make it, ${orAnother}.`,
    'open.db': `is open in another process: end that one, ${orAnother}.`,
    'notes.db': `cannot be opened, as it is no SQLite file: restore it, ${orAnother}.`,
    'folder.db': expect.stringMatching(/^cannot be opened \(SQLITE_CANTOPEN\w*\): see that the file and its folder /),
  };
  const tries = Object.entries(refusals).map(async ([path, refusal]) => {
    const { code, stderr } = await keybrake(['proxy', '--port', '0', '--store', `sqlite:${path}`], { env, cwd });
    expect([code, stderr.replace(`keybrake: The ledger ${path} `, '').trimEnd()]).toEqual([1, refusal]);
  });
  await Promise.all(tries);
  await open.close();
});

test('sandbox: a time below nothing is refused', async () => {
  for (const flag of ['--delay', '--late']) {
    const { code, stderr } = await keybrake(['sandbox', '--port', '0', flag, '-5']);
    expect([code, stderr]).toEqual([1, expect.stringMatching(/Give milliseconds as a whole number, e\.g\. 200/)]);
  }
});

test('an address at which something else answers is no keybrake proxy, whatever it says', async () => {
  const answers: readonly (readonly [number, string, string])[] = [
    [404, 'application/json', '{"error":{"code":"resource_missing","message":"theirs"}}'],
    [404, 'application/json', '{"error":{"code":404,"message":"theirs"}}'],
    [200, 'application/json', '{"message":"theirs"}'],
    [200, 'application/json', 'theirs'],
    [200, 'text/html', '<p>theirs</p>'],
    [302, 'text/html', 'theirs'],
    [502, 'text/html', 'theirs'],
  ];
  let answer = answers[0]!;
  const other = createServer((_request, response) => {
    response.writeHead(answer[0], { 'content-type': answer[1] }).end(answer[2]);
  });
  await new Promise<void>((resolve) => other.listen(0, '127.0.0.1', resolve));
  const url = `http://127.0.0.1:${(other.address() as AddressInfo).port}`;
  const client = new KeybrakeClient({ url, apiKey: API_KEY });
  for (answer of answers) {
    for (const ask of [client.listKeys(), client.exportCalls({}, 'text/csv')]) {
      const message = `What is at ${url} does not answer like a keybrake proxy (status ${answer[0]}).`;
      await expect(ask).rejects.toMatchObject({ code: 'unreadable_answer', message });
    }
  }
  await client.close();
  const env = { KEYBRAKE_URL: url, KEYBRAKE_API_KEY: API_KEY };
  const { code, stdout, stderr } = await keybrake(['keys'], { env });
  expect([code, stdout]).toEqual([1, '']);
  expect(stderr).toMatch(/does not answer like a keybrake proxy \(status 502\)\.\nKEYBRAKE_URL says where/);
  other.close();
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
    const keyless = await keybrake(['worker']);
    expect(keyless.stderr).toMatch(/KEYBRAKE_WORKER_KEY: is not set\. .*was started with\. .*dev\.env/);
    const nosuch = await keybrake(['worker', '--source-dir', 'nosuch'], { env: { KEYBRAKE_WORKER_KEY: WORKER_KEY } });
    expect(nosuch.stderr).toBe(
      'keybrake: --source-dir names nosuch, which is not a folder here: correct it, or make it.\n',
    );
    const env = { KEYBRAKE_WORKER_KEY: WORKER_KEY, TEMPORAL_ADDRESS: '127.0.0.1:9' };
    const { code, stderr } = await keybrake(['worker'], { env });
    expect(code).toBe(1);
    expect(stderr).toMatch(/No answer from Temporal at 127\.0\.0\.1:9/);
  });

  test('a Temporal that refuses, and one that takes a connection and says nothing, are told for what they are', async () => {
    const refusing = createHttp2Server().on('stream', (stream) => {
      const refusal = { 'grpc-status': '16', 'grpc-message': 'Request unauthorized.' };
      stream.respond({ 'content-type': 'application/grpc', ...refusal }, { endStream: true });
    });
    const silent = createTcpServer();
    const [refused, unheard] = await Promise.all(
      [refusing, silent].map(async (server) => {
        await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
        const address = `127.0.0.1:${(server.address() as AddressInfo).port}`;
        const env = { KEYBRAKE_WORKER_KEY: WORKER_KEY, TEMPORAL_ADDRESS: address };
        return Promise.all([['worker'], ['status', 'x']].map((args) => keybrake(args, { env, cwd: folder() })));
      }),
    );
    for (const { code, stderr } of refused ?? []) {
      expect([code, stderr]).toEqual([1, expect.stringMatching(/refuses: .*Request unauthorized.*TEMPORAL_API_KEY/)]);
    }
    for (const { code, stderr } of unheard ?? []) {
      expect([code, stderr]).toEqual([1, expect.stringMatching(/No answer from Temporal at 127\.0\.0\.1:\d+ \(/)]);
    }
    refusing.close();
    silent.close();
  });
});

test('dev: a folder of sources that is not there is told before anything starts', async () => {
  const { code, stderr } = await keybrake(['dev', '--source-dir', 'nowhere'], { cwd: folder() });
  expect([code, stderr]).toEqual([1, expect.stringMatching(/--source-dir names nowhere, which is not a folder here/)]);
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

/** As load balancers ask by default: HTTP/1.0, without a Host. */
async function balancerCheck(url: string): Promise<string> {
  const { hostname, port } = new URL(url);
  const socket = connect(Number(port), hostname);
  socket.write('GET /healthz HTTP/1.0\r\n\r\n');
  return text(socket);
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
