/**
 * Our proxy as a process of its own, with one vault key. argv: upstream; the ledger's file, or the address of a database
 * and a folder for the spool.
 */
import pino from 'pino';
import { KeybrakeClient, startProxy } from '../../lib/proxy/index.js';

const [upstream, ledger, spool] = process.argv.slice(2);
const apiKey = 'bench-admin-key-0123456789abcdef';
const workerKey = 'bench-worker-key-0123456789abcdef';
const proxy = await startProxy({
  ...(spool === undefined
    ? { store: `sqlite:${ledger}` }
    : { store: ledger, spool, masterKeys: ['bench-master-key-0123456789abcdef'] }),
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
