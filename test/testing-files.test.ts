/** What a user's test has to search for leaks: every file that holds the ledger, and every secret of the proxy. */
import { scanFile, startProxyForTests } from '../src/testing';

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
