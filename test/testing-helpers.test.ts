/** What people's own tests and programs start, with as few options as they have to give, and what they search for leaks. */
import { execFile } from 'node:child_process';
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { scanFile, startDevStack, startProxyForTests } from '../src/testing';

test('what was committed last is in the files that are named, and the role keys are among the secrets', async () => {
  const proxy = await startProxyForTests({ upstream: 'http://127.0.0.1:1' });
  const label = 'a label to look for';
  await proxy.client.issueKey({
    vendor: 'stripe',
    usd_cap: 1,
    allowed_endpoints: ['POST /v1/charges'],
    agent_run_label: label,
    expires_in: '1h',
  });
  const found = await Promise.all(proxy.ledgerFiles().map((file) => scanFile(file, { secrets: [label] })));
  expect(found.flat()).not.toEqual([]);
  expect(proxy.secrets).toEqual(expect.arrayContaining([proxy.apiKey, proxy.workerKey, proxy.secret]));
  await proxy.close();
});

test('with accounts of the test, the secret is theirs', async () => {
  const secret = 'sk_test_own_0123456789';
  const accounts = { stripe: { vendor: 'stripe', secret, upstream: 'http://127.0.0.1:1' } };
  const proxy = await startProxyForTests({ upstream: 'http://127.0.0.1:1', accounts });
  expect(proxy.secret).toBe(secret);
  expect(proxy.secrets).toEqual([secret, proxy.apiKey, proxy.workerKey]);
  await proxy.close();
});

test('the whole stack starts without a single option', async () => {
  const stack = await startDevStack();
  const { vault_key: key } = await stack.client.issueKey({
    vendor: 'stripe',
    usd_cap: 1,
    allowed_endpoints: ['POST /v1/payment_intents'],
    agent_run_label: 'defaults',
    expires_in: '1h',
  });
  const paid = await fetch(`${stack.proxy.url}/stripe/v1/payment_intents`, {
    method: 'POST',
    headers: { authorization: `Bearer ${key}`, 'content-type': 'application/x-www-form-urlencoded' },
    body: 'amount=100&currency=usd&confirm=true&customer=cus_1',
  });
  expect(paid.status).toBe(200);
  expect(stack.sandbox?.charges().length).toBe(1);
  await stack.stop();
}, 120_000);

test('a proxy that a program starts without a logger writes JSON lines to stderr, as the command does', async () => {
  const program = `
    const { startProxy } = require(${JSON.stringify(join(__dirname, '../lib/proxy'))});
    const options = {
      port: 0,
      store: 'sqlite:' + process.argv[1] + '/keybrake.db',
      apiKey: 'x'.repeat(24),
      accounts: { stripe: { vendor: 'stripe', secret: 'sk_test_1', upstream: 'http://127.0.0.1:1' } },
    };
    startProxy(options).then((proxy) => proxy.close());`;
  const folder = mkdtempSync(join(tmpdir(), 'keybrake-program-'));
  const { stdout, stderr } = await promisify(execFile)(process.execPath, ['-e', program, folder]);
  const lines = stderr
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as { msg: string });
  expect(lines.map(({ msg }) => msg)).toContain('the proxy has drained and stopped');
  expect(stdout).toBe('');
}, 60_000);
