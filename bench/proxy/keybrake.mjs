/** Our proxy as a process of its own, on a new ledger on disk, with one vault key. argv: upstream, ledger file. */
import pino from 'pino';
import { KeybrakeClient, startProxy } from '../../lib/proxy/index.js';

const [upstream, path] = process.argv.slice(2);
const apiKey = 'bench-admin-key-0123456789abcdef';
const workerKey = 'bench-worker-key-0123456789abcdef';
const proxy = await startProxy({
  store: `sqlite:${path}`,
  apiKey,
  workerKey,
  accounts: { stripe: { vendor: 'stripe', secret: 'sk_test_bench_0123456789', upstream } },
  logger: pino({ level: 'warn' }, pino.destination(2)),
});
const client = new KeybrakeClient({ url: proxy.url, apiKey });
const { vault_key: vaultKey } = await client.issueKey({
  vendor: 'stripe',
  usd_cap: 1e9,
  allowed_endpoints: ['POST /v1/payment_intents'],
  expires_in: '2h',
  agent_run_label: 'bench',
});
process.once('SIGTERM', () => void proxy.close().then(() => process.exit()));
process.send({ url: proxy.url, vaultKey, workerKey, apiKey });
