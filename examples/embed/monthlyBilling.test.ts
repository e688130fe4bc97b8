/** A test of your own pipeline: a real Temporal server, the real proxy, a stand-in for Stripe, twice too many customers. */
import { Client, Connection } from '@temporalio/client';
import { NativeConnection, Worker } from '@temporalio/worker';
import { KeybrakePlugin } from '../../src'; // 'keybrake-temporal'
import { scanHistory, startProxyForTests, startSandbox, startTemporal } from '../../src/testing'; // 'keybrake-temporal/testing'
import * as activities from './activities';
import type { monthlyBilling } from './workflows';

test('monthlyBilling: twenty customers of $5, a cap of $50: ten are charged, and no key is in the history', async () => {
  const sandbox = await startSandbox();
  const proxy = await startProxyForTests({ upstream: sandbox.url });
  const temporal = await startTemporal();
  const connection = await Connection.connect({ address: temporal.address });
  const native = await NativeConnection.connect({ address: temporal.address });
  try {
    const worker = await Worker.create({
      connection: native,
      taskQueue: 'billing',
      workflowsPath: require.resolve('./workflows'),
      activities,
      plugins: [new KeybrakePlugin({ url: proxy.url, workerKey: proxy.workerKey })],
    });
    const customers = Array.from({ length: 20 }, (_, i) => ({ id: `cus_${i}`, amountCents: 500 }));
    const run = await new Client({ connection }).workflow.start<typeof monthlyBilling>('monthlyBilling', {
      workflowId: 'monthly-billing',
      taskQueue: 'billing',
      args: [customers],
    });
    const failure: unknown = await worker.runUntil(run.result().catch((error: unknown) => error));

    expect(failure).toMatchObject({ cause: { type: 'keybrake.cap_exhausted' } });
    expect(sandbox.charges()).toHaveLength(10);
    const { items } = await proxy.client.listKeys();
    expect(items).toMatchObject([{ state: 'revoked', spend: { settled_usd: 50, held_usd: 0, unknown_usd: 0 } }]);
    expect(scanHistory(await run.fetchHistory(), { secrets: proxy.secrets })).toEqual([]);
  } finally {
    await native.close();
    await connection.close();
    await temporal.stop();
    await proxy.close();
    await sandbox.stop();
  }
}, 60_000); // servers start in it: jest's five seconds are too few
