/** Connections of clients that say nothing: they need no key, and cost nobody a call, a probe or a shutdown. */
import { once } from 'node:events';
import { mkdtempSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { KeybrakeClient } from '../proxy';
import { startSandbox } from '../src/sandbox';
import { start } from './support/cli';
import { callerOf, keyBody, startRig } from './support/rig';
import { CERTIFICATE, CERTIFICATE_KEY } from './support/tls';
import { until } from './support/until';

async function silent(port: number, count: number): Promise<Socket[]> {
  const sockets = Array.from({ length: count }, () => connect(port, '127.0.0.1').on('error', () => undefined));
  await Promise.all(sockets.map((socket) => once(socket, 'connect')));
  return sockets;
}

test('silent connections, more than the proxy may open files, take the place of no call and no probe', async () => {
  const sandbox = await startSandbox();
  const env = {
    KEYBRAKE_PORT: '0',
    KEYBRAKE_STORE: `sqlite:${join(mkdtempSync(join(tmpdir(), 'keybrake-files-')), 'keybrake.db')}`,
    KEYBRAKE_API_KEY: 'an-api-key-of-this-test-alone-0123456789',
    STRIPE_SECRET_KEY: 'sk_test_0123456789abcdefghijklmn',
    KEYBRAKE_STRIPE_UPSTREAM: sandbox.url,
  };
  const proxy = start(['proxy'], { env, filesMax: 200 });
  const [url = ''] = await proxy.said(/http:\/\/127\.0\.0\.1:\d+/);
  const client = new KeybrakeClient({ url, apiKey: env.KEYBRAKE_API_KEY });
  const { vault_key: vaultKey } = await client.issueKey(keyBody({ usd_cap: 100 }));
  const sockets = await silent(Number(new URL(url).port), 300);
  try {
    await until('some are cut off', () => sockets.filter(({ closed }) => closed).length >= 200 || undefined);
    for (let turn = 0; turn < 3; turn += 1) {
      const newcomer = callerOf(url);
      expect((await newcomer.call(vaultKey)).status).toBe(200);
      expect((await newcomer.call(null, { method: 'GET', path: '/healthz' })).status).toBe(200);
      await newcomer.close();
    }
    await proxy.said(/all connections are taken/);
  } finally {
    for (const socket of sockets) socket.destroy();
    proxy.child.kill('SIGTERM');
    expect((await proxy.ended).code).toBe(0);
    await sandbox.stop();
  }
});

test('a client that connects for TLS and then says nothing does not keep the proxy from stopping', async () => {
  const rig = await startRig({ proxy: { tls: { cert: CERTIFICATE, key: CERTIFICATE_KEY } } });
  const [socket] = await silent(rig.proxy.port, 1);
  const closed = rig.close().then(() => 'closed');
  const late = new Promise<string>((resolve) => setTimeout(resolve, 15_000, 'still open').unref());
  expect(await Promise.race([closed, late])).toBe('closed');
  socket?.destroy();
}, 40_000);
